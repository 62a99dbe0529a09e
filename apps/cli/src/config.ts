/** The only file of the command line that reads the environment. */
import { hubOptionsFrom } from "@graft/core/io";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { DRIVER_KINDS } from "./doctor/machine.ts";

const env = process.env;

export const config = {
  /** Root of the checkout. */
  root: resolve(import.meta.dir, "../../.."),
  /** What Graft keeps between runs. */
  cacheDir: env.GRAFT_CACHE ?? join(env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "graft"),
  dataDir: env.GRAFT_DATA ?? join(env.XDG_DATA_HOME ?? join(homedir(), ".local", "share"), "graft"),
  /** How the launcher found the Vulkan driver (`system` if bun was started without it), and the file that names the driver, if one does. */
  driver: {
    kind: DRIVER_KINDS.find((kind) => kind === env.GRAFT_DRIVER) ?? "system",
    files: env.VK_DRIVER_FILES ?? env.VK_ICD_FILENAMES,
  },
  apiKey: env.GRAFT_API_KEY,
  /** Of the server that commands talk to. */
  serverUrl: env.GRAFT_URL === "" ? undefined : env.GRAFT_URL,
  defaultServerUrl: "http://127.0.0.1:8000",
  /** Of a Postgres server that keeps what a server would keep in SQLite. */
  databaseUrl: env.DATABASE_URL,
  /** Of the model that judges answers. */
  judgeApiKey: env.GRAFT_JUDGE_API_KEY,
  /** PATH: where the interpreter of programs that a model writes is looked for. */
  searchPath: env.PATH ?? "",
  /** Autotuning: on, off, or as the device suggests. */
  tune: env.GRAFT_TUNE === undefined ? undefined : env.GRAFT_TUNE !== "off" && env.GRAFT_TUNE !== "0",
  /** Cache, token, endpoint and offline switch of the Hugging Face hub: HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE. */
  hub: hubOptionsFrom(env),
  isCi: env.CI === "true" || env.CI === "1",
} as const;
