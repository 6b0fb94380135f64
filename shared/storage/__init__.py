"""What speaks to Azure: tables, documents of Cosmos DB and queues, and the stores over them."""
