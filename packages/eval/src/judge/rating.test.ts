import { expect, test } from "bun:test";
import { Random } from "@graft/core/random";
import { readRating } from "./rating.ts";

test.each([
  ["The answer is sound. Rating: [[8]]", 8],
  ["[[5.5]]", 5.5],
  ["[[10]] I would not give [[2]].", 10],
  ["As [1] says, it is wrong. Rating: [[3]]", 3],
  ["Rating: [7]", 7],
  ["Rating: [[7.]]", 7],
  ["Nothing was answered. [[0]]", 0],
  ["Rating: [[ 7 ]]", undefined],
  ["Rating: [[rating]]", undefined],
  ["Rating: 7/10", undefined],
  ["Rating: [[-3]]", undefined],
  ["Rating: [[11]], or [[9]]", undefined],
  ["", undefined],
])("%p is rated %p", (reply, rating) => {
  expect(readRating(reply)).toBe(rating!);
});

test("any text gives a rating from 0 to 10 or none", () => {
  const pieces = ["[", "[[", "]", "]]", "1", "10", "99999999999999999999", ".", ".5", " ", "-", "x", "\n", "[[7]]"];
  for (let seed = 0; seed < 2000; seed++) {
    const random = new Random(seed);
    const text = Array.from({ length: random.int(12) }, () => pieces[random.int(pieces.length)]!).join("");
    const rating = readRating(text);
    if (rating === undefined) continue;
    expect(rating >= 0 && rating <= 10, `seed ${seed}: ${JSON.stringify(text)}`).toBe(true);
  }
});
