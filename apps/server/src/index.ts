export { type AppType, createApp } from "./app.ts";
export { Store } from "./db/store.ts";
export { type RunningServer, type ServeOptions, startServer } from "./serve.ts";
export type { Services } from "./services.ts";
