// What to look at, and what to be told of. The names in the queries are those of docs/telemetry.md.

@description('Region of the workbook and the alerts: that of Application Insights.')
param location string

@description('Tags of the resources.')
param tags { *: string }

@description('What ends the names of the resources.')
param token string

@description('Resource id of the Application Insights that is looked at.')
param insightsResourceId string

@description('Where alerts go by e-mail; empty: nowhere.')
param alertEmail string

@description('No sweep in this time raises an alert, in minutes.')
param sweepMissedMinutes int

@description('A backlog of this age raises an alert, in seconds.')
param backlogAlertSeconds int

@description('Whether sweeps are meant to run: without, that none does is no alert.')
param sweepsRun bool

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(token, 'expiry') // known before anything is made, for what-if
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'Expiry of conversations'
    category: 'workbook'
    sourceId: insightsResourceId
    version: '1.0'
    serializedData: replace(loadTextContent('../workbook.json'), 'APPLICATION_INSIGHTS', insightsResourceId)
  }
}

module email 'br/public:avm/res/insights/action-group:0.7.0' = if (!empty(alertEmail)) {
  params: {
    enableTelemetry: false
    name: 'ag-${token}'
    groupShortName: 'expiry'
    location: 'global'
    tags: tags
    emailReceivers: [
      {
        name: 'email'
        emailAddress: alertEmail
        useCommonAlertSchema: true
      }
    ]
  }
}

// Severity: 1 is an error that users feel, 2 a warning. A rate of fewer than ten says nothing.
var alerts = [
  {
    name: 'sweep-missed'
    description: 'No sweep ended: conversations do not expire, except at their next message.'
    severity: 1
    // The minutes since the last sweep; nothing where there was none in two days: before the first deployment
    // nobody waits for one, and after two days everybody has been told.
    window: 'P1D'
    range: 'P2D'
    operator: 'GreaterThan'
    threshold: sweepMissedMinutes
    query: '''
customMetrics
| where name == "expiry.sweeps"
| summarize Last = max(timestamp)
| where isnotnull(Last)
| project Value = datetime_diff("minute", now(), Last)
'''
  }
  {
    name: 'sweep-stopped'
    description: 'A sweep stopped because the credentials of the bot were refused: no notice goes out.'
    severity: 1
    window: 'PT15M'
    range: ''
    operator: 'GreaterThan'
    threshold: 0
    query: '''
customMetrics
| where name == "expiry.sweeps" and customDimensions.ended == "stopped"
| summarize Value = sum(valueSum)
'''
  }
  {
    name: 'backlog-age'
    description: 'Sweeps do not keep up: the oldest expiry that one did not reach is this many seconds overdue.'
    severity: 2
    window: 'PT15M'
    range: ''
    operator: 'GreaterThan'
    threshold: backlogAlertSeconds
    query: '''
customMetrics
| where name == "expiry.backlog.age"
| summarize Value = max(valueSum)
'''
  }
  {
    name: 'dead-letters'
    description: 'Notices were given up: they stay until somebody replays or drops them.'
    severity: 2
    window: 'PT15M'
    range: ''
    operator: 'GreaterThan'
    threshold: 0
    query: '''
customMetrics
| where name == "expiry.dead_letters"
| summarize Value = sum(valueSum)
'''
  }
  {
    name: 'notice-failures'
    description: 'More than a fifth of the notices that were tried failed, in percent.'
    severity: 2
    window: 'PT15M'
    range: ''
    operator: 'GreaterThan'
    threshold: 20
    query: '''
customMetrics
| where name == "expiry.notices"
| extend outcome = tostring(customDimensions.outcome)
| summarize Failed = sumif(valueSum, outcome == "failed"), Tried = sumif(valueSum, outcome in ("failed", "notified"))
| project Value = iff(Tried < 10, 0.0, 100 * Failed / Tried)
'''
  }
  {
    name: 'turn-failures'
    description: 'More than one turn in twenty failed or ended with an apology, in percent.'
    severity: 1
    window: 'PT15M'
    range: ''
    operator: 'GreaterThan'
    threshold: 5
    query: '''
customMetrics
| where name == "expiry.turns"
| extend ended = tostring(customDimensions.ended)
| summarize Failed = sumif(valueSum, ended in ("failed", "apologized")), All = sum(valueSum)
| project Value = iff(All < 10, 0.0, 100 * Failed / All)
'''
  }
]

module rules 'br/public:avm/res/insights/scheduled-query-rule:0.5.1' = [
  for alert in alerts: {
    params: {
      enableTelemetry: false
      name: 'alert-${alert.name}-${token}'
      location: location
      tags: tags
      alertDisplayName: 'Expiry: ${alert.name}'
      alertDescription: alert.description
      enabled: sweepsRun || alert.name != 'sweep-missed'
      severity: alert.severity
      scopes: [
        insightsResourceId
      ]
      evaluationFrequency: 'PT5M'
      windowSize: alert.window
      queryTimeRange: alert.range
      skipQueryValidation: true // customMetrics is empty until the app has run
      autoMitigate: true
      criterias: {
        allOf: [
          {
            query: alert.query
            metricMeasureColumn: 'Value'
            timeAggregation: 'Maximum'
            operator: alert.operator
            threshold: alert.threshold
            failingPeriods: {
              numberOfEvaluationPeriods: 1
              minFailingPeriodsToAlert: 1
            }
          }
        ]
      }
      actions: {
        actionGroupResourceIds: empty(alertEmail)
          ? []
          : [
              email!.outputs.resourceId
            ]
      }
    }
  }
]

output workbookResourceId string = workbook.id
