import { expect, test } from "bun:test";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ApiError } from "../src/errors.ts";
import { Store } from "../src/index.ts";
import { assertTransition, transitions } from "../src/db/job-state.ts";
import { jobStates } from "../src/db/schema.ts";

test("jobs move only as the table says", () => {
  const allowed = jobStates.flatMap((from) => transitions[from].map((to) => `${from} ${to}`));
  for (const from of jobStates) {
    for (const to of jobStates) {
      if (allowed.includes(`${from} ${to}`)) assertTransition(from, to);
      else expect(() => assertTransition(from, to)).toThrow(ApiError);
    }
  }
  expect(allowed).not.toContain("succeeded running");
});

test("rows are there after opening again, and a refused move changes nothing", () => {
  const path = join(mkdtempSync(join(tmpdir(), "store-")), "graft.sqlite");
  const at = new Date(1_700_000_000_000);
  const first = new Store(path);
  first.putAdapter({ name: "a", path: "/x", version: "1", method: "lora", loadedAt: at });
  first.putAdapter({ name: "a", path: "/y", version: "2", method: "lora", loadedAt: at });
  first.createJob({ id: "job", request: "{}" }, at);
  first.moveJob("job", "running", at);
  expect(() => first.moveJob("job", "running", at)).toThrow("cannot become");
  expect(() => first.moveJob("nope", "running", at)).toThrow("no job nope");
  first.close();
  const second = new Store(path);
  expect(second.adapters()).toEqual([{ name: "a", path: "/y", version: "2", method: "lora", loadedAt: at }]);
  expect(second.jobs()[0]).toMatchObject({ id: "job", state: "running" });
  second.deleteAdapter("a");
  expect(second.adapters()).toEqual([]);
  second.close();
});
