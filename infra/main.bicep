// Everything that the bot needs in Azure, in one resource group: `azd up` makes it, `azd down` removes it.
targetScope = 'subscription'

@description('Name of the azd environment. The resource group and all names follow from it.')
@minLength(1)
@maxLength(64)
param environmentName string

@description('Region of everything but the bot registration, which is global. Regions with Functions Flex Consumption.')
@allowed([
  'australiaeast'
  'australiasoutheast'
  'brazilsouth'
  'canadacentral'
  'centralindia'
  'centralus'
  'eastasia'
  'eastus'
  'eastus2'
  'francecentral'
  'germanywestcentral'
  'italynorth'
  'japaneast'
  'koreacentral'
  'northcentralus'
  'northeurope'
  'norwayeast'
  'southafricanorth'
  'southcentralus'
  'southeastasia'
  'southindia'
  'spaincentral'
  'swedencentral'
  'uaenorth'
  'uksouth'
  'ukwest'
  'westcentralus'
  'westeurope'
  'westus'
  'westus2'
  'westus3'
])
@metadata({
  azd: {
    type: 'location'
  }
})
param location string

// What users see

@description('Name of the bot, as channels show it.')
@minLength(1)
@maxLength(42)
param botDisplayName string = 'The bot that forgets on time'

@description('Pricing tier of the bot registration: F0 is free, with 10,000 messages a month over Direct Line and Web Chat; S1 has no limit. Teams is free in both.')
@allowed([
  'F0'
  'S1'
])
param botSku string = 'F0'

// Expiry: the settings of the same names, explained in README.md

@description('How long a conversation may be idle, in seconds.')
@minValue(1)
@maxValue(315360000)
param expireAfterSeconds int = 1800

@description('When the timer runs: NCRONTAB, six fields with seconds first, or five without.')
@minLength(9)
param expirySchedule string = '0 * * * * *'

@description('When conversations expire, by channel and type: the path of a TOML file in the app\'s folder, or base64: and the TOML itself in base64. Empty: expiry_policy.toml, if it is there.')
@maxLength(140000)
param expiryPolicy string = ''

@description('Whether users are told of an expiry.')
@allowed([
  'on'
  'off'
])
param expiryNotice string = 'on'

@description('No notice of an expiry that is later than this, in seconds. 0: always.')
@minValue(0)
@maxValue(315360000)
param maxNoticeAgeSeconds int = 0

@description('How long one sweep may look for more, in seconds; 90 s less than functionTimeout in host.json.')
@minValue(1)
@maxValue(210)
param sweepBudgetSeconds int = 45

@description('Whether shards that a sweep cannot finish go to a queue, for other instances.')
@allowed([
  'off'
  'on'
])
param expiryFanOut string = 'off'

@description('Whether channels are answered before a turn, so that it may take longer than the 15 seconds that they wait.')
@allowed([
  'off'
  'on'
])
param longTurns string = 'off'

@description('Whether the bot answers. Off: every message gets 404, and sweeps go on: for letting the bot run dry.')
@allowed([
  'on'
  'off'
])
param messages string = 'on'

@description('The table of conversations. A new name begins with no conversation.')
@minLength(3)
@maxLength(63)
param conversationsTable string = 'conversations'

@description('The table of users and what the bot knows of them. A new name begins with no user.')
@minLength(3)
@maxLength(63)
param usersTable string = 'users'

@description('Partitions that conversations are spread over. Fixed for the life of the table.')
@minValue(1)
@maxValue(256)
param tableShards int = 64

@description('The most that a row of state may hold, compressed, in KiB.')
@minValue(1)
@maxValue(700)
param stateLimitKiB int = 700

@description('The file with the limits of channels, a path in the app\'s folder.')
@minLength(6)
param sendingLimits string = 'sending_limits.toml'

// Who may use the app's own routes

@description('Who may read, change and erase the stored data over HTTP: nobody, callers with a function key, or callers with an app role in Entra ID.')
@allowed([
  'off'
  'key'
  'entra'
])
param stateApi string = 'off'

@description('Who may see the status page: callers with a function key, callers with an app role in Entra ID, or nobody.')
@allowed([
  'key'
  'entra'
  'off'
])
param statusPage string = 'key'

@description('Client id of the app registration that such callers sign in to. Needed for entra. Its app roles: infra/app_roles.json.')
param authClientId string = ''

