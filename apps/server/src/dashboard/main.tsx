/** Starts the page. */
import { render } from "hono/jsx/dom";
import { App } from "./app.tsx";
import { startFeed } from "./status-feed.ts";
import { applyTheme } from "./theme.ts";

applyTheme();
startFeed();
render(<App />, document.querySelector("#app")!);
