/** A device tells the texts of the pipelines that it made. */
import { expect, test } from "bun:test";
import { openDevice } from "../src/index.ts";

test("each text once, in the order in which they came, and none that did not compile", async () => {
  const device = await openDevice();
  expect(device.pipelineTexts).toEqual([]);
  const text = (workgroup: number): string => `@compute @workgroup_size(${workgroup}) fn main() {}`;
  for (const workgroup of [2, 1, 2]) await device.pipeline(text(workgroup), "nothing", { entries: [] });
  expect(device.pipelineTexts).toEqual([text(2), text(1)]);
  const failed = await device.pipeline("fn main(", "broken", { entries: [] }).catch((error: unknown) => error);
  expect(failed).toBeInstanceOf(Error);
  expect(device.pipelineTexts).toEqual([text(2), text(1)]);
  await device.close();
});
