// Azure Cosmos DB for NoSQL, serverless, without keys. The Azure Verified Module always sets defaultTtl,
// which users must not have; so these are the resources themselves.

@description('Name of the account.')
param name string

@description('Region of the account: the app\'s.')
param location string

@description('Tags of the account.')
param tags { *: string }

@description('When a conversation that nobody has written to is deleted, in seconds.')
@minValue(61)
param timeToLive int

@description('Object ids of those who may read and write items.')
param principalIds string[]

@description('The subnet that requests may come from; empty: from everywhere.')
param subnetResourceId string

var databaseId = 'bot'
var conversationContainerId = 'conversation-state'
var userContainerId = 'user-state'

// Items are found by id; an erasure finds those about one user. Each path that is indexed costs every write.
var indexingPolicy = {
  automatic: true
  indexingMode: 'consistent'
  includedPaths: [
    {
      path: '/users/[]/?'
    }
  ]
  excludedPaths: [
    {
      path: '/*'
    }
  ]
}
var partitionKey = {
  kind: 'Hash'
  paths: [
    '/id'
  ]
  version: 2
}

resource account 'Microsoft.DocumentDB/databaseAccounts@2025-10-15' = {
  name: name
  location: location
  tags: tags
  kind: 'GlobalDocumentDB'
  properties: {
    databaseAccountOfferType: 'Standard'
    capabilities: [
      {
        name: 'EnableServerless'
      }
    ]
    locations: [
      {
        locationName: location
        failoverPriority: 0
        isZoneRedundant: false
      }
    ]
    consistencyPolicy: {
      defaultConsistencyLevel: 'Session'
    }
    disableLocalAuth: true
    disableKeyBasedMetadataWriteAccess: true
    minimalTlsVersion: 'Tls12'
    publicNetworkAccess: 'Enabled'
    isVirtualNetworkFilterEnabled: !empty(subnetResourceId)
    virtualNetworkRules: empty(subnetResourceId)
      ? []
      : [
          {
            id: subnetResourceId
          }
        ]
  }
}

resource database 'Microsoft.DocumentDB/databaseAccounts/sqlDatabases@2025-10-15' = {
  parent: account
  name: databaseId
  properties: {
    resource: {
      id: databaseId
    }
  }
}

resource conversations 'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers@2025-10-15' = {
  parent: database
  name: conversationContainerId
  properties: {
    resource: {
      id: conversationContainerId
      partitionKey: partitionKey
      indexingPolicy: indexingPolicy
      defaultTtl: timeToLive
    }
  }
}

resource users 'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers@2025-10-15' = {
  parent: database
  name: userContainerId
  properties: {
    resource: {
      id: userContainerId
      partitionKey: partitionKey
      indexingPolicy: indexingPolicy
    }
  }
}

resource dataContributor 'Microsoft.DocumentDB/databaseAccounts/sqlRoleDefinitions@2025-10-15' existing = {
  parent: account
  name: '00000000-0000-0000-0000-000000000002' // Cosmos DB Built-in Data Contributor
}

resource assignments 'Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments@2025-10-15' = [
  for principalId in principalIds: {
    parent: account
    name: guid(account.id, principalId, dataContributor.id)
    properties: {
      principalId: principalId
      roleDefinitionId: dataContributor.id
      scope: account.id
    }
  }
]

output endpoint string = account.properties.documentEndpoint
output databaseId string = databaseId
output conversationContainerId string = conversationContainerId
output userContainerId string = userContainerId
