/** Files of training data. */
import { and, eq } from "drizzle-orm";
import { UnknownName } from "@graft/core/errors";
import type { Driver, Tables } from "./driver.ts";
import { byTime, type OrderedPageOptions, type Page, toPage } from "./page.ts";

export type FileRow = Tables["files"]["$inferSelect"];

export interface FileFilter extends OrderedPageOptions {
  readonly purpose?: string | undefined;
}

export interface FileStore {
  /** Its bytes are on disk already. */
  createFile(file: FileRow): Promise<FileRow>;
  /** Throws UnknownName. */
  file(id: string): Promise<FileRow>;
  /** The newest first, if no order is given. Throws UnknownName for an `after` that is no file. */
  files(filter: FileFilter): Promise<Page<FileRow>>;
  /** Returns what it was: its bytes may go if no other file has the same (`isFileUsed`). Throws UnknownName. */
  deleteFile(id: string): Promise<FileRow>;
  /** Is there a file with these bytes? */
  isFileUsed(sha256: string): Promise<boolean>;
}

export function fileStore({ tables: { files }, query, snapshot }: Driver): FileStore {
  const known = (rows: readonly FileRow[], id: string): FileRow => {
    const [row] = rows;
    if (!row) throw new UnknownName(`no file ${id}`);
    return row;
  };
  return {
    createFile: async (file) => known(await query((db) => db.insert(files).values(file).returning()), file.id),

    file: async (id) => known(await query((db) => db.select().from(files).where(eq(files.id, id))), id),

    files: ({ limit, after, order, purpose }) =>
      snapshot(async (tx) => {
        const last =
          after === undefined ? undefined : known(await tx.select().from(files).where(eq(files.id, after)), after);
        const { orderBy, where } = byTime(
          { time: files.createdAt, name: files.id },
          order,
          last && { time: last.createdAt, name: last.id },
        );
        const isAsked = purpose === undefined ? undefined : eq(files.purpose, purpose);
        const rows = await tx
          .select()
          .from(files)
          .where(and(where, isAsked))
          .orderBy(...orderBy)
          .limit(limit + 1);
        return toPage(rows, limit);
      }),

    deleteFile: async (id) => known(await query((db) => db.delete(files).where(eq(files.id, id)).returning()), id),

    async isFileUsed(sha256) {
      const rows = await query((db) =>
        db.select({ id: files.id }).from(files).where(eq(files.sha256, sha256)).limit(1),
      );
      return rows.length > 0;
    },
  };
}
