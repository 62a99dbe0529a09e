/** `NAME=DIR` on the command line. */
import { UsageError } from "./command.ts";

/** In the order given. Throws UsageError for an entry of another form and a name that is given twice. */
export function namedFolders(entries: readonly string[]): { readonly name: string; readonly folder: string }[] {
  const seen = new Set<string>();
  return entries.map((entry) => {
    const at = entry.indexOf("=");
    if (at < 1) throw new UsageError(`--adapter is NAME=DIR, not "${entry}"`);
    const name = entry.slice(0, at);
    if (seen.has(name)) throw new UsageError(`--adapter: the name "${name}" is given twice`);
    seen.add(name);
    return { name, folder: entry.slice(at + 1) };
  });
}
