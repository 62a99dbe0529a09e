/** The dashboard's page and files, without a browser and without an engine. */
import { expect, test } from "bun:test";
import { Hono } from "hono";
import type { AppEnv } from "../src/app-env.ts";
import { onError } from "../src/errors.ts";
import { dashboardRoutes } from "../src/routes/dashboard.ts";

const app = new Hono<AppEnv>().onError(onError).route("/", dashboardRoutes());
const page = await app.request("/");
const html = await page.text();
const links = [...html.matchAll(/(?:href|src)="([^"]+)"/g)].map(([, link]) => link!);

test("the page has a strict policy, and nothing in line or from elsewhere", () => {
  expect(page.headers.get("content-security-policy")).toStartWith("default-src 'self'; ");
  expect(page.headers.get("content-security-policy")).not.toContain("unsafe");
  expect(page.headers.get("cache-control")).toBe("no-cache");
  expect(links).toHaveLength(3);
  for (const link of links) expect(link).toMatch(/^\/(?:favicon\.svg|assets\/\w+-\w{8}\.(?:js|css))$/);
  expect(html).not.toMatch(/<style|<script(?![^>]* src=)|style=| on\w+=/);
});

test("every file is there under a name with its hash, to be kept for good, and all together are below 150 kB", async () => {
  let sizeBytes = 0;
  for (const link of links.filter((one) => one.startsWith("/assets/"))) {
    const answer = await app.request(link);
    expect(answer.status).toBe(200);
    expect(answer.headers.get("cache-control")).toBe("public, max-age=31536000, immutable");
    expect(answer.headers.get("content-type")).toStartWith(link.endsWith("js") ? "text/javascript" : "text/css");
    sizeBytes += (await answer.arrayBuffer()).byteLength;
  }
  expect(sizeBytes).toBeGreaterThan(50_000);
  expect(sizeBytes).toBeLessThan(150_000);
  expect((await app.request("/favicon.svg")).headers.get("content-type")).toBe("image/svg+xml");
});

test("an unknown file is a 404 that says what to do, and the same page has the same files", async () => {
  const answer = await app.request("/assets/main-00000000.js");
  expect(answer.status).toBe(404);
  expect(await answer.text()).toContain("load the page again");
  expect(await (await app.request("/")).text()).toBe(html);
});

test("a job's form knows the methods that can be trained without saying more, with their sizes", async () => {
  const script = await (await app.request(links.find((one) => one.endsWith(".js"))!)).text();
  for (const [name, sizes] of Object.entries({
    lora: "r:8,lora_alpha:16",
    "prefix-tuning": "num_virtual_tokens:30",
    series: "bottleneck_size:256",
    ia3: "",
  }))
    expect(script).toContain(`name:"${name}",sizes:{${sizes}}`);
  expect(script).not.toContain('name:"fusion"');
});
