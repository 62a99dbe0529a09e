/** The dashboard in a real browser, on a real server with the embedded model. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { databaseName, openStore } from "../src/db/index.ts";
import type { RunningServer } from "../src/index.ts";
import { findChromium, launchChromium, openWatchedPage, type WatchedPage } from "./chromium.ts";
import { startMicroServer } from "./in-process.ts";
import { newResult, newRun } from "./runs.ts";
import { commonAdapter } from "./shared.ts";

const KEY = "secret";
const HOSTILE = `<img src=x onerror="document.title='hit'">'&`;
const DESKTOP = { viewport: { width: 1280, height: 900 } };
const PHONE = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true };
const SECTIONS = ["Overview", "Adapters", "Jobs", "Playground", "Evals"];

const executable = findChromium();
if (executable === undefined)
  console.warn("skipped: no Chromium on PATH as chromium, chromium-browser or google-chrome, and no CHROME_PATH");
const axe = readFileSync(Bun.resolveSync("axe-core/axe.min.js", import.meta.dir), "utf8");

describe.skipIf(executable === undefined)("the dashboard", () => {
  const scratch = mkdtempSync(join(tmpdir(), "dashboard-"));
  const data = join(scratch, "data");
  const trainingFile = join(scratch, "sums.jsonl");
  let server: RunningServer;
  let browser: Browser;
  let runId: string;
  let jobId: string;

  beforeAll(async () => {
    runId = await recordRuns(join(data, databaseName));
    const rows = Array.from({ length: 24 }, (_, i) => ({ prompt: `${i} + 1 =`, completion: ` ${i + 1}` }));
    writeFileSync(trainingFile, rows.map((row) => JSON.stringify(row)).join("\n"));
    server = await startMicroServer({ dataDir: data, apiKey: KEY });
    jobId = await createJob(server.url, trainingFile);
    browser = await launchChromium(executable!);
  });
  afterAll(async () => {
    await browser?.close();
    await server?.close();
    rmSync(scratch, { recursive: true, force: true });
  });

  /** Opens a place with the key entered, runs the check, and expects nothing odd to have happened. */
  async function onPage(
    place: string,
    check: (page: Page, watched: WatchedPage) => Promise<void>,
    options: BrowserContextOptions = DESKTOP,
  ): Promise<void> {
    const watched = await openWatchedPage(browser, server.url, options, { "graft-api-key": KEY });
    try {
      await watched.page.goto(`${server.url}/#/${place}`);
      await check(watched.page, watched);
      expect(watched.problems).toEqual([]);
    } finally {
      await watched.page.context().close();
    }
  }

  const section = (page: Page, name: string) => page.getByRole("region", { name, exact: true });

  test("asks for a key, again after a wrong one, and keeps it for this tab alone", async () => {
    const { page, problems } = await openWatchedPage(browser, server.url, DESKTOP, {});
    await page.goto(server.url);
    const dialog = page.getByRole("dialog", { name: "API key" });
    await dialog.getByLabel("Key", { exact: true }).fill("wrong");
    await dialog.getByRole("button", { name: "Use key" }).click();
    await dialog.getByText("A key is set.").waitFor();
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "detached" });
    await page.getByText("The server asks for an API key.").waitFor();
    await page.getByRole("button", { name: "API key" }).click();
    await dialog.getByLabel("Key", { exact: true }).fill(KEY);
    await page.keyboard.press("Enter");
    await page.getByText("graft-micro-llama", { exact: true }).waitFor();
    expect(await page.evaluate("[sessionStorage.getItem('graft-api-key'), JSON.stringify({...localStorage})]")).toEqual(
      [KEY, '{"graft-theme":"system"}'],
    );
    expect(problems.filter((line) => !line.includes("401"))).toEqual([]);
    await page.context().close();
  });

  test("the overview shows the server's figures, and draws them as they come", () =>
    onPage("overview", async (page) => {
      await page.getByText("graft-micro-llama", { exact: true }).waitFor();
      await page.getByText(server.engine.info.device).waitFor();
      await page.getByRole("list", { name: "Pages of the KV cache" }).getByText("free").waitFor();
      await page.getByRole("img", { name: /^Requests, [2-9] points\. Latest: running: 0; waiting: 0$/ }).waitFor();
    }));

  test("an adapter is uploaded, published, rolled back, pinned and deleted", () =>
    onPage("adapters", async (page) => {
      const form = page.getByRole("form", { name: "Upload" });
      const config = JSON.parse(readFileSync(join(commonAdapter, "adapter_config.json"), "utf8")) as object;
      const upload = async (revision: string | null): Promise<void> => {
        await form.getByLabel("Name").fill("mine");
        await form.getByLabel("adapter_config.json").setInputFiles({
          name: "adapter_config.json",
          mimeType: "application/json",
          buffer: Buffer.from(JSON.stringify({ ...config, revision })),
        });
        await form
          .getByLabel("adapter_model.safetensors or .bin")
          .setInputFiles(join(commonAdapter, "adapter_model.safetensors"));
        await form.getByRole("button", { name: "Upload" }).click();
        await page.getByText("mine is uploaded.").waitFor();
        await page.getByRole("button", { name: "Dismiss" }).click();
      };
      await upload(null);
      await upload("second");
      await page.getByRole("button", { name: "mine", exact: true }).click();
      await page.getByText("Version 2 served").waitFor();
      await page.getByRole("button", { name: "Publish version 1" }).click();
      await page.getByText("Version 1 served").waitFor();
      const rollBack = page.getByRole("button", { name: "Roll back" });
      await rollBack.click();
      await page.getByRole("dialog").waitFor();
      await page.keyboard.press("Escape");
      await page.getByRole("dialog").waitFor({ state: "detached" });
      expect(await page.evaluate("document.activeElement.textContent")).toBe("Roll back");
      await rollBack.click();
      await page.getByRole("dialog").getByRole("button", { name: "Roll back" }).click();
      await page.getByText("Version 2 served").waitFor();
      await page.getByRole("button", { name: "Pin mine" }).click();
      await page.getByRole("button", { name: "Pin mine", pressed: true }).waitFor();
      await page.getByRole("button", { name: "Delete version 1" }).click();
      await page.getByRole("button", { name: "Delete version", exact: true }).click();
      await page.getByText("Version 1 of mine is deleted.").waitFor();
      await page.getByRole("button", { name: "Delete adapter" }).click();
      await page.getByRole("dialog").getByRole("button", { name: "Delete adapter" }).click();
      await page.getByRole("button", { name: "mine", exact: true }).waitFor({ state: "detached" });
    }));

  test("a job is made from a new file, draws its curves, and ends in an adapter", () =>
    onPage("jobs", async (page) => {
      const form = page.getByRole("form", { name: "New job" });
      await form.locator('input[name="training.file"]').setInputFiles(trainingFile);
      await form.locator('input[name="validation.file"]').setInputFiles(trainingFile);
      await form.getByLabel("r", { exact: true }).fill("2");
      await form.getByLabel("Batch size", { exact: true }).fill("8");
      await form.getByLabel("Epochs").fill("4");
      await form.getByLabel("Suffix of the name").fill("sums");
      await form.getByRole("button", { name: "Create job" }).click();
      await page.getByRole("heading", { name: /^Jobs: ftjob-/ }).waitFor();
      await section(page, "State").getByText("succeeded").waitFor({ timeout: 100_000 });
      await page.getByRole("img", { name: /^Loss, 12 points\. Latest: training: \d.*; validation: \d/ }).waitFor();
      await page.getByText("Loss as a table").click();
      expect(await section(page, "Loss, table").getByRole("row").count()).toBe(13);
      expect(await page.getByRole("log").getByRole("listitem").count()).toBeGreaterThan(1);
      expect(await section(page, "Checkpoints").getByRole("row").count()).toBeGreaterThan(1);
      await page.getByRole("link", { name: "Try the result" }).click();
      await page.getByRole("heading", { name: "Playground" }).waitFor();
      expect(await page.getByLabel("Model on the right").inputValue()).toMatch(/^ft:graft-micro-llama:graft:sums:/);
      await page.getByRole("link", { name: "Jobs" }).click();
      await section(page, "Jobs").getByRole("link", { name: "sums", exact: true }).waitFor();
      await page.getByRole("progressbar", { name: "Progress of sums", exact: true }).waitFor();
    }));

  test("the playground streams two models side by side, each as the API answers it", () =>
    onPage("playground", async (page) => {
      await page.getByLabel("Completion").check();
      await page.getByLabel("Prompt").fill("Tom has 3 apples.");
      await page.getByLabel("Most tokens").fill("24");
      await page.getByLabel("Model on the right").selectOption("common");
      await page.keyboard.press("Tab");
      await page.getByLabel("Prompt").press("Control+Enter");
      for (const [side, model] of [
        ["left", "graft-micro-llama"],
        ["right", "common"],
      ] as const) {
        const answer = page.getByRole("region", { name: `Answer on the ${side}` });
        await answer.getByText(/ tokens, first after \d+ ms, .* tokens\/s, finish reason: (?:length|stop)/).waitFor();
        const response = await fetch(`${server.url}/v1/completions`, {
          method: "POST",
          headers: { authorization: `Bearer ${KEY}` },
          body: JSON.stringify({ model, prompt: "Tom has 3 apples.", max_tokens: 24, temperature: 0 }),
        });
        const { choices } = (await response.json()) as { choices: { text: string }[] };
        expect(await answer.getByRole("region", { name: `Text of ${model}` }).textContent()).toBe(choices[0]!.text);
      }
    }));

  test("a mistake is told in words where it was made, and both answers can be stopped", () =>
    onPage("playground", async (page, { problems }) => {
      await page.getByLabel("Completion").check();
      await page.getByLabel("Prompt").fill("Tom has 3 apples.");
      await page.getByLabel("Most tokens").fill("100000");
      await page.getByRole("button", { name: "Send" }).click();
      await page.getByRole("alert").first().getByText("maximum context length").waitFor();
      expect(problems.every((line) => line.includes("400"))).toBe(true);
      (problems as string[]).length = 0;
      // The answers wait for ever: what is tested is leaving them.
      await page.route("**/v1/completions", () => new Promise<void>(() => undefined));
      await page.getByRole("button", { name: "Send" }).click();
      await page.getByRole("button", { name: "Stop" }).click();
      await page.getByText("stopped by you").nth(1).waitFor();
    }));

  test("evaluations are compared on a task, and each is shown whole", () =>
    onPage("evals", async (page) => {
      await page.getByLabel("Task").selectOption("piqa");
      await page.getByText("As a table").click();
      const table = section(page, "Comparison").getByRole("table");
      await table.getByRole("row", { name: "plain acc 0.5 0.3 to 0.7 2" }).waitFor();
      expect(await table.getByRole("row").count()).toBe(3);
      await page.getByLabel(`Compare ${runId}`).uncheck();
      await table.getByRole("row").nth(2).waitFor({ state: "detached" });
      await page.getByLabel(`Compare ${runId}`).check();
      await section(page, "Runs").getByRole("link", { name: "plain" }).click();
      await page.getByRole("heading", { name: `Evals: ${runId}` }).waitFor();
      await page.getByRole("img", { name: "0.5, 0.3 to 0.7" }).first().waitFor();
      expect(await section(page, "Figures as a table").getByRole("row").count()).toBe(3);
    }));

  test("names and messages are text, whatever is in them", () =>
    onPage("evals", async (page) => {
      const adapter = { name: HOSTILE, method: HOSTILE, tier: HOSTILE, current_version: 1, versions: 1, bytes: 1 };
      await page.route("**/v1/adapters", (route) => route.fulfill({ json: { object: "list", data: [adapter] } }));
      // A run's adapter is called by the last part of its folder.
      await section(page, "Runs").getByRole("link", { name: HOSTILE }).waitFor();
      await page.getByRole("link", { name: "Adapters" }).click();
      await page.getByRole("button", { name: HOSTILE, exact: true }).waitFor();
      expect(await page.locator("main img").count()).toBe(0);
      expect(await page.title()).toBe("Adapters · Graft");
    }));

  test("all of it works from the keyboard", () =>
    onPage("overview", async (page) => {
      await page.getByText("graft-micro-llama", { exact: true }).waitFor();
      const focused = () => page.evaluate("document.activeElement.textContent.trim()");
      await page.keyboard.press("Tab");
      expect(await focused()).toBe("Skip to content");
      await page.keyboard.press("Enter");
      expect(await focused()).toBe("Overview");
      await page.reload();
      await page.getByText("graft-micro-llama", { exact: true }).waitFor();
      const order: unknown[] = [];
      for (let i = 0; i < 9; i++) {
        await page.keyboard.press("Tab");
        order.push(await focused());
      }
      expect(order).toEqual(["Skip to content", "Graft", ...SECTIONS, "API key", "Theme: system"]);
      const outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle");
      expect(outline).toBe("solid");
      await page.keyboard.press("Enter");
      expect(await page.evaluate("document.documentElement.dataset.theme")).toBe("light");
      await page.keyboard.press("Shift+Tab");
      await page.keyboard.press("Enter");
      const dialog = page.getByRole("dialog", { name: "API key" });
      await dialog.waitFor();
      for (let i = 0; i < 6; i++) {
        await page.keyboard.press("Tab");
        expect(
          await page.evaluate("document.activeElement === document.body || !!document.activeElement.closest('dialog')"),
        ).toBe(true);
      }
      await page.keyboard.press("Escape");
      await dialog.waitFor({ state: "detached" });
      expect(await focused()).toBe("API key");
      await page.getByRole("link", { name: "Evals" }).press("Enter");
      await page.getByRole("heading", { name: "Evals", exact: true }).waitFor();
      await page.locator("h1:focus").waitFor();
    }));

  const places = ["overview", "adapters", "jobs", "playground", "evals"];

  test.each([
    ["light", "on a desktop", DESKTOP],
    ["dark", "on a desktop", DESKTOP],
    ["light", "on a phone", PHONE],
  ] as const)("axe finds nothing serious, in %s, %s", async (colorScheme, _, options) => {
    for (const place of [...places, `jobs/${jobId}`, `evals/${runId}`]) {
      await onPage(
        place,
        async (page) => {
          await page.getByText("ready", { exact: true }).waitFor();
          await page.getByText("Loading").first().waitFor({ state: "detached" });
          // Not under the page's policy: it is put in by the browser's own tools.
          await page.evaluate(axe);
          const found = (await page.evaluate("axe.run(document, { resultTypes: ['violations'] })")) as {
            violations: { id: string; impact: string; nodes: { html: string }[] }[];
          };
          const bad = found.violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
          expect(bad.map(({ id, nodes }) => `${place}: ${id}: ${nodes.map(({ html }) => html).join(" ")}`)).toEqual([]);
        },
        { ...options, colorScheme },
      );
    }
  });

  test("nothing is wider than a phone, and nothing moves when figures come", () =>
    onPage(
      "overview",
      async (page) => {
        for (const place of [...places, `jobs/${jobId}`, `evals/${runId}`]) {
          await page.goto(`${server.url}/#/${place}`);
          await page.getByText("Loading").first().waitFor({ state: "detached" });
          expect([place, await page.evaluate("document.documentElement.scrollWidth")]).toEqual([place, 390]);
        }
        await page.goto(`${server.url}/#/overview`);
        await page.getByRole("img", { name: /^Requests, [2-9] points/ }).waitFor();
        await page.evaluate(
          "globalThis.shift = 0; new PerformanceObserver((list) => list.getEntries().forEach((e) => (shift += e.value))).observe({ type: 'layout-shift' })",
        );
        await page.getByRole("img", { name: /^Requests, (?:[5-9]|\d\d) points/ }).waitFor();
        expect(await page.evaluate("shift")).toBeLessThan(0.01);
      },
      PHONE,
    ));
});

