import { createServer } from "node:http";
import { createApp } from "./app.js";
import { Links } from "./links.js";

const text = process.env.PORT ?? "8084";
const port = Number(text);
if (!/^\d+$/.test(text) || port < 1 || port > 65535) {
  console.error(`links: PORT must be a number from 1 to 65535, not \`${text}\``);
  process.exit(1);
}

const server = createServer(createApp(new Links()));
server.on("error", (error) => {
  const cause = error.code === "EADDRINUSE" ? "another program has it" : error.message;
  console.error(`links: cannot listen on port ${port}: ${cause}`);
  process.exit(1);
});
server.listen(port, "0.0.0.0", () => console.log(`links: listening on port ${port}`));

// Requests under way have half a second to end.
function stop() {
  server.close(() => console.log("links: stopped"));
  setTimeout(() => server.closeAllConnections(), 500).unref();
}
process.once("SIGTERM", stop);
process.once("SIGINT", stop);
