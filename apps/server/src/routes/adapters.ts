/** POST /v1/load_lora_adapter and /v1/unload_lora_adapter, as vLLM has them. */
import { Hono } from "hono";
import { z } from "zod";
import { parseWith, readJson } from "../body.ts";
import { ApiError } from "../errors.ts";
import type { AppEnv } from "../app-env.ts";
import type { Services } from "../services.ts";

const loadSchema = z.looseObject({
  lora_name: z.string().min(1),
  lora_path: z.string().min(1),
  load_inplace: z.boolean().nullish(),
});
const unloadSchema = z.looseObject({ lora_name: z.string().min(1) });

export function adapterRoutes(services: Services) {
  const { engine, store } = services;
  const isLoaded = (name: string) => engine.adapters().some((adapter) => adapter.name === name);
  return new Hono<AppEnv>()
    .post("/v1/load_lora_adapter", async (c) => {
      const { lora_name: name, lora_path: path, load_inplace: inPlace } = parseWith(loadSchema, await readJson(c));
      if (name === services.settings.modelName)
        throw new ApiError(400, `lora_name: "${name}" is the base model`, { param: "lora_name" });
      if (isLoaded(name) && !inPlace) {
        throw new ApiError(
          400,
          `The lora adapter '${name}' has already been loaded. If you want to load the adapter in place, set 'load_inplace' to True.`,
          { type: "InvalidUserInput", param: "lora_name" },
        );
      }
      await engine.loadAdapter(name, path);
      return c.text(`Success: LoRA adapter '${name}' added successfully.`);
    })
    .post("/v1/unload_lora_adapter", async (c) => {
      const { lora_name: name } = parseWith(unloadSchema, await readJson(c));
      if (!isLoaded(name))
        throw new ApiError(404, `The lora adapter '${name}' cannot be found.`, {
          type: "NotFoundError",
          param: "lora_name",
        });
      await engine.unloadAdapter(name);
      await store.deleteAdapter(name).catch(() => undefined);
      return c.text(`Success: LoRA adapter '${name}' removed successfully.`);
    });
}
