/** /v1/adapters: names, the versions behind them, and which one requests get. */
import { UnknownName } from "@graft/core/errors";
import { Hono } from "hono";
import { z } from "zod";
import { adapterFiles, isAdapterFile, uploadedFiles } from "../adapters/adapter-files.ts";
import { adapterName } from "../adapters/adapter-name.ts";
import { fromSchema, originOf } from "../adapters/adapter-source.ts";
import {
  addedSchema,
  adapterObject,
  adapterSchema,
  newestVersion,
  versionObject,
  versionSchema,
} from "../adapters/adapter-objects.ts";
import type { AppEnv } from "../app-env.ts";
import { parseWith, readForm, readJson } from "../body.ts";
import type { VersionRow } from "../db/index.ts";
import { describe, jsonBody, queryOf } from "../describe.ts";
import { ApiError } from "../errors.ts";
import { page, pageOf, pageQuery } from "../page.ts";
import { sendFile } from "../send-file.ts";
import type { Services } from "../services.ts";
import { vllmAdapterRoutes } from "./vllm-adapters.ts";

const nameField = z.string().describe("a model name when it is published");
const publishField = z.boolean().default(true).describe("requests get it at once");
const createSchema = z.object({ name: nameField, from: fromSchema, publish: publishField });
const formSchema = z.object({
  name: nameField,
  publish: z.enum(["true", "false"]).default("true"),
  files: z
    .file()
    .array()
    .describe(`${adapterFiles[0]}, and one of ${adapterFiles.slice(1).join(", ")}`),
});
const deletedSchema = z.object({ name: z.string(), object: z.literal("adapter"), deleted: z.literal(true) });

const ADAPTER = "/v1/adapters/:name";
const VERSION = `${ADAPTER}/versions/:version`;

