/** POST /v1/load_lora_adapter and /v1/unload_lora_adapter, with vLLM's texts. */
import { Hono } from "hono";
import { z } from "zod";
import { adapterName } from "../adapters/adapter-name.ts";
import { pathOrigin } from "../adapters/adapter-source.ts";
import type { AppEnv } from "../app-env.ts";
import { describe, jsonBody } from "../describe.ts";
import { ApiError } from "../errors.ts";
import type { Services } from "../services.ts";

const loadSchema = z.object({
  lora_name: z.string(),
  lora_path: z.string().min(1).describe("folder in the data directory or in one given by --adapter-root"),
  load_inplace: z.boolean().nullish().describe("replace what has the name; requests in flight finish on it"),
});
const unloadSchema = z.object({ lora_name: z.string().min(1) });
const said = { "text/plain": z.string() };

export function vllmAdapterRoutes(services: Services) {
  const { engine, shelf, settings } = services;
  return new Hono<AppEnv>()
    .post(
      "/v1/load_lora_adapter",
      describe({
        tag: "Adapters",
        summary: "Load an adapter of any method from a folder",
        description: "As vLLM has it. The files are copied: what happens to the folder later changes nothing.",
        response: said,
        errors: [403],
      }),
      jsonBody(loadSchema),
      async (c) => {
        const { lora_name: asked, lora_path: path, load_inplace: inPlace } = c.req.valid("json");
        const name = adapterName(asked, settings.modelName, "lora_name");
        if (engine.adapter(name) && !inPlace) {
          throw new ApiError(
            400,
            `The lora adapter '${name}' has already been loaded. If you want to load the adapter in place, set 'load_inplace' to True.`,
            { type: "InvalidUserInput", param: "lora_name" },
          );
        }
        await shelf.add(name, { ...(await pathOrigin(services, path, "lora_path")), publish: true });
        return c.text(`Success: LoRA adapter '${name}' added successfully.`);
      },
    )
    .post(
      "/v1/unload_lora_adapter",
      describe({
        tag: "Adapters",
        summary: "Unload an adapter",
        description:
          "As vLLM has it. What was loaded from folders alone is forgotten; what was uploaded or trained stays in /v1/adapters, unpublished.",
        response: said,
        errors: [404],
      }),
      jsonBody(unloadSchema),
      async (c) => {
        const { lora_name: name } = c.req.valid("json");
        if (!engine.adapter(name))
          throw new ApiError(404, `The lora adapter '${name.slice(0, 200)}' cannot be found.`, {
            type: "NotFoundError",
            param: "lora_name",
          });
        await shelf.unload(name);
        return c.text(`Success: LoRA adapter '${name}' removed successfully.`);
      },
    );
}
