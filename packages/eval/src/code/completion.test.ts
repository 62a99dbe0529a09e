import { expect, test } from "bun:test";
import { Random } from "@graft/core/random";
import { CODEX_STOPS, COMPLETION_STOPS, cutAtStops, programOf, readCompletion } from "./completion.ts";

const read = (text: string) => readCompletion(text, "twice");

test("a program is prompt, completion, test and check, as openai/human-eval puts them together", () => {
  const problem = { prompt: "def twice(x):\n", entry_point: "twice", test: "def check(f):\n    assert f(2) == 4\n" };
  expect(programOf(problem, "    return x * 2\n")).toBe(
    "def twice(x):\n    return x * 2\n\ndef check(f):\n    assert f(2) == 4\n\ncheck(twice)",
  );
});

test("a completion ends before the first stop, whichever comes first", () => {
  for (const stop of CODEX_STOPS) expect(cutAtStops(`    return 1\n${stop} more`, CODEX_STOPS)).toBe("    return 1\n");
  expect(cutAtStops("    return 1\n\nprint(2)\nclass A", CODEX_STOPS)).toBe("    return 1\n");
  expect(cutAtStops("    # a comment\n    if x:\n        print(x)\n", COMPLETION_STOPS)).toBe(
    "    # a comment\n    if x:\n        print(x)\n",
  );
  expect(cutAtStops("", COMPLETION_STOPS)).toBe("");
  expect(cutAtStops("\ndef", COMPLETION_STOPS)).toBe("");
});

const WHOLE = "def twice(x):\n    return x * 2\n";

test.each([
  ["a body as it should be", "    return x * 2\n", "    return x * 2\n"],
  ["a body and more", "    return x * 2\n\ndef other():\n    pass\n", "    return x * 2\n"],
  ["the whole function in a block", `Here it is:\n\n\`\`\`python\n${WHOLE}\`\`\`\nIt doubles x.`, `\n${WHOLE}`],
  ["a block without a language", `\`\`\`\n${WHOLE}\`\`\``, `\n${WHOLE}`],
  ["a block that was cut off", `\`\`\`python\n${WHOLE}`, `\n${WHOLE}`],
  ["a body in a block", "```python\n    return x * 2\n```", "    return x * 2\n"],
  ["a body in a block without its blanks", "```python\ny = x\nreturn y * 2\n```", "    y = x\n    return y * 2\n"],
  [
    "a block that only shows how to call it, then the function",
    `\`\`\`\ntwice(3)\n\`\`\`\nand\n\`\`\`python\n${WHOLE}\`\`\``,
    `\n${WHOLE}`,
  ],
  ["the whole function without a block", `\n${WHOLE}\nprint(twice(2))`, `\n${WHOLE}`],
  ["imports before it", `import math\n\n${WHOLE}`, `\nimport math\n\n${WHOLE}`],
  ["a helper before it", `def one():\n    return 1\n\n${WHOLE}`, `\ndef one():\n    return 1\n\n${WHOLE}`],
  ["a trimmed body", "y = x\n    return y * 2", "    y = x\n    return y * 2"],
  ["a trimmed block", "for i in x:\n        y += i\n    return y", "    for i in x:\n        y += i\n    return y"],
  ["a body moved to the margin", "for i in x:\n    y += i\nreturn y", "    for i in x:\n        y += i\n    return y"],
  ["nothing", "", ""],
  ["another function", "\n\ndef other():\n    pass\n", "\n"],
])("%s is read", (_, text, want) => {
  expect(read(text)).toBe(want);
});

test("a function whose name only begins the same is another one", () => {
  expect(read("```python\ndef twice_two(x):\n    pass\n```")).toBe("    def twice_two(x):\n        pass\n");
});

test("any text is read, in time that does not explode", () => {
  const random = new Random(7, 1);
  const parts = [
    "```",
    "```python\n",
    "\n",
    "def twice(",
    "def x",
    "    ",
    "return 1",
    "\nif",
    "import a",
    ":",
    "\t",
    "é",
    "`",
    " ",
  ];
  for (let round = 0; round < 3000; round++) {
    const text = Array.from({ length: random.int(40) }, () => parts[random.int(parts.length)]).join("");
    expect(typeof read(text), `round ${round}: ${JSON.stringify(text)}`).toBe("string");
  }
  expect(read("```\n".repeat(50_000)).length).toBeLessThan(200_000);
});
