import { expect, test } from "bun:test";
import { type Base, bindAdapter, methodsByName, newConfig, openBaseFolder } from "@graft/adapters";
import { join } from "node:path";
import { linearNames, placementConfig } from "./placement.ts";

const root = join(import.meta.dir, "../../../..");
const micro = (name: string) => join(root, "models", `graft-micro-${name}`);
const golden = (name: string) => join(root, "apps/cli/test/golden/base", name);

function withBase<T>(folder: string, use: (base: Base) => T): T {
  const base = openBaseFolder(folder);
  try {
    return use(base);
  } finally {
    base.close();
  }
}

const qkvo = ["q_proj", "k_proj", "v_proj"];
test.each([
  [micro("llama"), [...qkvo, "o_proj"], ["gate_proj", "up_proj", "down_proj"]],
  [micro("bloom"), ["query_key_value", "dense"], ["dense_h_to_4h", "dense_4h_to_h"]],
  [micro("gptj"), [...qkvo, "out_proj"], ["fc_in", "fc_out"]],
  [golden("gpt2"), ["c_attn", "attn.c_proj"], ["c_fc", "mlp.c_proj"]],
  [golden("opt"), [...qkvo, "out_proj"], ["fc1", "fc2"]],
  [golden("gpt_neo"), [...qkvo, "out_proj"], ["c_fc", "c_proj"]],
  [golden("gpt_neox"), ["query_key_value", "dense"], ["dense_h_to_4h", "dense_4h_to_h"]],
])("%s: attention and MLP have their linear layers, both has all of a layer", (folder, attention, mlp) => {
  withBase(folder, (base) => {
    expect(linearNames(base, "attention", "here").toSorted()).toEqual(attention.toSorted());
    expect(linearNames(base, "mlp", "here").toSorted()).toEqual(mlp.toSorted());

    // As target_modules they select those and no other.
    const sitesOf = (names: readonly string[]) =>
      bindAdapter(newConfig(methodsByName.get("lora")!, { target_modules: names }).config, base, "here")
        .parameters.map(({ key }) => key)
        .toSorted();
    const keys = [attention, mlp].map((_, i) => sitesOf(linearNames(base, i === 0 ? "attention" : "mlp", "here")));
    const layered = sitesOf(linearNames(base, "both", "here"));
    expect(layered).toEqual(keys.flat().toSorted());
    expect(keys[0]!.every((key) => /attn|attention/.test(key))).toBe(true);
    expect(keys[1]!.some((key) => /attn|attention/.test(key))).toBe(false);
  });
});

test("a method has its placement in the fields that it has for it", () => {
  withBase(micro("llama"), (base) => {
    const placed = (method: string, placement: Parameters<typeof placementConfig>[0]) =>
      placementConfig(placement, methodsByName.get(method)!, base, "study.yaml: variants.0 (X)");
    expect(placed("houlsby", "attention")).toEqual({ mh_adapter: true, output_adapter: false });
    expect(placed("pfeiffer", "both")).toEqual({ mh_adapter: true, output_adapter: true });
    expect(placed("lora", { name: "paper", target_modules: ["q_proj"] })).toEqual({ target_modules: ["q_proj"] });
    expect(() => placed("houlsby", { name: "q", target_modules: ["q_proj"] })).toThrow(
      "study.yaml: variants.0 (X): houlsby stands around blocks and has no target_modules",
    );
    expect(() => placed("prefix-tuning", "mlp")).toThrow(
      "study.yaml: variants.0 (X): prefix-tuning has one place only; leave out placement",
    );
  });
});
