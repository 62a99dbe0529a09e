/** The check of import boundaries finds what it is there to find. */
import { afterAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const script = join(import.meta.dir, "../../../scripts/check-boundaries.ts");
const scratch = mkdtempSync(join(tmpdir(), "boundaries-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
let trees = 0;

/** What the check says of a tree of these files. */
function check(files: Readonly<Record<string, string>>): { code: number; problems: string[] } {
  const root = join(scratch, `${trees++}`);
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  const { exitCode, stderr } = Bun.spawnSync([process.execPath, script, root]);
  return { code: exitCode, problems: stderr.toString().trim().split("\n").filter(Boolean) };
}

test("arrows that go the right way pass", () => {
  expect(
    check({
      "packages/kernels/src/device.ts": 'import { create } from "webgpu";\n',
      "packages/core/src/ops/add.ts":
        'import { a } from "@graft/kernels";\nimport type { Op } from "../graph/op.ts";\n',
      "packages/core/src/text/tokenizer.ts": 'import { n } from "./_vocabulary.ts";\n',
      "packages/core/src/text/tokenizer.test.ts": 'import { o } from "@graft/kernels";\n',
      "apps/cli/src/config.ts": "const env = process.env;\n",
    }),
  ).toEqual({ code: 0, problems: [] });
});

for (const [file, text, problem] of [
  ["packages/kernels/src/a.ts", 'import { x } from "@graft/core";', "packages/kernels may not import @graft/core"],
  ["packages/adapters/src/a.ts", 'import { x } from "@graft/eval";', "packages/adapters may not import @graft/eval"],
  ["packages/eval/src/a.ts", 'export * from "@graft/adapters/x";', "packages/eval may not import @graft/adapters/x"],
  [
    "packages/core/src/graph/a.ts",
    'import type {\n  Model,\n} from "../models/model.ts";',
    "core/graph may not import core/models",
  ],
  ["packages/core/src/ops/a.ts", 'const m = await import("../train/t.ts");', "core/ops may not import core/train"],
  ["packages/core/src/data/a.ts", 'import "@graft/kernels";', "no device code here, but @graft/kernels"],
  [
    "packages/core/src/engine/scheduler.ts",
    'import { x } from "./y.ts";',
    "imports pure files of its own alone, but ./y.ts",
  ],
  [
    "packages/core/src/data/a.ts",
    'export { x } from "../text/_vocabulary.ts";',
    "packages/core/src/text/_vocabulary.ts is private to its folder",
  ],
  ["packages/core/src/a.ts", 'import { create } from "webgpu";', "only packages/kernels imports webgpu"],
  [
    "apps/server/src/routes/a.ts",
    'import { openDevice } from "@graft/kernels";',
    "no device code here, but @graft/kernels",
  ],
  [
    "apps/cli/src/a.ts",
    'import { x } from "../../server/src/app.ts";',
    "../../server/src/app.ts is outside the package's source",
  ],
  ["packages/core/src/io/a.ts", "const home = process.env.HOME;", "only an app's config.ts reads the environment"],
] as const) {
  test(`found: ${file}: ${problem}`, () => {
    expect(check({ [file]: `${text}\n` })).toEqual({ code: 1, problems: [`${file}: ${problem}`] });
  });
}
