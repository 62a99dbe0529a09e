import { expect, test } from "bun:test";
import { statedOption } from "./option.ts";

const labels = ["A", "B", "C", "D", "E"];
const metres = ["12 metre", "12.5 metre", "13.5 metre", "14 metre", "15 metre"];
const cases: readonly (readonly [string, string, (readonly string[])?])[] = [
  // As the paper's rationales end.
  ["\nRationale: Since 17.5/35 = x/25, we get x = 12.5.The answer is (B).", "B"],
  ["Rationale: Bill rides 5 miles. The answer is (D).", "D"],
  ["Rationale: Let the price of A be x and of B be y.", ""],
  ["Rationale: The cost of B bottles is B/27 * A cents.The answer is (A).", "A"],
  // Statements.
  ["answer is B", "B"],
  ["The answer is A.", "A"],
  ["The answer is a.", "A"],
  ["the answer is b", "B"],
  ["the answer is ( a )", "A"],
  ["answer : c ) 13.5 metre", "C"],
  ["Answer: B) 12", "B"],
  ["**Answer: E**", "E"],
  ["The answer is C because 5 > 4", "C"],
  ["The answer is A because 5 > 4", "A"],
  ["The answer is B 12.5 metre", "B"],
  ["Therefore, the correct option is D.", "D"],
  ["The answer is option A, a car.", "A"],
  ["\\boxed{C}", "C"],
  ["$\\boxed{\\text{(C)}}$", "C"],
  ["#### C", "C"],
  ["The answer is B. Wait, the answer is C.", "C"],
  ["The answer is B. Actually, it's C.", "C"],
  ["The answer is not A but B.", "B"],
  ["The answer is (A). (B) is wrong, (C) is wrong, (D) 5 is wrong", "A"],
  ["(A) too small, (B) too big, (C) no. The answer is (D)", "D"],
  ["The answer is B, A is wrong", "B"],
  // Choices.
  ["The answer is 12.5 metre.", "B"],
  ["The answer is 14.", "D"],
  ["The answer is 14.0 m", "D"],
  ["The answer is x = 14", "D"],
  ["The answer is 12.5 metre, or (B).", "B"],
  ["12.5 metre", "B"],
  ["\\boxed{12.5}", "B"],
  ["The answer is 99.", ""],
  ["The answer is $ 115,000.", "B", ["$115", "$115,000", "$116,000"]],
  ["The answer is 6 kmph.", "", ["15 kmph", "6 kmph", "6 kmph"]],
  ["The answer is none of these.", "E", ["1", "2", "3", "4", "none of these"]],
  ["The answer is not sufficient.", "B", ["sufficient", "not sufficient"]],
  ["The answer is -5.", "B", ["5", "-5"]],
  ["The answer is 12, 14 or 15 metre", ""],
  // Without a statement.
  ["B", "B"],
  ["(E)", "E"],
  ["option D", "D"],
  ["so\nD.\n", "D"],
  ["B. 12.5 metre", "B"],
  ["C is the correct answer", "C"],
  ["So it's C.", "C"],
  ["Option A is wrong. Option B is right.", "B"],
  ["eliminate (A) and pick (B)", "B"],
  ["12 is too small, so not (A). 14 is (D).", "D"],
  // No statement.
  ["A car drives", ""],
  ["The answer is A car.", ""],
  ["The answer is a number", ""],
  ["The answer is Because", ""],
  ["The answer is vitamin A", ""],
  ["The answer is E = mc", ""],
  ["The answer is E-mail", ""],
  ["Because every Dog", ""],
  ["Ball A is fast and ball B is slow.", ""],
  ["P(A) = 0.2", ""],
  ["P (A) = 0.2", ""],
  ["A) 1 B) 2 C) 3", ""],
  ["(A) 2 (B) 3 (C) 4 (D) 5 (E) 6", ""],
  ["Answer: (A) 2 (B) 3 (C) 4 (D) 5 (E) 6", ""],
  ["Answer Choices: (A) 12 (B) -3 (C) –x (D) $4 (E) .5", ""],
  ["The options: a ) 1 , b ) 2 , c ) 3", ""],
  ["The answer is A or B", ""],
  ["The answer is either (A) or (B).", ""],
  ["The answer is not (A).", ""],
  ["(A) or (B)", ""],
  ["12.5", "", ["1", "2"]],
  ["", ""],
  // What comes behind the answer.
  ["The answer is (B).\n\n### Instruction:\nThe answer is (C).", "B"],
  ["The answer is (B).\nQ: The answer is (C).", "B"],
];

test("the stated option is read, and no other capital", () => {
  expect(cases.length).toBeGreaterThanOrEqual(40);
  for (const [text, want, choices = metres] of cases)
    expect([text, statedOption(text, labels, choices)]).toEqual([text, want]);
});
