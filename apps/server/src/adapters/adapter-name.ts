/** Names under which adapters are served. */
import { ApiError } from "../errors.ts";

const MAX_NAME = 128;

/** What came in the field `param`, as the name of an adapter. Throws ApiError 400 for the base's name, and for what a URL or a log line could not carry. */
export function adapterName(name: string, modelName: string, param: string): string {
  const refuse = (why: string): never => {
    throw new ApiError(400, `${param}: ${why}`, { param });
  };
  if (name.length === 0 || name.length > MAX_NAME) refuse(`must have 1 to ${MAX_NAME} characters, has ${name.length}`);
  if (name === modelName) refuse(`"${name}" is the base model`);
  if (/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(name) || !name.isWellFormed()) refuse("must have no control characters");
  if (/[/\\]/.test(name) || name.includes("..")) refuse('must have no "/", "\\" or ".."');
  if (name.trim() !== name || name === ".") refuse("must not begin or end with white space, or be a dot");
  return name;
}