// Web pages with a chat

@description('Enhanced authentication of Direct Line and Web Chat: a client cannot take another user id than its token was made for. User ids then begin with dl_.')
@allowed([
  'off'
  'on'
])
param directLineEnhancedAuthentication string = 'off'

@description('Web pages that may hold the chat where directLineEnhancedAuthentication is on: origins with commas between, as https://www.example.com.')
param directLineTrustedOrigins string = ''

@description('Hosts of private channels that may have the token of the bot, besides those of the channels of Microsoft; commas between them.')
param allowedServiceHosts string = ''

// Where state is kept

@description('The store of conversations and users: Table Storage, or Azure Cosmos DB for NoSQL, which is then made too. Fixed for the life of the table.')
@allowed([
  'tables'
  'cosmos'
])
param stateStore string = 'tables'

@description('Whether idle conversations are swept. Off: they expire at their next message only, or with Cosmos DB by its time to live alone, and nobody is told.')
@allowed([
  'on'
  'off'
])
param expiryTimer string = 'on'

@description('When Cosmos DB itself deletes a conversation that nobody has written to, in seconds. At least expireAfterSeconds + 60; the default leaves the day for which notices are tried.')
@minValue(61)
@maxValue(315360000)
param cosmosTimeToLive int = min(expireAfterSeconds + 86400, 315360000)

@description('Copies of the storage: in one place, in three zones, or in another region too. Not every region has zones. Fixed for the life of the account.')
@allowed([
  'Standard_LRS'
  'Standard_ZRS'
  'Standard_GRS'
  'Standard_GZRS'
])
param storageSkuName string = 'Standard_LRS'

// Size

@description('Memory of an instance, in MB.')
@allowed([
  512
  2048
  4096
])
param instanceMemoryMB int = 2048

@description('How many requests one instance serves at once. Azure has 1 for Python where nothing is set: ten users at once would then be ten instances.')
@minValue(1)
@maxValue(1000)
param httpConcurrency int = 16

@description('The most instances that each group of functions may scale out to: all routes are one, the timer and each queue are others.')
@minValue(1)
@maxValue(1000)
param maximumInstanceCount int = 40

@description('Instances that are kept running for messages, so that no user waits for a cold start. They cost money all the time.')
@minValue(0)
@maxValue(100)
param alwaysReadyInstances int = 0

@description('Whether instances are replaced one after the other when code or a setting changes, and may finish what they do. A preview of Azure.')
@allowed([
  'off'
  'on'
])
param rollingUpdates string = 'off'

// Network and people

@description('Whether the storage and Cosmos DB take requests from the app only, by a virtual network with service endpoints.')
@allowed([
  'off'
  'on'
])
param vnetEnabled string = 'off'

@description('Object id of a person or group who may read and write the stored data from outside, with python -m shared.cli. Empty: nobody.')
param operatorPrincipalId string = ''

@description('Where alerts go by e-mail. Empty: they are seen in the portal only.')
param alertEmail string = ''

@description('An alert is raised if no sweep ended in this time, in minutes. At least three intervals of expirySchedule.')
@allowed([
  10
  15
  30
  60
  360
  1440
])
param sweepMissedMinutes int = 15

@description('An alert is raised if the oldest expiry that a sweep did not reach is this overdue, in seconds.')
@minValue(60)
@maxValue(86400)
param backlogAlertSeconds int = 300

@description('The most that the log may grow in a day, in GB. What comes above it is lost. 0: as much as there is.')
@minValue(0)
@maxValue(4000)
param logDailyCapGB int = 1

// The bot with an app registration of its own, instead of the managed identity

@description('Whether an Azure Bot is made, with its channels. None: there is one already, and its messaging endpoint is changed by hand.')
@allowed([
  'new'
  'none'
])
param botRegistration string = 'new'

@description('UserAssignedMSI has no secret. The others need botAppId, and a secret or a certificate in Key Vault; MultiTenant is for a bot that exists. Fixed for the life of the Azure Bot.')
@allowed([
  'UserAssignedMSI'
  'SingleTenant'
  'MultiTenant'
])
param botAppType string = 'UserAssignedMSI'

@description('Client id of the app registration of a bot that is not UserAssignedMSI. Fixed for the life of the Azure Bot.')
param botAppId string = ''

