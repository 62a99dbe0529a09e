import { expect, test } from "bun:test";
import { Turns } from "./turns.ts";

test("tasks that wait for each of their turns get them round robin", async () => {
  const turns = new Turns(() => undefined);
  const order: string[] = [];
  const task = async (name: string) => {
    for (let i = 0; i < 3; i++) await turns.run(async () => void order.push(name));
  };
  const tasks = ["a", "b", "c"].map(task);
  while (turns.waiting > 0) await turns.grant();
  await Promise.all(tasks);
  expect(order.join("")).toBe("abcabcabc");
  expect(turns.granted).toBe(9);
});

test("who asked gets what the work gives, and what it throws, while the one that grants goes on", async () => {
  let asked = 0;
  const turns = new Turns(() => asked++);
  const results = Promise.allSettled([
    turns.run(async () => 7),
    turns.run(() => Promise.reject(new Error("out of memory"))),
    turns.run(() => {
      throw new Error("at once");
    }),
  ]);
  expect(asked).toBe(3);
  for (let i = 0; i < 4; i++) await turns.grant();
  expect(
    (await results).map((result) => (result.status === "rejected" ? String(result.reason) : result.value)),
  ).toEqual([7, "Error: out of memory", "Error: at once"]);
});

test("closing refuses what waits and what comes later", async () => {
  const turns = new Turns(() => undefined);
  const waiting = turns.run(async () => 1);
  turns.close();
  for (const refused of [waiting, turns.run(async () => 2)])
    await expect(refused).rejects.toMatchObject({ name: "AbortError", message: "the engine is closing" });
  expect(turns.waiting).toBe(0);
});
