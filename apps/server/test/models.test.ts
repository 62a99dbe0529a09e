/** What the routes of models and the tokenizer answer. */
import { expect, test } from "bun:test";
import { appThatAnswers, EOS, microTokenizer as tokenizer } from "./known-engine.ts";

const encode = (text: string) => tokenizer.encode(text, { addSpecialTokens: true });

test("models are the base and its adapters, each found by its name, and no other", async () => {
  const { app } = appThatAnswers({ answer: [] });
  const get = async (path: string) => {
    const response = await app.request(path);
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };
  const base = {
    id: "tiny",
    object: "model",
    created: 0,
    owned_by: "graft",
    root: expect.stringContaining("graft-micro-llama") as string,
    parent: null,
    max_model_len: 64,
  };
  const prefix = {
    ...base,
    id: "prefix",
    root: "/p",
    parent: "tiny",
    max_model_len: 54,
    graft: { method: "prefix", version: "v", parameters: 1, bytes: 4, virtual_tokens: 10, pinned: false, tier: "host" },
  };
  expect(await get("/v1/models")).toEqual({ status: 200, body: { object: "list", data: [base, prefix] } });
  expect(await get("/v1/models/tiny")).toEqual({ status: 200, body: base });
  expect(await get("/v1/models/prefix")).toEqual({ status: 200, body: prefix });
  for (const name of ["prefx", "a/b", "%F0%9F", "x".repeat(5000)]) {
    const { status, body } = await get(`/v1/models/${name}`);
    expect([status, body.error]).toEqual([
      404,
      expect.objectContaining({ code: "model_not_found", param: "model", type: "NotFoundError" }) as object,
    ]);
    expect(JSON.stringify(body).length).toBeLessThan(500);
  }
  expect(JSON.stringify((await get("/v1/models/prefx")).body)).toContain("did you mean prefix?");
});

test("the tokenizer is described, counts what a model has room for, and keeps special tokens both ways", async () => {
  const app = appThatAnswers({ answer: [] });
  const info = (await (await app.app.request("/tokenizer_info")).json()) as Record<string, unknown>;
  expect(info).toEqual({
    bos_token: "<s>",
    eos_token: "</s>",
    pad_token: "<pad>",
    unk_token: "<unk>",
    model_max_length: 64,
    chat_template: tokenizer.chatTemplate,
  });
  const tokenize = async (body: object) =>
    JSON.parse((await app.post("/tokenize", body)).text) as Record<string, unknown>;
  expect(await tokenize({ prompt: "</s>", add_special_tokens: false })).toEqual({
    count: 1,
    max_model_len: 64,
    tokens: [EOS],
  });
  expect(await tokenize({ prompt: "Tom", model: "tiny" })).toMatchObject({ tokens: encode("Tom"), max_model_len: 64 });
  expect(await tokenize({ prompt: "Tom", model: "prefix" })).toMatchObject({ max_model_len: 54 });
  expect(await tokenize({ prompt: "A", return_token_strs: true })).toMatchObject({
    token_strs: encode("A").map((id) => tokenizer.tokenOf(id)),
  });
  expect((await app.post("/tokenize", { prompt: "Tom", model: "nobody" })).status).toBe(404);
  const ids = [...encode("A 🐦 café\n has  blanks"), EOS];
  const { prompt } = JSON.parse((await app.post("/detokenize", { tokens: ids })).text) as { prompt: string };
  expect(prompt).toBe("<s>A 🐦 café\n has  blanks</s>");
  expect((await tokenize({ prompt, add_special_tokens: false })).tokens).toEqual(ids);
  const bad = await app.post("/detokenize", { tokens: [1, 512] });
  expect([bad.status, bad.text]).toEqual([
    400,
    expect.stringContaining("tokens: id 512 is outside the vocabulary of 512"),
  ]);
  expect((await app.post("/detokenize", { tokens: [-1] })).status).toBe(400);
});