@description('Address of the Key Vault secret that holds the client secret of such a bot: https://<vault>.vault.azure.net/secrets/<name>, without a version.')
param botPasswordSecretUri string = ''

@description('The same of its certificate, instead of the client secret.')
param botCertificateSecretUri string = ''

var token = toLower(uniqueString(subscription().id, environmentName, location))
var tags = { 'azd-env-name': environmentName }
var storageName = 'st${token}'
var packageContainer = 'app-package'
var hasEasyAuth = stateApi == 'entra' || statusPage == 'entra'
var hasNetwork = vnetEnabled == 'on'
var usesIdentity = botAppType == 'UserAssignedMSI'
var hasRegistration = botRegistration == 'new'
var hasSecret = !empty(botPasswordSecretUri)
var hasCertificate = !empty(botCertificateSecretUri)
var isSwept = expiryTimer == 'on'

// Key Vault fetches the newest version only by an address with a slash at its end.
var passwordUri = endsWith(botPasswordSecretUri, '/') ? botPasswordSecretUri : '${botPasswordSecretUri}/'
var certificateUri = endsWith(botCertificateSecretUri, '/') ? botCertificateSecretUri : '${botCertificateSecretUri}/'

// What the app would refuse at its start, or Azure half-way, is refused before anything is made.
var mistakes = concat(
  usesIdentity || !empty(botAppId) ? [] : ['BOT_APP_ID must be the client id that belongs to BOT_APP_TYPE.'],
  usesIdentity || hasSecret || hasCertificate
    ? []
    : ['BOT_APP_TYPE needs BOT_PASSWORD_SECRET_URI or BOT_CERTIFICATE_SECRET_URI, or must be UserAssignedMSI.'],
  botAppType == 'MultiTenant' && botRegistration == 'new'
    ? ['BOT_APP_TYPE is MultiTenant: Azure makes no such bot any more, so BOT_REGISTRATION must be none.']
    : [],
  hasSecret && hasCertificate
    ? ['BOT_PASSWORD_SECRET_URI and BOT_CERTIFICATE_SECRET_URI are set: only one of them may be.']
    : [],
  usesIdentity && (!empty(botAppId) || hasSecret || hasCertificate)
    ? ['BOT_APP_ID and the secret or certificate do not go with BOT_APP_TYPE UserAssignedMSI: change it, or them.']
    : [],
  hasSecret && length(split(passwordUri, '/')) != 6
    ? ['BOT_PASSWORD_SECRET_URI must be https://<vault>.vault.azure.net/secrets/<name>, without a version.']
    : [],
  hasCertificate && length(split(certificateUri, '/')) != 6
    ? ['BOT_CERTIFICATE_SECRET_URI must be https://<vault>.vault.azure.net/secrets/<name>, without a version.']
    : [],
  stateStore == 'cosmos' && isSwept && cosmosTimeToLive < expireAfterSeconds + 60
    ? ['COSMOS_TIME_TO_LIVE must be at least EXPIRE_AFTER_SECONDS and 60 more.']
    : [],
  hasEasyAuth && empty(authClientId)
    ? ['STATE_API or STATUS_PAGE_ACCESS is entra: AUTH_CLIENT_ID must be the registration that callers sign in to.']
    : [],
  empty(directLineTrustedOrigins) || directLineEnhancedAuthentication == 'on'
    ? []
    : ['DIRECT_LINE_TRUSTED_ORIGINS needs DIRECT_LINE_ENHANCED_AUTHENTICATION on.'],
  toLower(conversationsTable) == toLower(usersTable)
    ? ['CONVERSATIONS_TABLE and USERS_TABLE must be two tables.']
    : [],
  contains(['inbox', 'tables'], toLower(conversationsTable)) || contains(['inbox', 'tables'], toLower(usersTable))
    ? ['CONVERSATIONS_TABLE and USERS_TABLE must not be inbox, where long turns wait, or tables, which Azure keeps.']
    : [],
  alwaysReadyInstances > maximumInstanceCount
    ? ['ALWAYS_READY_INSTANCES must not be more than MAXIMUM_INSTANCE_COUNT.']
    : []
)

