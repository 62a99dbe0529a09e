/** Files of rows: in LLM-Adapters' form, or as their authors published them. */
import { readJsonElements } from "@graft/core/data";
import { DataError } from "@graft/core/errors";
import { z } from "zod";
import type { InstructionDoc } from "../doc.ts";

/** A form in which rows are published, and the doc that one becomes. */
export interface Form<D> {
  /** Fields that a row of this form must have. */
  readonly fields: readonly string[];
  /** `place` counts rows from 0, for labels that stand in another file. Throws DataError; the reader adds the row's place to its message. */
  read(row: object, place: number): D;
}

/** A form by the schema of its rows. Fields that the schema does not name are left out. */
export function form<S extends z.ZodObject, D>(schema: S, convert: (row: z.output<S>, place: number) => D): Form<D> {
  return {
    fields: Object.keys(schema.shape).filter((name) => !z.safeParse(schema.shape[name]!, undefined).success),
    read(row, place) {
      const result = schema.safeParse(row);
      if (result.success) return convert(result.data, place);
      throw new DataError(result.error.issues.map((issue) => problemOf(issue, row)).join("; "));
    },
  };
}

/** The docs of a file whose rows have one of the forms. Throws DataError naming file, line, row and field. */
export async function readForms<D>(path: string, forms: readonly Form<D>[]): Promise<D[]> {
  const elements = await readJsonElements(path);
  return elements.map(({ value, line }, place) => {
    try {
      if (typeof value !== "object" || value === null || Array.isArray(value))
        throw new DataError(`must be an object of fields, got ${JSON.stringify(value).slice(0, 40)}`);
      return formOf(value, forms).read(value, place);
    } catch (cause) {
      if (!(cause instanceof DataError)) throw cause;
      throw new DataError(`${path}: line ${line}: row ${place + 1}: ${cause.message}`, { cause });
    }
  });
}

/** LLM-Adapters' own form: {instruction, input, output, answer}. `finish` makes the data set's docs of it. */
export function instructionForm<D extends InstructionDoc>(finish: (doc: InstructionDoc) => D): Form<D> {
  return form(instructionSchema, finish);
}

const optionalText = z
  .string()
  .nullish()
  .transform((text) => text ?? "");

const instructionSchema = z.object({
  instruction: z.string().regex(/\S/, "is empty"),
  input: optionalText,
  output: optionalText,
  // Gold answers come as strings, numbers or booleans.
  answer: z.union([z.string(), z.number(), z.boolean()], "must be a string or a number").transform(String),
});

/** The first form that has all its fields; else the one that has most of them, so that its error names what is missing. */
function formOf<D>(row: object, forms: readonly Form<D>[]): Form<D> {
  const has = ({ fields }: Form<D>): number => fields.filter((name) => Object.hasOwn(row, name)).length;
  const whole = forms.find((one) => has(one) === one.fields.length);
  if (whole) return whole;
  const nearest = forms.reduce((best, one) => (has(one) > has(best) ? one : best));
  if (has(nearest) > 0) return nearest;
  const given = Object.keys(row).join(", ") || "none";
  const known = forms.map(({ fields }) => `{${fields.join(", ")}}`).join(" or ");
  throw new DataError(`has the fields ${given.slice(0, 80)}; a row of this data set is ${known}`);
}

function problemOf({ path, message }: z.core.$ZodIssue, row: object): string {
  const [name] = path;
  const isMissing = path.length === 1 && !Object.hasOwn(row, name!);
  return `field "${path.join(".")}" ${isMissing ? "is missing" : message.replace(/^Invalid input: expected/, "must be")}`;
}
