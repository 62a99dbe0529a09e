/** Lists in pages, as OpenAI's API has them. */
import { z } from "zod";

export const pageQuery = z.object({
  limit: z.coerce.number().int().min(1).max(1000).default(100),
  after: z.string().optional().describe("the id that the page before ended with"),
});

/** The schema of a page. */
export function pageOf<T extends z.ZodType>(item: T) {
  return z.object({
    object: z.literal("list"),
    data: z.array(item),
    has_more: z.boolean(),
    first_id: z.string().nullable(),
    last_id: z.string().nullable(),
  });
}

/** A page of items that have ids. */
export function page<T extends { readonly id: string }>(data: T[], hasMore: boolean) {
  return {
    object: "list" as const,
    data,
    has_more: hasMore,
    first_id: data[0]?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
  };
}