// Built-in roles: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
var roles = {
  storageBlobDataOwner: 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
  storageQueueDataContributor: '974c5e8b-45b9-4653-ba55-5f855dd0fb88'
  storageTableDataContributor: '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'
  monitoringMetricsPublisher: '3913510d-42f4-4e42-8a64-420c390055eb'
}

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: empty(mistakes) ? 'rg-${environmentName}' : fail(join(mistakes, ' '))
  location: location
  tags: tags
}

// The one identity: it is the bot, and it reads and writes what the app stores.
module identity 'br/public:avm/res/managed-identity/user-assigned-identity:0.4.1' = {
  scope: group
  params: {
    enableTelemetry: false
    name: 'id-${token}'
    location: location
    tags: tags
  }
}

module network 'app/network.bicep' = if (hasNetwork) {
  scope: group
  params: {
    name: 'vnet-${token}'
    location: location
    tags: tags
  }
}

module storage 'br/public:avm/res/storage/storage-account:0.32.1' = {
  scope: group
  params: {
    enableTelemetry: false
    name: storageName
    location: location
    tags: tags
    skuName: storageSkuName
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    allowBlobPublicAccess: false
    minimumTlsVersion: 'TLS1_2'
    publicNetworkAccess: 'Enabled'
    networkAcls: {
      bypass: hasNetwork ? 'None' : 'AzureServices'
      defaultAction: hasNetwork ? 'Deny' : 'Allow'
      virtualNetworkRules: hasNetwork
        ? [
            {
              action: 'Allow'
              id: network!.outputs.subnetResourceId
            }
          ]
        : []
    }
    blobServices: {
      containers: [
        {
          name: packageContainer
        }
      ]
    }
    roleAssignments: concat(
      [
        {
          principalId: identity.outputs.principalId
          principalType: 'ServicePrincipal'
          roleDefinitionIdOrName: roles.storageBlobDataOwner // the host's leases and keys, the package
        }
        {
          principalId: identity.outputs.principalId
          principalType: 'ServicePrincipal'
          roleDefinitionIdOrName: roles.storageQueueDataContributor // the fan-out, and the host's
        }
        {
          principalId: identity.outputs.principalId
          principalType: 'ServicePrincipal'
          roleDefinitionIdOrName: roles.storageTableDataContributor // conversations and users
        }
      ],
      empty(operatorPrincipalId)
        ? []
        : [
            {
              principalId: operatorPrincipalId
              roleDefinitionIdOrName: roles.storageQueueDataContributor
            }
            {
              principalId: operatorPrincipalId
              roleDefinitionIdOrName: roles.storageTableDataContributor
            }
          ]
    )
  }
}

module cosmos 'app/cosmos.bicep' = if (stateStore == 'cosmos') {
  scope: group
  params: {
    name: 'cosmos-${token}'
    location: location
    tags: tags
    timeToLive: cosmosTimeToLive
    principalIds: concat([identity.outputs.principalId], empty(operatorPrincipalId) ? [] : [operatorPrincipalId])
    subnetResourceId: hasNetwork ? network!.outputs.subnetResourceId : ''
  }
}

module logs 'br/public:avm/res/operational-insights/workspace:0.11.1' = {
  scope: group
  params: {
    enableTelemetry: false
    name: 'log-${token}'
    location: location
    tags: tags
    dataRetention: 30
    dailyQuotaGb: logDailyCapGB == 0 ? -1 : logDailyCapGB
  }
}

module insights 'br/public:avm/res/insights/component:0.6.0' = {
  scope: group
  params: {
    enableTelemetry: false
    name: 'appi-${token}'
    location: location
    tags: tags
    workspaceResourceId: logs.outputs.resourceId
    disableLocalAuth: true
    roleAssignments: [
      {
        principalId: identity.outputs.principalId
        principalType: 'ServicePrincipal'
        roleDefinitionIdOrName: roles.monitoringMetricsPublisher
      }
    ]
  }
}

module plan 'br/public:avm/res/web/serverfarm:0.6.0' = {
  scope: group
  params: {
    enableTelemetry: false
    name: 'plan-${token}'
    location: location
    tags: tags
    skuName: 'FC1'
    reserved: true
  }
}

// Every setting of README.md that is not another cloud's or the host's; a test compares them.
// The bot's own. What the infrastructure sets below goes before these.
var botSettings = loadJsonContent('bot-settings.json')

