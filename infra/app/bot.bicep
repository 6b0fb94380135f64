// The registration with Azure Bot Service and its channels. There is no Azure Verified Module for it.

@description('Name of the registration.')
param name string

@description('Tags of the registration.')
param tags { *: string }

@description('Name of the bot, as channels show it.')
param displayName string

@description('Pricing tier.')
@allowed([
  'F0'
  'S1'
])
param sku string

@description('Where channels send messages: an https address.')
param endpoint string

@description('Kind of the identity that the bot has.')
@allowed([
  'UserAssignedMSI'
  'SingleTenant'
  'MultiTenant'
])
param appType string

@description('Client id of the identity or app registration.')
param appId string

@description('Resource id of the identity; empty for a bot with a registration of its own.')
param identityResourceId string

@description('Whether Direct Line and Web Chat hold each client to the user id that its token was made for.')
param enhancedAuthentication bool

@description('Web pages that may hold the chat, with enhanced authentication.')
param trustedOrigins array

resource bot 'Microsoft.BotService/botServices@2022-09-15' = {
  name: name
  location: 'global'
  tags: tags
  kind: 'azurebot'
  sku: {
    name: sku
  }
  properties: {
    displayName: displayName
    endpoint: endpoint
    msaAppType: appType
    msaAppId: appId
    msaAppTenantId: tenant().tenantId
    msaAppMSIResourceId: empty(identityResourceId) ? null : identityResourceId
  }
}

resource teams 'Microsoft.BotService/botServices/channels@2022-09-15' = {
  parent: bot
  name: 'MsTeamsChannel'
  location: 'global'
  properties: {
    channelName: 'MsTeamsChannel'
    properties: {
      isEnabled: true
    }
  }
}

resource webChat 'Microsoft.BotService/botServices/channels@2022-09-15' = {
  parent: bot
  name: 'WebChatChannel'
  location: 'global'
  properties: {
    channelName: 'WebChatChannel'
    properties: {
      sites: [
        {
          siteName: 'Default Site'
          isEnabled: true
          isWebchatPreviewEnabled: false
          isSecureSiteEnabled: enhancedAuthentication
          trustedOrigins: trustedOrigins
        }
      ]
    }
  }
  dependsOn: [
    teams // changes of one registration at once end in conflicts
  ]
}

resource directLine 'Microsoft.BotService/botServices/channels@2022-09-15' = {
  parent: bot
  name: 'DirectLineChannel'
  location: 'global'
  properties: {
    channelName: 'DirectLineChannel'
    properties: {
      sites: [
        {
          siteName: 'Default Site'
          isEnabled: true
          isV1Enabled: false
          isV3Enabled: true
          isSecureSiteEnabled: enhancedAuthentication
          trustedOrigins: trustedOrigins
        }
      ]
    }
  }
  dependsOn: [
    webChat
  ]
}

output name string = bot.name
