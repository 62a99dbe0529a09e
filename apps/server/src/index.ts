export { type AppType, createApp } from "./app.ts";
export { createLog } from "./log.ts";
export { type RunningServer, type ServeOptions, startServer } from "./serve.ts";
export type { Services } from "./services.ts";
