import { expect, test } from "bun:test";
import { failuresIn } from "./test-failures.ts";

test("each failure comes with what was printed since the test before it, without turbo's prefix", () => {
  const output = `
@graft/eval:test: src/a.test.ts:
@graft/eval:test: (pass) one [0.1ms]
@graft/eval:test: 12 |   expect(1).toBe(2);
@graft/eval:test: error: expect(received).toBe(expected)
@graft/eval:test: (fail) two [0.2ms]
@graft/eval:test: (pass) three
@graft/eval:test: 
@graft/eval:test: src/b.test.ts:
(fail) four

2 tests failed:
(fail) two [0.2ms]
(fail) four

 2 fail`;
  expect(failuresIn(output)).toEqual([
    "12 |   expect(1).toBe(2);\nerror: expect(received).toBe(expected)\n(fail) two [0.2ms]",
    "(fail) four",
  ]);
});

test("a long failure keeps its end, and a run without failures has none", () => {
  const long = `${Array.from({ length: 100 }, (_, i) => `line ${i}`).join("\n")}\n(fail) last`;
  expect(failuresIn(long)[0]!.split("\n").length).toBe(40);
  expect(failuresIn(long)[0]).toEndWith("line 99\n(fail) last");
  expect(failuresIn("(pass) all\n 1 pass\n")).toEqual([]);
});
