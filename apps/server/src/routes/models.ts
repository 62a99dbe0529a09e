/** GET /v1/models. Adapters carry `root` (their folder) and `parent` (the base), as in vLLM. */
import { Hono } from "hono";
import { ApiError } from "../errors.ts";
import type { Services } from "../services.ts";

export function modelRoutes(services: Services) {
  const started = Math.floor(services.now().getTime() / 1000);
  const list = () => [
    card(services.modelName, services.engine.info.modelPath, null),
    ...services.engine.adapters().map((adapter) => card(adapter.name, adapter.path, services.modelName)),
  ];
  function card(id: string, root: string, parent: string | null) {
    return {
      id,
      object: "model",
      created: started,
      owned_by: "graft",
      root,
      parent,
      max_model_len: parent === null ? services.engine.info.maxLength : null,
    };
  }
  return new Hono()
    .get("/v1/models", (c) => c.json({ object: "list", data: list() }))
    .get("/v1/models/:id{.+}", (c) => {
      const found = list().find((model) => model.id === c.req.param("id"));
      if (!found)
        throw new ApiError(404, `The model \`${c.req.param("id")}\` does not exist`, {
          type: "NotFoundError",
          code: "model_not_found",
          param: "model",
        });
      return c.json(found);
    });
}
