import { expect, test } from "bun:test";
import { completeSlash, slashCommand, slashCommands } from "./slash.ts";

test("a slash begins a command, two begin a text", () => {
  expect(slashCommand("/model  math ")).toEqual({ command: slashCommands.model!, rest: "math" });
  expect(slashCommand("/system Be\nbrief")?.rest).toBe("Be\nbrief");
  expect(slashCommand("//etc")).toBeUndefined();
  expect(slashCommand("1 / 2")).toBeUndefined();
  expect(() => slashCommand("/modle x")).toThrow("there is no command /modle; did you mean model");
  expect(() => slashCommand("/toString")).toThrow("there is no command /toString");
  expect(() => slashCommand("/")).toThrow("there is no command /");
});

test("Tab completes commands, and names of models behind /model", () => {
  expect(completeSlash("/mo", ["base", "math"])).toEqual([["/model", "/models"], "/mo"]);
  expect(completeSlash("/model ma", ["base", "math"])).toEqual([["math"], "ma"]);
  expect(completeSlash("/model ", ["base", "math"])).toEqual([["base", "math"], ""]);
  expect(completeSlash("How", ["base"])).toEqual([[], "How"]);
});

test("the help names every command", () => {
  const help = slashCommands.help!.run(undefined as never, "") as string;
  for (const name of Object.keys(slashCommands)) expect(help).toContain(`/${name}`);
});
