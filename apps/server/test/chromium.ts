/** A Chromium that is on this machine, for tests of the dashboard. */
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";

/** CHROME_PATH, or the first of the usual names on PATH; undefined without one. */
export function findChromium(): string | undefined {
  const names = ["chromium", "chromium-browser", "google-chrome"];
  return process.env["CHROME_PATH"] ?? names.map((name) => Bun.which(name)).find((path) => path !== null) ?? undefined;
}

/** Headless, with a fresh profile, and silent: it asks nothing of anybody on its own. */
export function launchChromium(executablePath: string): Promise<Browser> {
  const { LD_LIBRARY_PATH: _ours, ...env } = process.env;
  return chromium.launch({
    executablePath,
    // A library path for a Vulkan driver is not for the browser.
    env: env as Record<string, string>,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

export interface WatchedPage {
  readonly page: Page;
  /** Lines of the console that are errors or warnings, exceptions, and requests to other origins. */
  readonly problems: readonly string[];
}

/** A page in a context of its own. */
export async function openWatchedPage(
  browser: Browser,
  origin: string,
  options: BrowserContextOptions,
  sessionStorage: Readonly<Record<string, string>>,
): Promise<WatchedPage> {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const problems: string[] = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) problems.push(message.text());
  });
  page.on("pageerror", ({ message }) => problems.push(message));
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== origin) problems.push(`request to ${request.url()}`);
  });
  const items = JSON.stringify(Object.entries(sessionStorage));
  await page.addInitScript(`for (const [name, value] of ${items}) sessionStorage.setItem(name, value)`);
  return { page, problems };
}