export function adapterRoutes(services: Services) {
  const { engine, store, shelf, settings } = services;
  const tag = "Adapters" as const;
  const answer = async (name: string) => {
    await engine.refreshAdapters();
    const row = await store.adapter(name);
    return adapterObject(row, row.current ?? (await newestVersion(store, name)), engine.adapter(name));
  };
  const added = async (version: VersionRow) => {
    const object = await answer(version.adapter);
    return { ...object, added: versionObject(version, object.current_version) };
  };
  return new Hono<AppEnv>()
    .route("/", vllmAdapterRoutes(services))
    .post(
      "/v1/adapters",
      describe({
        tag,
        summary: "Upload an adapter, or make one of what is there",
        description:
          "As multipart/form-data PEFT's files, or as JSON where they are: a folder, a job's result or checkpoint, a composition of other adapters, which keeps the versions they have now. Files are checked against the base before anything else sees them. The same files under the same name are the same version.",
        body: { "multipart/form-data": formSchema, "application/json": createSchema },
        response: addedSchema,
        errors: [403, 404, 409, 413, 503],
      }),
      async (c) => {
        const isForm = /^multipart\/form-data/i.test(c.req.header("content-type") ?? "");
        if (!isForm) {
          const body = parseWith(createSchema, await readJson(c));
          const name = adapterName(body.name, settings.modelName, "name");
          const origin = await originOf(services, body.from);
          return c.json(await added(await shelf.add(name, { ...origin, publish: body.publish })));
        }
        const form = await readForm(c);
        const fields = { name: form.get("name"), publish: form.get("publish") ?? undefined };
        const { name: asked, publish } = parseWith(formSchema.omit({ files: true }), fields);
        const name = adapterName(asked, settings.modelName, "name");
        const upload = { source: { type: "upload" } as const, fill: uploadedFiles(form), from: "" };
        return c.json(await added(await shelf.add(name, { ...upload, publish: publish === "true" })));
      },
    )
    .get(
      "/v1/adapters",
      describe({ tag, summary: "List adapters, the newest names first", response: pageOf(adapterSchema) }),
      queryOf(pageQuery),
      async (c) => {
        await engine.refreshAdapters();
        const { data, hasMore } = await store.adapters(c.req.valid("query"));
        const objects = await Promise.all(
          data.map(async (row) =>
            adapterObject(row, row.current ?? (await newestVersion(store, row.name)), engine.adapter(row.name)),
          ),
        );
        return c.json(page(objects, hasMore));
      },
    )
    .get(ADAPTER, describe({ tag, summary: "An adapter", response: adapterSchema, errors: [404] }), async (c) =>
      c.json(await answer(c.req.param("name"))),
    )
    .delete(
      ADAPTER,
      describe({
        tag,
        summary: "Delete an adapter with all of its versions",
        description: "Requests in flight finish.",
        response: deletedSchema,
        errors: [404, 503],
      }),
      async (c) => {
        const name = c.req.param("name");
        await shelf.delete(name);
        return c.json({ name, object: "adapter" as const, deleted: true as const });
      },
    )
    .post(
      `${ADAPTER}/publish`,
      describe({
        tag,
        summary: "Make a version the one that requests get",
        description: "Requests in flight finish on theirs.",
        response: adapterSchema,
        errors: [404, 503],
      }),
      jsonBody(z.object({ version: z.int().min(1) })),
      async (c) => {
        const { adapter } = await shelf.publish(c.req.param("name"), c.req.valid("json").version);
        return c.json(await answer(adapter));
      },
    )
    .post(
      `${ADAPTER}/rollback`,
      describe({
        tag,
        summary: "Back to the version that was published before",
        response: adapterSchema,
        errors: [404, 409, 503],
      }),
      async (c) => c.json(await answer((await shelf.rollback(c.req.param("name"))).adapter)),
    )
    .post(
      `${ADAPTER}/pin`,
      describe({
        tag,
        summary: "Keep an adapter on the device, or no longer",
        description: "400 where the device's budget for adapters is too small.",
        response: adapterSchema,
        errors: [404, 503],
      }),
      jsonBody(z.object({ pinned: z.boolean() })),
      async (c) => {
        const name = c.req.param("name");
        await shelf.pin(name, c.req.valid("json").pinned);
        return c.json(await answer(name));
      },
    )
    .get(
      `${ADAPTER}/versions`,
      describe({ tag, summary: "Versions, the newest first", response: pageOf(versionSchema), errors: [404] }),
      queryOf(pageQuery.extend({ after: z.coerce.number().int().min(1).optional() })),
      async (c) => {
        const name = c.req.param("name");
        const { currentVersion } = await store.adapter(name);
        const { data, hasMore } = await store.versions(name, c.req.valid("query"));
        return c.json(
          page(
            data.map((row) => versionObject(row, currentVersion)),
            hasMore,
          ),
        );
      },
    )
    .delete(
      VERSION,
      describe({
        tag,
        summary: "Delete a version",
        description: "409 for the one that is published.",
        response: deletedSchema.extend({ version: z.int() }),
        errors: [404, 409],
      }),
      async (c) => {
        const { name, version } = c.req.param();
        const number = versionNumber(version);
        await shelf.deleteVersion(name, number);
        return c.json({ name, object: "adapter" as const, version: number, deleted: true as const });
      },
    )
    .get(
      `${VERSION}/files/:file`,
      describe({
        tag,
        summary: "Download a file of a version",
        description: "Takes If-None-Match and a Range.",
        response: { "application/octet-stream": z.string() },
        errors: [404],
      }),
      async (c) => {
        const { name, version, file } = c.req.param();
        const row = await store.version(name, versionNumber(version));
        const folder = shelf.folderOf(row);
        if (!isAdapterFile(file) || !(await Bun.file(`${folder}/${file}`).exists()))
          throw new ApiError(404, `version ${row.number} of "${name}" has no file ${file.slice(0, 100)}`, {
            code: "not_found",
          });
        return sendFile(c.req.raw, folder, file, row.hash);
      },
    );
}

/** Throws UnknownName for what is no number. */
function versionNumber(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new UnknownName(`no adapter has a version "${text.slice(0, 40)}"; versions are numbers`);
}
