// Makes servers listen on this machine only, where a program gives no way to say so:
// `node --require ./scripts/loopback_only.js PROGRAM`, or NODE_OPTIONS="--require ./scripts/loopback_only.js".

const { Server } = require("node:net");

const listen = Server.prototype.listen;

Server.prototype.listen = function (...options) {
  // Of the forms of listen(), only listen(port[, callback]) leaves the address open here.
  const [port, ...rest] = options;
  const isOpen = typeof port === "number" && typeof rest[0] !== "string";
  return isOpen ? listen.call(this, port, "127.0.0.1", ...rest) : listen.apply(this, options);
};
