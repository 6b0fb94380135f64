// A Cosmos DB for development and tests: @vercel/cosmosdb-server on a port of 127.0.0.1, in memory.
// `node scripts/cosmos_server.js PORT`

const handler = require("@vercel/cosmosdb-server/lib/handler/read-document");
const readDocument = handler.default;

// Version 1.0.1 answers a read of what is not there with 500, because of this error.
handler.default = (account, req, res, params) => {
  try {
    return readDocument(account, req, res, params);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    res.statusCode = 404;
    return { code: "NotFound", message: "Entity with the specified id does not exist." };
  }
};

const { createHttpsServer } = require("@vercel/cosmosdb-server");
createHttpsServer({ keepAlive: true }).listen(Number(process.argv[2]), "127.0.0.1");
