import { expect, test } from "bun:test";
import { ApiFailure, explain, failureOf } from "./api-failure.ts";

test("OpenAI's error object is read, and any other text is no message", () => {
  const body = JSON.stringify({ error: { message: "max_tokens: too many", param: "max_tokens", code: null } });
  expect(failureOf(400, body, null)).toMatchObject({
    status: 400,
    message: "max_tokens: too many",
    param: "max_tokens",
  });
  for (const text of ["", "<html>", "[]", "null", '{"error":"x"}', '{"error":{"message":3}}'])
    expect(failureOf(502, text, null).message).toBe("the server answered 502");
});

test("what to do is said for each kind of failure", () => {
  expect(explain(new ApiFailure(0, "fetch failed"))).toContain("graft serve");
  expect(explain(new ApiFailure(401, "no"))).toContain("API key");
  expect(explain(new ApiFailure(403, "it needs the scope train"))).toStartWith(
    "it needs the scope train. Enter another",
  );
  expect(explain(failureOf(503, "", "7"))).toEndWith("Try again in 7 s.");
  expect(explain(failureOf(503, "", "soon"))).toEndWith("Try again in a moment.");
  expect(explain(new ApiFailure(400, "is not a number", { param: "seed" }))).toBe("seed: is not a number.");
  expect(explain(new ApiFailure(400, "seed: is not a number", { param: "seed" }))).toBe("seed: is not a number.");
  expect(explain(new Error("odd"))).toBe("odd");
});
