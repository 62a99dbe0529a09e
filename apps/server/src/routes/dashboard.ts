/** The dashboard at /: one page, its script and its style, bundled at the first request. Nothing comes from elsewhere. */
import { type Method, methods } from "@graft/adapters";
import { Hono } from "hono";
import { join } from "node:path";
import type { AppEnv } from "../app-env.ts";
import { ApiError } from "../errors.ts";

const CLIENT = ["main.tsx", "style.css"].map((file) => join(import.meta.dir, "../dashboard", file));

/** No script or style but the page's own files, no call but to this server, in no other site's frame. */
const POLICY = "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'none'; frame-ancestors 'none'";

const ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">
<rect width="32" height="32" rx="7" fill="#17693d"/>
<path d="M16 27V15M16 17c0-6-4-9-9-9 0 6 4 9 9 9zm0-3c0-5 4-8 9-8 0 5-4 8-9 8z" fill="#bff0d2" stroke="#bff0d2" stroke-width="2" stroke-linejoin="round"/>
</svg>`;

interface Bundle {
  readonly page: string;
  /** By name, which has the hash of the content in it. */
  readonly assets: ReadonlyMap<string, { readonly bytes: ArrayBuffer; readonly type: string }>;
}

export function dashboardRoutes() {
  let made: Promise<Bundle> | undefined;
  const bundle = () => (made ??= makeBundle());
  return new Hono<AppEnv>()
    .get("/", async (c) => {
      const { page } = await bundle();
      c.header("content-security-policy", POLICY);
      c.header("x-content-type-options", "nosniff");
      c.header("referrer-policy", "no-referrer");
      c.header("cache-control", "no-cache");
      return c.html(page);
    })
    .get("/favicon.svg", (c) =>
      c.body(ICON, 200, { "content-type": "image/svg+xml", "cache-control": "max-age=86400" }),
    )
    .get("/assets/:name", async (c) => {
      const asset = (await bundle()).assets.get(c.req.param("name"));
      if (!asset) throw new ApiError(404, `no asset ${c.req.param("name")}: load the page again`);
      return c.body(asset.bytes, 200, {
        "content-type": asset.type,
        "cache-control": "public, max-age=31536000, immutable",
        "x-content-type-options": "nosniff",
      });
    });
}

/** Throws what Bun.build throws. */
async function makeBundle(): Promise<Bundle> {
  const { outputs } = await Bun.build({
    entrypoints: CLIENT,
    target: "browser",
    minify: true,
    naming: "[name]-[hash].[ext]",
    define: { "process.env.NODE_ENV": '"production"', GRAFT_METHODS: JSON.stringify(trainableMethods()) },
  });
  const assets = new Map<string, { bytes: ArrayBuffer; type: string }>();
  for (const output of outputs)
    assets.set(output.path.replace(/^.*\//, ""), { bytes: await output.arrayBuffer(), type: output.type });
  const named = (end: string) => [...assets.keys()].find((name) => name.endsWith(end))!;
  const page = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Graft</title>
<link rel="icon" href="/favicon.svg">
<link rel="stylesheet" href="/assets/${named(".css")}">
<script type="module" src="/assets/${named(".js")}"></script>
</head>
<body><div id="app"></div><noscript>The dashboard needs JavaScript; the API does not: see /docs.</noscript></body>
</html>
`;
  return { page, assets };
}

/** Methods that a job can train when nothing of their config is said, with the fields that say how large an adapter becomes. */
function trainableMethods() {
  const all = Object.values(methods) as unknown as readonly Method[];
  return all.flatMap(({ name, peftType, config, trainingDefaults, sizeFields = [] }) => {
    const parsed = config.safeParse({ peft_type: peftType, ...trainingDefaults });
    if (!parsed.success) return [];
    const fields = parsed.data as Readonly<Record<string, unknown>>;
    const sizes = sizeFields.filter((field) => typeof fields[field] === "number");
    return [{ name, sizes: Object.fromEntries(sizes.map((field) => [field, fields[field]])) }];
  });
}