/** A job of one epoch; its id. */
async function createJob(url: string, path: string): Promise<string> {
  const post = async (route: string, body: FormData | string): Promise<string> => {
    const response = await fetch(`${url}/v1/${route}`, {
      method: "POST",
      headers: { authorization: `Bearer ${KEY}` },
      body,
    });
    const { id, error } = (await response.json()) as { id?: string; error?: { message: string } };
    return id ?? Promise.reject(new Error(`${route}: ${error?.message}`));
  };
  const form = new FormData();
  form.set("purpose", "fine-tune");
  form.set("file", Bun.file(path));
  const file = await post("files", form);
  const supervised = { hyperparameters: { n_epochs: 1 }, adapter: { r: 2 } };
  const method = { type: "supervised", supervised };
  return post("fine_tuning/jobs", JSON.stringify({ model: "graft-micro-llama", training_file: file, method }));
}

/** Two runs that the server finds in its database; the first one's id. */
async function recordRuns(path: string): Promise<string> {
  const store = await openStore({ path });
  const ids: string[] = [];
  for (const adapter of ["out/plain", `out/${HOSTILE}`]) {
    const id = await store.createRun({ ...newRun, adapter }, new Date());
    for (const task of ["gsm8k", "piqa"]) await store.addResult(id, newResult(task, [1, 0]));
    await store.finishRun(id, { kernelHash: null }, new Date());
    ids.push(id);
  }
  await store.close();
  return ids[0]!;
}
