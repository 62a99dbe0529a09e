/** GET /openapi.json, made from the routes' own schemas, and GET /docs to read and try it. Nothing comes from elsewhere. */
import { Hono } from "hono";
import { openAPIRouteHandler } from "hono-openapi";
import { dirname, join } from "node:path";
import type { AppEnv } from "../app-env.ts";
import { tags } from "../describe.ts";

const swagger = dirname(Bun.resolveSync("swagger-ui-dist/package.json", import.meta.dir));
const FILES = { "swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript" } as const;

const PAGE = `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Graft API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="ui"></div><script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body>
</html>`;
const START = `SwaggerUIBundle({ url: "/openapi.json", dom_id: "#ui", deepLinking: true, validatorUrl: null });`;

/** `routes`: the app whose routes are described. */
export function docsRoutes(routes: Hono<AppEnv>) {
  const document = openAPIRouteHandler(routes, {
    documentation: {
      openapi: "3.1.0",
      info: {
        title: "Graft",
        version: "1",
        description: "One frozen base, any number of adapters: OpenAI's API, and what adapters need beside it.",
      },
      tags: Object.entries(tags).map(([name, description]) => ({ name, description })),
      components: { securitySchemes: { key: { type: "http", scheme: "bearer" } } },
      security: [{ key: [] }],
    },
  });
  const app = new Hono<AppEnv>()
    .get("/openapi.json", document)
    .get("/docs", (c) => c.html(PAGE))
    .get("/docs/start.js", (c) => c.body(START, 200, { "content-type": "text/javascript" }));
  for (const [name, type] of Object.entries(FILES)) {
    app.get(`/docs/${name}`, async (c) =>
      c.body(await Bun.file(join(swagger, name)).arrayBuffer(), 200, { "content-type": type }),
    );
  }
  return app;
}
