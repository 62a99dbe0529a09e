/** /v1/files: training data, as OpenAI has them. A file is checked line by line before it is kept. */
import { inspectTrainingBytes } from "@graft/core/data";
import { Hono } from "hono";
import { z } from "zod";
import type { AppEnv } from "../app-env.ts";
import { readForm } from "../body.ts";
import { fileFormats, type FileRow } from "../db/index.ts";
import { describe, queryOf } from "../describe.ts";
import { ApiError } from "../errors.ts";
import { openJobs } from "../jobs/open-jobs.ts";
import { page, pageOf, pageQuery } from "../page.ts";
import type { Services } from "../services.ts";
import { unixSeconds } from "../unix-seconds.ts";

const PURPOSES = ["fine-tune"] as const;

export const fileSchema = z.object({
  object: z.literal("file"),
  id: z.string(),
  bytes: z.int(),
  created_at: z.int(),
  filename: z.string(),
  purpose: z.enum(PURPOSES),
  status: z.literal("processed"),
  status_details: z.null(),
  graft: z.object({ format: z.enum(fileFormats), rows: z.int(), sha256: z.string() }),
});
const deletedSchema = z.object({ id: z.string(), object: z.literal("file"), deleted: z.literal(true) });
const formSchema = z.object({ file: z.file(), purpose: z.enum(PURPOSES) });

export function fileRoutes({ store, blobs, newId, now }: Services) {
  return new Hono<AppEnv>()
    .post(
      "/v1/files",
      describe({
        tag: "Files",
        summary: "Upload training data",
        description:
          'Chats ({"messages": [...]}), completions ({"prompt", "completion"}) as JSON Lines, or the paper\'s {"instruction", "input", "output"} as JSON or JSON Lines, also gzipped. What is wrong is told with its lines.',
        body: { "multipart/form-data": formSchema },
        response: fileSchema,
        errors: [413],
      }),
      async (c) => {
        const form = await readForm(c);
        const file = form.get("file");
        if (!(file instanceof File)) throw new ApiError(400, "file: must be a file", { param: "file" });
        const purpose = form.get("purpose");
        if (purpose !== "fine-tune") throw new ApiError(400, 'purpose: must be "fine-tune"', { param: "purpose" });
        const bytes = new Uint8Array(await file.arrayBuffer());
        const filename = plainName(file.name);
        const { format, rows } = await inspectTrainingBytes(bytes, filename).catch((error: unknown) => {
          throw error instanceof Error
            ? new ApiError(400, error.message, { param: "file", code: "invalid_file_format" })
            : error;
        });
        const row = await blobs.put(bytes, ({ sha256 }) =>
          store.createFile({
            id: newId("file"),
            filename,
            purpose,
            bytes: bytes.length,
            sha256,
            format,
            rows,
            createdAt: now(),
          }),
        );
        return c.json(fileObject(row));
      },
    )
    .get(
      "/v1/files",
      describe({ tag: "Files", summary: "List files, the newest first", response: pageOf(fileSchema) }),
      queryOf(pageQuery.extend({ purpose: z.string().optional(), order: z.enum(["asc", "desc"]).default("desc") })),
      async (c) => {
        const { limit, after, purpose, order } = c.req.valid("query");
        const rows = await store.files({ limit, after, order, purpose });
        return c.json(page(rows.data.map(fileObject), rows.hasMore));
      },
    )
    .get(
      "/v1/files/:id",
      describe({ tag: "Files", summary: "A file", response: fileSchema, errors: [404] }),
      async (c) => c.json(fileObject(await store.file(c.req.param("id")))),
    )
    .get(
      "/v1/files/:id/content",
      describe({
        tag: "Files",
        summary: "What is in a file",
        response: { "application/octet-stream": z.string() },
        errors: [404],
      }),
      async (c) => {
        const { sha256, filename } = await store.file(c.req.param("id"));
        return new Response(Bun.file(blobs.path(sha256)), {
          headers: {
            "content-type": "application/octet-stream",
            "content-disposition": `attachment; filename*=UTF-8''${encodeURIComponent(filename)}`,
          },
        });
      },
    )
    .delete(
      "/v1/files/:id",
      describe({
        tag: "Files",
        summary: "Delete a file",
        description: "409 while a job that has not ended needs it.",
        response: deletedSchema,
        errors: [404, 409],
      }),
      async (c) => {
        const id = c.req.param("id");
        for await (const { id: job, trainingFile, validationFile } of openJobs(store))
          if (id === trainingFile || id === validationFile)
            throw new ApiError(409, `job ${job} needs this file; cancel it first`, { code: "file_in_use" });
        const { sha256 } = await store.deleteFile(id);
        await blobs.remove(sha256, store.isFileUsed);
        return c.json({ id, object: "file" as const, deleted: true as const });
      },
    );
}

/** The last part of what a client calls it; only for people. */
function plainName(name: string): string {
  const last = name
    .split(/[/\\]/)
    .at(-1)!
    .replaceAll(/\p{Cc}/gu, "")
    .trim();
  return last === "" ? "file.jsonl" : last.slice(0, 255);
}

function fileObject(row: FileRow): z.output<typeof fileSchema> {
  return {
    object: "file",
    id: row.id,
    bytes: row.bytes,
    created_at: unixSeconds(row.createdAt),
    filename: row.filename,
    purpose: "fine-tune",
    status: "processed",
    status_details: null,
    graft: { format: row.format, rows: row.rows, sha256: row.sha256 },
  };
}
