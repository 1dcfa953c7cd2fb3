import express from "express";
import { LinkError } from "./links.js";

/** The routes of the service, over the given links. */
export function createApp(links) {
  const app = express();
  app.disable("x-powered-by");
  app.use(logRequests, express.json());

  app.get("/health", (req, res) => res.json({ status: "ok" }));

  app.post("/links", (req, res) => {
    res.status(201).json(links.add(req.body?.url));
  });

  app.get("/links/:code", (req, res) => {
    const link = links.get(req.params.code);
    return link ? res.json(link) : notFound(req, res);
  });

  app.get("/:code", (req, res) => {
    const link = links.visit(req.params.code);
    return link ? res.redirect(link.url) : notFound(req, res);
  });

  app.use(notFound, failed);
  return app;
}

function logRequests(req, res, next) {
  const start = performance.now();
  res.on("finish", () => {
    const took = (performance.now() - start).toFixed(1);
    console.log(`${new Date().toISOString()} ${req.method} ${req.originalUrl} ${res.statusCode} ${took} ms`);
  });
  next();
}

function notFound(req, res) {
  res.status(404).json({ error: `nothing is at ${req.path}` });
}

// Express knows a handler of errors by its four parameters.
function failed(error, req, res, next) {
  if (res.headersSent) return next(error);
  const status = error instanceof LinkError ? 400 : (error.status ?? 500);
  if (status >= 500) console.error(error);
  res.status(status).json({ error: status < 500 ? error.message : "internal error" });
}