var appSettings = {
  AzureWebJobsStorage__accountName: storage.outputs.name
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: identity.outputs.clientId
  APPLICATIONINSIGHTS_CONNECTION_STRING: insights.outputs.connectionString
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'Authorization=AAD;ClientId=${identity.outputs.clientId}'
  MicrosoftAppType: botAppType
  MicrosoftAppId: usesIdentity ? identity.outputs.clientId : botAppId
  MicrosoftAppTenantId: tenant().tenantId
  ExpireAfterSeconds: string(expireAfterSeconds)
  ExpiryPolicy: startsWith(expiryPolicy, 'base64:') ? base64ToString(substring(expiryPolicy, 7)) : expiryPolicy
  ExpirySchedule: expirySchedule
  ExpiryNotice: expiryNotice
  SweepBudgetSeconds: string(sweepBudgetSeconds)
  ExpiryFanOut: expiryFanOut
  ExpiryQueue: 'expiry-shards'
  LongTurns: longTurns
  Inbox: 'inbox'
  SendingLimits: sendingLimits
  ConversationsTable: conversationsTable
  UsersTable: usersTable
  TableShards: string(tableShards)
  StateLimitKiB: string(stateLimitKiB)
  StateApi: stateApi
  StatusPage: statusPage
  DirectLineEnhancedAuthentication: directLineEnhancedAuthentication
  AllowedServiceHosts: allowedServiceHosts
  StateStore: stateStore
}
var timerSetting = isSwept ? {} : { 'AzureWebJobs.expiry_timer.Disabled': 'true' }
var messagesSetting = messages == 'on' ? {} : { 'AzureWebJobs.messages.Disabled': 'true' }
var maxNoticeAgeSetting = maxNoticeAgeSeconds == 0 ? {} : { MaxNoticeAgeSeconds: string(maxNoticeAgeSeconds) }
var passwordSetting = !hasSecret ? {} : { MicrosoftAppPassword: '@Microsoft.KeyVault(SecretUri=${passwordUri})' }
var certificateSetting = !hasCertificate
  ? {}
  : { MicrosoftAppCertificate: '@Microsoft.KeyVault(SecretUri=${certificateUri})' }
var cosmosSettings = stateStore == 'cosmos'
  ? {
      CosmosDbEndpoint: cosmos!.outputs.endpoint
      CosmosDbDatabaseId: cosmos!.outputs.databaseId
      CosmosDbConversationStateContainerId: cosmos!.outputs.conversationContainerId
      CosmosDbUserStateContainerId: cosmos!.outputs.userContainerId
      CosmosDbTimeToLive: string(cosmosTimeToLive)
      CosmosDbCorrectTimeToLive: 'off' // this template is what sets it; the app's identity may not
    }
  : {}

// App Service authentication (Easy Auth). It lets everybody pass, as some routes ask for a key or for nothing:
// api_function/access.py refuses whoever it says nothing about. It must not read the tokens of channels.
var authentication = hasEasyAuth
  ? {
      platform: {
        enabled: true
      }
      globalValidation: {
        requireAuthentication: false
        unauthenticatedClientAction: 'AllowAnonymous'
        excludedPaths: [
          '/api/messages'
          '/api/health'
          '/api/health/live'
        ]
      }
      identityProviders: {
        azureActiveDirectory: {
          enabled: true
          registration: {
            clientId: authClientId
            openIdIssuer: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
          }
          validation: {
            allowedAudiences: [
              authClientId
              'api://${authClientId}'
            ]
          }
        }
      }
      login: {
        tokenStore: {
          enabled: false // nobody calls anything on behalf of who signed in
        }
      }
      httpSettings: {
        requireHttps: true
      }
    }
  : {
      platform: {
        enabled: false
      }
    }

