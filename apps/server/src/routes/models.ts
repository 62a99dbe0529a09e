/** GET /v1/models. Adapters carry `root` (their version's folder) and `parent` (the base), as in vLLM. */
import type { AdapterInfo } from "@graft/core/engine";
import { Hono } from "hono";
import { z } from "zod";
import type { AppEnv } from "../app-env.ts";
import { describe } from "../describe.ts";
import { ApiError } from "../errors.ts";
import { contextLength, unknownModel } from "../inference/generation.ts";
import type { Services } from "../services.ts";
import { unixSeconds } from "../unix-seconds.ts";

const modelSchema = z.object({
  id: z.string(),
  object: z.literal("model"),
  created: z.int(),
  owned_by: z.literal("graft"),
  root: z.string().describe("folder of the base, or of the adapter"),
  parent: z.string().nullable().describe("of an adapter the base; of the base null"),
  max_model_len: z.int().describe("tokens of prompt and answer"),
  graft: z
    .object({
      method: z.string(),
      version: z.string().describe("hash of the adapter's files"),
      parameters: z.int(),
      bytes: z.int(),
      virtual_tokens: z.int(),
      pinned: z.boolean(),
      tier: z.enum(["disk", "host", "device"]),
    })
    .optional()
    .describe("of an adapter"),
});
type Model = z.output<typeof modelSchema>;
const deletedSchema = z.object({ id: z.string(), object: z.literal("model"), deleted: z.literal(true) });

export function modelRoutes(services: Services) {
  const { engine, store, shelf, settings } = services;
  const created = unixSeconds(services.startedAt);
  const baseModel = (): Model => ({
    id: settings.modelName,
    object: "model",
    created,
    owned_by: "graft",
    root: engine.info.modelPath,
    parent: null,
    max_model_len: engine.info.maxLength,
  });
  const adapterModel = (adapter: AdapterInfo): Model => ({
    ...baseModel(),
    id: adapter.name,
    root: adapter.path,
    parent: settings.modelName,
    max_model_len: contextLength(services, adapter.name),
    graft: {
      method: adapter.method,
      version: adapter.version,
      parameters: adapter.parameters,
      bytes: adapter.bytes,
      virtual_tokens: adapter.virtualTokens,
      pinned: adapter.isPinned,
      tier: adapter.tier,
    },
  });
  const listSchema = z.object({ object: z.literal("list"), data: z.array(modelSchema) });
  return new Hono<AppEnv>()
    .get("/v1/models", describe({ tag: "Models", summary: "The base and all adapters", response: listSchema }), (c) => {
      const list: z.output<typeof listSchema> = {
        object: "list",
        data: [baseModel(), ...engine.adapters().map(adapterModel)],
      };
      return c.json(list);
    })
    .get(
      "/v1/models/:id{.+}",
      describe({ tag: "Models", summary: "The base or one adapter", response: modelSchema, errors: [404] }),
      (c) => {
        const id = c.req.param("id");
        if (id === settings.modelName) return c.json(baseModel());
        const adapter = engine.adapter(id);
        if (!adapter) throw unknownModel(services, id);
        return c.json(adapterModel(adapter));
      },
    )
    .delete(
      "/v1/models/:id{.+}",
      describe({
        tag: "Models",
        summary: "Delete an adapter with all of its versions",
        description: "As OpenAI deletes a fine-tuned model. Requests in flight finish. The base stays: 403.",
        response: deletedSchema,
        errors: [403, 404, 503],
      }),
      async (c) => {
        const id = c.req.param("id");
        if (id === settings.modelName)
          throw new ApiError(403, `\`${id}\` is the base, which cannot be deleted`, { param: "model" });
        if (!(await store.findAdapter(id))) throw unknownModel(services, id);
        await shelf.delete(id);
        return c.json({ id, object: "model" as const, deleted: true as const });
      },
    );
}
