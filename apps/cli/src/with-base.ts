/** The base of adapters for a command that needs no device. */
import { type Base, openBaseFolder } from "@graft/adapters";
import { resolveModelFolder } from "./resolve-model.ts";

/** Opens a model folder or hub name, and closes it whatever becomes of `use`. */
export async function withBase<T>(model: string, use: (base: Base) => Promise<T>): Promise<T> {
  const base = openBaseFolder(await resolveModelFolder(model));
  try {
    return await use(base);
  } finally {
    base.close();
  }
}