module app 'br/public:avm/res/web/site:0.23.1' = {
  scope: group
  params: {
    enableTelemetry: false
    name: 'func-${token}'
    location: location
    tags: union(tags, { 'azd-service-name': 'bot' })
    kind: 'functionapp,linux'
    serverFarmResourceId: plan.outputs.resourceId
    httpsOnly: true
    publicNetworkAccess: 'Enabled' // channels call from the internet
    managedIdentities: {
      userAssignedResourceIds: [
        identity.outputs.resourceId
      ]
    }
    keyVaultAccessIdentityResourceId: identity.outputs.resourceId
    virtualNetworkSubnetResourceId: hasNetwork ? network!.outputs.subnetResourceId : null
    siteConfig: {
      alwaysOn: false // not a property of this plan; the module's default is true
      minTlsVersion: '1.2'
    }
    basicPublishingCredentialsPolicies: [
      {
        name: 'scm'
        allow: false
      }
      {
        name: 'ftp'
        allow: false
      }
    ]
    functionAppConfig: {
      runtime: {
        name: 'python'
        version: '3.13'
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
        triggers: {
          http: {
            perInstanceConcurrency: httpConcurrency
          }
        }
        alwaysReady: alwaysReadyInstances == 0
          ? []
          : concat(
              [
                {
                  name: 'http'
                  instanceCount: alwaysReadyInstances
                }
              ],
              longTurns == 'off'
                ? []
                : [
                    {
                      name: 'function:inbox_queue' // Flex Consumption scales it apart from the messages function
                      instanceCount: alwaysReadyInstances
                    }
                  ]
            )
      }
      #disable-next-line BCP037 // the service has it, the types do not have it yet
      siteUpdateStrategy: rollingUpdates == 'on' ? { type: 'RollingUpdate' } : null
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${storage.outputs.primaryBlobEndpoint}${packageContainer}'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identity.outputs.resourceId
          }
        }
      }
    }
    configs: [
      {
        name: 'appsettings'
        retainCurrentAppSettings: false // what is not here is gone after the next `azd provision`
        properties: union(
          botSettings,
          appSettings,
          timerSetting,
          messagesSetting,
          maxNoticeAgeSetting,
          passwordSetting,
          certificateSetting,
          cosmosSettings
        )
      }
      {
        name: 'authsettingsV2'
        properties: authentication
      }
    ]
  }
}

module bot 'app/bot.bicep' = if (hasRegistration) {
  scope: group
  params: {
    name: 'bot-${token}'
    tags: tags
    displayName: botDisplayName
    sku: botSku
    endpoint: 'https://${app.outputs.defaultHostname}/api/messages'
    appType: botAppType
    appId: usesIdentity ? identity.outputs.clientId : botAppId
    identityResourceId: usesIdentity ? identity.outputs.resourceId : ''
    enhancedAuthentication: directLineEnhancedAuthentication == 'on'
    trustedOrigins: empty(directLineTrustedOrigins) ? [] : split(replace(directLineTrustedOrigins, ' ', ''), ',')
  }
}

module monitoring 'app/monitoring.bicep' = {
  scope: group
  params: {
    location: location
    tags: tags
    token: token
    insightsResourceId: insights.outputs.resourceId
    alertEmail: alertEmail
    sweepMissedMinutes: sweepMissedMinutes
    sweepsRun: isSwept
    backlogAlertSeconds: backlogAlertSeconds
  }
}

// azd keeps these in the environment: `azd env get-values`.
output AZURE_RESOURCE_GROUP string = group.name
output AZURE_FUNCTION_NAME string = app.outputs.name
output BOT_ID string = usesIdentity ? identity.outputs.clientId : botAppId
output BOT_NAME string = hasRegistration ? bot!.outputs.name : ''
output BOT_TENANT_ID string = tenant().tenantId
output BOT_DOMAIN string = app.outputs.defaultHostname
output BOT_ENDPOINT string = 'https://${app.outputs.defaultHostname}/api/messages'
output STATUS_PAGE string = 'https://${app.outputs.defaultHostname}/api/expiry'
output HEALTH_PAGE string = 'https://${app.outputs.defaultHostname}/api/health'
output WORKBOOK string = '${environment().portal}/#resource${monitoring.outputs.workbookResourceId}/workbook'

// What cannot be changed later: scripts/check_parameters.py compares them before the next provisioning.
output DEPLOYED_BOT_APP_ID string = botAppId
output DEPLOYED_BOT_APP_TYPE string = botAppType
output DEPLOYED_BOT_REGISTRATION string = botRegistration
output DEPLOYED_CONVERSATIONS_TABLE string = conversationsTable
output DEPLOYED_STATE_STORE string = stateStore
output DEPLOYED_STORAGE_SKU_NAME string = storageSkuName
output DEPLOYED_TABLE_SHARDS int = tableShards
output DEPLOYED_VNET_ENABLED string = vnetEnabled
