/** Where in a decoder layer an adapter stands: at attention, at the MLP, or at both. Hu et al. 2023, arXiv:2304.01933, section 4. */
import type { Base, Method } from "@graft/adapters";
import { ConfigError } from "@graft/core/errors";
import type { BranchSite, LinearSite } from "@graft/core/nn";
import { z } from "zod";
import type { Placement } from "./schema.ts";

/** Config fields that a placement decides. */
export const placementFields = ["target_modules", "mh_adapter", "output_adapter"] as const;

export const placementName = (placement: Placement): string =>
  typeof placement === "string" ? placement : placement.name;

/**
 * The config fields that put a method there: the blocks of methods that stand around blocks, the linear layers of any other. Throws ConfigError, beginning with
 * `where`, for a method whose place is its own.
 */
export function placementConfig(
  placement: Placement,
  { name, config }: Pick<Method, "name" | "config">,
  base: Base,
  where: string,
): Readonly<Record<string, unknown>> {
  const fields = config instanceof z.ZodObject ? config.shape : {};
  if ("mh_adapter" in fields && "output_adapter" in fields) {
    if (typeof placement !== "string")
      throw new ConfigError(
        `${where}: ${name} stands around blocks and has no target_modules; its placements are attention, mlp and both`,
      );
    return { mh_adapter: placement !== "mlp", output_adapter: placement !== "attention" };
  }
  if (!("target_modules" in fields)) throw new ConfigError(`${where}: ${name} has one place only; leave out placement`);
  return {
    target_modules: typeof placement === "string" ? linearNames(base, placement, where) : placement.target_modules,
  };
}

/**
 * Names of the linear layers in the blocks of that kind, in the model's order, as target_modules take them: the last word of the path where no other linear
 * layer has it, else the path within the decoder layer. Throws ConfigError for a model that names no blocks.
 */
export function linearNames(base: Base, placement: "attention" | "mlp" | "both", where: string): string[] {
  const attentions = base.sites.filter(
    (site): site is BranchSite => site.kind === "branch" && site.branch === "attention",
  );
  if (attentions.length === 0)
    throw new ConfigError(`${where}: ${base.modelType} names no blocks; give target_modules`);
  const linears = base.sites.filter((site): site is LinearSite => site.kind === "linear");
  const blockOf = ({ name, layer }: LinearSite): "attention" | "mlp" | undefined => {
    const attention = attentions.find((branch) => branch.layer === layer);
    if (layer === undefined || !attention) return undefined;
    // Some models have no module around their MLP: what is not attention's is the MLP's.
    return name.startsWith(`${attention.name}.`) ? "attention" : "mlp";
  };
  const isChosen = (site: LinearSite): boolean => {
    const block = blockOf(site);
    return block !== undefined && (placement === "both" || block === placement);
  };
  const last = (name: string): string => name.slice(name.lastIndexOf(".") + 1);
  const others = new Set(linears.filter((site) => !isChosen(site)).map(({ name }) => last(name)));
  const names = linears.filter(isChosen).map(({ name, layer }) => {
    if (!others.has(last(name))) return last(name);
    const own = attentions.find((branch) => branch.layer === layer)!.name;
    return name.slice(own.lastIndexOf(".") + 1);
  });
  return [...new Set(names)];
}
