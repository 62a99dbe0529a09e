/** Parameters of the base that an adapter trains whole: modules_to_save and biases. */
import { ConfigError, suggest } from "@graft/core/errors";
import type { Base } from "./method.ts";

/**
 * Parameters of modules_to_save, with their keys. A name is the end of a module's path, as in PEFT without a dot before it: "norm" is every norm of a llama.
 * Throws ConfigError, beginning with `where`, for a name that is no module with weights.
 */
export function savedModules(names: readonly string[], base: Base, where: string): Map<string, string> {
  const saved = new Map<string, string>();
  const modules = new Map(base.parameters.map((parameter) => [parameter, pathsAbove(parameter)]));
  for (const name of names) {
    const found = base.parameters.filter((parameter) => modules.get(parameter)!.some((path) => path.endsWith(name)));
    if (found.length === 0) {
      const ends = new Set([...modules.values()].flat().map((path) => path.split(".").at(-1)!));
      throw new ConfigError(
        `${where}: modules_to_save names "${name}", which is no module with weights${suggest(name, ends)}`,
      );
    }
    for (const parameter of found) saved.set(parameter, `base_model.model.${parameter}`);
  }
  return saved;
}

/** "a.b.weight": "a", "a.b". */
export function pathsAbove(parameter: string): string[] {
  const words = parameter.split(".").slice(0, -1);
  return words.map((_, i) => words.slice(0, i + 1).join("."));
}

/** The biases of every module, or of the target modules alone. */
export function trainedBiases(
  which: "none" | "all" | "targets",
  base: Base,
  targets: ReadonlySet<string>,
): { readonly module: string; readonly parameter: string }[] {
  if (which === "none") return [];
  return base.parameters.flatMap((parameter) => {
    const module = parameter.split(".").slice(0, -1).join(".");
    const isTrained = parameter === `${module}.bias` && (which === "all" || targets.has(module));
    return isTrained ? [{ module, parameter }] : [];
  });
}
