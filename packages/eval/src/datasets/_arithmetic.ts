/** Word problems with a number for an answer, in the forms in which they are published. */
import { DataError } from "@graft/core/errors";
import { z } from "zod";
import type { Dataset } from "../dataset.ts";
import type { InstructionDoc } from "../doc.ts";
import { type Form, form, instructionForm, readForms } from "./_forms.ts";

type Own = Omit<Dataset<InstructionDoc>, "read"> & { readonly published: Form<InstructionDoc> };

/** A data set of rows in LLM-Adapters' form or as `published`. */
export function arithmeticDataset({ published, ...own }: Own): Dataset<InstructionDoc> {
  return { ...own, read: (path) => readForms(path, [instructionForm((doc) => doc), published]) };
}

export const numberOrText = z.union([z.number(), z.string()], "must be a number or a string");

/** {sQuestion, lSolutions}: AddSub, MultiArith and SingleEq as their authors give them. */
export const solutions = form(
  z.object({ sQuestion: z.string(), lSolutions: z.array(numberOrText).min(1) }),
  ({ sQuestion, lSolutions }) => instructionDoc(sQuestion, numberText(lSolutions[0]!)),
);

/** A doc in LLM-Adapters' form. */
export function instructionDoc(instruction: string, answer: string, output = ""): InstructionDoc {
  return { instruction, input: "", output, answer };
}

/** A number as LLM-Adapters' files have it: text as it stands, a JSON number as Python prints a float. Throws DataError for what is no number. */
export function numberText(value: number | string): string {
  if (typeof value === "string") {
    if (!/^-?(?:\d+\.?\d*|\.\d+)$/.test(value)) throw new DataError(`the answer ${JSON.stringify(value)} is no number`);
    return value;
  }
  return Number.isInteger(value) && Math.abs(value) < 1e16 ? `${value}.0` : String(value);
}
