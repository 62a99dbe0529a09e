/** Description files: of a task, of a study. JSON or YAML. */
import { ConfigError } from "@graft/core/errors";
import { extname } from "node:path";

/** The parsed file. Throws ConfigError naming it. */
export async function readDescription(path: string): Promise<unknown> {
  const parse = extname(path) === ".json" ? JSON.parse : Bun.YAML.parse;
  try {
    return parse(await Bun.file(path).text());
  } catch (cause) {
    const said = cause instanceof Error ? cause.message : String(cause);
    throw new ConfigError(`${path}: cannot be read (${said})`, { cause });
  }
}
