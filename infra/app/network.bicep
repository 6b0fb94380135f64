// A virtual network for the app's outgoing requests. Its service endpoints let storage and Cosmos DB
// tell the app from the rest of the internet.

@description('Name of the network.')
param name string

@description('Region of the network: the app\'s.')
param location string

@description('Tags of the network.')
param tags { *: string }

module network 'br/public:avm/res/network/virtual-network:0.7.1' = {
  params: {
    enableTelemetry: false
    name: name
    location: location
    tags: tags
    addressPrefixes: [
      '10.0.0.0/24'
    ]
    subnets: [
      {
        name: 'app'
        addressPrefix: '10.0.0.0/26' // Flex Consumption wants /27 at least
        delegation: 'Microsoft.App/environments'
        serviceEndpoints: [
          'Microsoft.Storage'
          'Microsoft.AzureCosmosDB'
        ]
      }
    ]
  }
}

output subnetResourceId string = network.outputs.subnetResourceIds[0]
