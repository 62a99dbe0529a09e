/** The folder of reference data beside the repository, where there is one. It is no part of a clone: tests that need it skip without it. */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";

const folder = process.env.GRAFT_SHARED ?? resolve(import.meta.dir, "../../../../shared");
export const shared: string | undefined = existsSync(join(folder, "golden")) ? folder : undefined;
export const fixtures: string = join(import.meta.dir, "fixtures");
