/** What chat completions answer, with an engine whose tokens are known. */
import { expect, test } from "bun:test";
import { ConfigError } from "@graft/core/errors";
import { appThatAnswers, chunksOf, EOS, type KnownEngine, microTokenizer } from "./known-engine.ts";

/** What an answer of this text is made of. */
const idsOf = (text: string) => microTokenizer.encode(text, { addSpecialTokens: false });

const qwen =
  "{% if tools %}<tool_call> {% for tool in tools %}{{ tool | tojson }}{% endfor %}{% endif %}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% for call in m.tool_calls or [] %}{{ call.function.arguments | tojson }}{% endfor %}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}{% if style is defined %}{{ style }}{% endif %}";
const llama = qwen.replace("<tool_call>", `{"name": , "parameters": }`);
const unknown = qwen.replace("<tool_call>", "tools:");

/** The prompt in the template, without sizes of a model in the way. */
function appWith(template: string | undefined, engine: KnownEngine) {
  const long = { ...microTokenizer, chatTemplate: template };
  return appThatAnswers({ tokenizer: long, maxLength: 4096, ...engine });
}

interface Call {
  readonly id: string;
  readonly type: string;
  readonly function: { readonly name: string; readonly arguments: string };
}
interface Chat {
  readonly object: string;
  readonly choices: {
    readonly index: number;
    readonly message: { readonly role: string; readonly content: string | null; readonly tool_calls?: Call[] };
    readonly logprobs: { readonly content: { readonly token: string; readonly bytes: number[] }[] } | null;
    readonly finish_reason: string;
  }[];
  readonly usage: object;
}
interface ChatChunk {
  readonly choices: {
    readonly index: number;
    readonly delta: {
      readonly role?: string;
      readonly content?: string;
      readonly tool_calls?: (Call & { readonly index: number })[];
    };
    readonly logprobs: Chat["choices"][number]["logprobs"];
    readonly finish_reason: string | null;
  }[];
  readonly usage?: object | null;
}
type App = ReturnType<typeof appThatAnswers>;
const messages = [{ role: "user", content: "Hi" }];

async function chat(app: App, more: object): Promise<Chat> {
  const { status, text } = await app.post("/v1/chat/completions", { model: "tiny", messages, max_tokens: 99, ...more });
  if (status !== 200) throw new Error(text);
  return JSON.parse(text) as Chat;
}

async function refused(app: App, more: object): Promise<{ status: number; param: string | null; message: string }> {
  const { status, text } = await app.post("/v1/chat/completions", { model: "tiny", messages, ...more });
  const { error } = JSON.parse(text) as { error: { param: string | null; message: string } };
  return { status, ...error };
}

/** What the model was asked. */
async function promptOf(template: string, more: object): Promise<string> {
  const app = appWith(template, { answer: [40] });
  await chat(app, more);
  return microTokenizer.decode(app.asked.at(-1)!.promptIds);
}

/** Of a stream the choices that it adds up to. Throws if a chunk says nothing, or something follows a choice's end. */
function added(chunks: readonly ChatChunk[]): Chat["choices"] {
  const choices: Chat["choices"] = [];
  for (const { choices: parts } of chunks)
    for (const { index, delta, logprobs, finish_reason } of parts) {
      const before = choices[index];
      if (before?.finish_reason) throw new Error(`choice ${index} goes on after its end`);
      const calls = [
        ...(before?.message.tool_calls ?? []),
        ...(delta.tool_calls ?? []).map(({ id, type, function: called }) => ({ id, type, function: called })),
      ];
      const content = (before?.message.content ?? "") + (delta.content ?? "");
      const isCalls = finish_reason !== null && calls.length > 0 && content === "";
      choices[index] = {
        index,
        message: {
          role: delta.role ?? before!.message.role,
          content: isCalls ? null : content,
          ...{ refusal: null },
          ...(calls.length > 0 ? { tool_calls: calls } : {}),
        },
        logprobs:
          before?.logprobs || logprobs
            ? { content: [...(before?.logprobs?.content ?? []), ...(logprobs?.content ?? [])], ...{ refusal: null } }
            : null,
        finish_reason: finish_reason!,
      };
    }
  return choices;
}

test("messages of all roles go to the template: parts joined, calls as objects, developer as system", async () => {
  const prompt = await promptOf(qwen, {
    messages: [
      { role: "developer", content: "Be brief." },
      {
        role: "user",
        content: [
          { type: "text", text: "Add " },
          { type: "text", text: "1 and 2" },
        ],
        name: "Tom",
      },
      {
        role: "assistant",
        content: null,
        tool_calls: [{ id: "c", type: "function", function: { name: "add", arguments: '{"a": 1}' } }],
      },
      { role: "tool", content: "3", tool_call_id: "c" },
    ],
  });
  expect(prompt).toBe('[system]Be brief.[user]Add 1 and 2[assistant]{"a": 1}[tool]3[assistant]');
  const knows = "{# system developer user #}" + qwen;
  expect(await promptOf(knows, { messages: [{ role: "developer", content: "x" }] })).toBe("[developer]x[assistant]");
});

test("the template's own switches", async () => {
  expect(await promptOf(qwen, { add_generation_prompt: false })).toBe("[user]Hi");
  expect(await promptOf(qwen, { chat_template_kwargs: { style: "!" } })).toBe("[user]Hi[assistant]!");
  const open = [...messages, { role: "assistant", content: "Tom has " }];
  const more = { messages: open, add_generation_prompt: false, continue_final_message: true };
  expect(await promptOf(qwen, more)).toBe("[user]Hi[assistant]Tom has ");
  expect(await promptOf(qwen.replace("{{ m.content }}", "{{ m.content | trim }};"), more)).toBe(
    "[user]Hi;[assistant]Tom has",
  );
  const app = appWith(qwen, { answer: [40] });
  expect(await refused(app, { messages: open, continue_final_message: true })).toMatchObject({
    status: 400,
    param: "continue_final_message",
  });
});

test("a message that does not fit is a 400 that names it", async () => {
  const app = appWith(qwen, { answer: [40] });
  const image = { type: "image_url", image_url: { url: "data:" } };
  const cases: readonly (readonly [unknown, string, string])[] = [
    [[], "messages", ""],
    ["hi", "messages", ""],
    [[...messages, { role: "boss", content: "x" }], "messages.1.role", ""],
    [[{ role: "user" }], "messages.0.content", "is missing"],
    [[{ role: "tool", content: null }], "messages.0.content", "is missing"],
    [[{ role: "user", content: 5 }], "messages.0.content", "must be a text or a list of text parts"],
    [
      [...messages, { role: "user", content: [{ type: "text", text: "x" }, image] }],
      "messages.1.content",
      'part 1 is of type "image_url"',
    ],
    [[{ role: "user", content: [{ type: "text" }] }], "messages.0.content", "part 0 is no text part"],
    [[{ role: "user", content: [null] }], "messages.0.content", "part 0 is no text part"],
    [
      [{ role: "assistant", tool_calls: [{ type: "function", function: { name: "f", arguments: {} } }] }],
      "messages.0.tool_calls.0.function.arguments",
      "",
    ],
  ];
  for (const [given, param, message] of cases) {
    const error = await refused(app, { messages: given });
    expect([given, error.status, error.param]).toEqual([given, 400, param]);
    expect(error.message).toContain(message);
  }
  const picky = appWith("{{ raise_exception('only two messages') }}", { answer: [40] });
  expect(await refused(picky, {})).toMatchObject({ status: 400, param: "messages" });
  const none = await refused(appWith(undefined, { answer: [40] }), {});
  expect(none).toMatchObject({ status: 400, message: expect.stringContaining("has no chat template") });
});

test("other fields that do not fit are 400s that name them", async () => {
  const app = appWith(qwen, { answer: [40] });
  const tool = { type: "function", function: { name: "add" } };
  const cases: readonly (readonly [object, string])[] = [
    [{ max_tokens: 0 }, "max_tokens"],
    [{ max_completion_tokens: "x" }, "max_completion_tokens"],
    [{ max_tokens: 5000 }, "messages"],
    [{ logprobs: 3 }, "logprobs"],
    [{ top_logprobs: 3 }, "top_logprobs"],
    [{ logprobs: true, top_logprobs: 21 }, "top_logprobs"],
    [{ modalities: ["audio"] }, "modalities.0"],
    [{ chat_template: "x" }, "chat_template"],
    [{ functions: [] }, "functions"],
    [{ function_call: "auto" }, "function_call"],
    [{ tools: [{ type: "retrieval" }] }, "tools.0.type"],
    [{ tools: [{ type: "function", function: { name: "a b" } }] }, "tools.0.function.name"],
    [{ tool_choice: "required" }, "tool_choice"],
    [{ tools: [tool], tool_choice: "always" }, "tool_choice"],
    [{ tools: [tool], tool_choice: { type: "function", function: { name: "sub" } } }, "tool_choice"],
    [{ tools: [tool], tool_choice: "required", response_format: { type: "json_object" } }, "tool_choice"],
    [{ n: 129 }, "n"],
    [{ logit_bias: { 999: 1 } }, "logit_bias"],
  ];
  for (const [more, param] of cases) {
    const error = await refused(app, more);
    expect([more, error.status, error.param]).toEqual([more, 400, param]);
  }
  expect(app.asked).toEqual([]);
  expect(await refused(app, { model: "nobody" })).toMatchObject({ status: 404, param: "model" });
  const place = await refused(appWith("{{ messages }}", { answer: [40] }), { tools: [tool] });
  expect(place).toMatchObject({
    status: 400,
    param: "tools",
    message: expect.stringContaining("has no place for tools"),
  });
});

test("lengths: what is asked for, else what the context has room for", async () => {
  const app = appWith(qwen, { answer: [40] });
  for (const more of [{ max_tokens: 5 }, { max_completion_tokens: 6, max_tokens: 5 }, { max_tokens: null }])
    await chat(app, more);
  await chat(app, { max_tokens: undefined, model: "prefix" });
  const length = app.asked[0]!.promptIds.length;
  expect(app.asked.map(({ maxNewTokens }) => maxNewTokens)).toEqual([5, 6, 4096 - length, 4096 - 10 - length]);
});

test("log-probabilities are of the answer's tokens, with their bytes", async () => {
  const bird = idsOf("🐦");
  const app = appWith(qwen, { answer: [...bird, EOS], top: [{ id: 40, logprob: -1 }] });
  const { choices } = await chat(app, { logprobs: true, top_logprobs: 1 });
  const { content } = choices[0]!.logprobs!;
  expect(content.flatMap(({ bytes }) => bytes)).toEqual([...new TextEncoder().encode("🐦")]);
  expect(content[0]).toMatchObject({
    logprob: -bird[0]!,
    top_logprobs: [{ logprob: -1, bytes: [...microTokenizer.bytesOf(40)!] }],
  });
  expect(app.asked[0]).toMatchObject({ logprobs: 1 });
});

const add = {
  type: "function",
  function: {
    name: "add",
    description: "adds",
    parameters: { type: "object", properties: { a: { type: "integer" } } },
  },
};
const now = { type: "function", function: { name: "now" } };
const tools = [add, now];
const call = (name: string, args: string) => ({ type: "function", function: { name, arguments: args } });

test("calls in the template's format are tool_calls, whole and streamed", async () => {
  const two =
    'I add. <tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>\n<tool_call>{"name": "now", "arguments": {}}</tool_call>';
  const cases: readonly (readonly [string, string, object, string | null, object[], string])[] = [
    [qwen, two, {}, "I add.", [call("add", '{"a":1}'), call("now", "{}")], "tool_calls"],
    [qwen, two, { parallel_tool_calls: false }, "I add.", [call("add", '{"a":1}')], "tool_calls"],
    [qwen, two, { tool_choice: "none" }, two, [], "stop"],
    [qwen, "Tom has <3 apples", {}, "Tom has <3 apples", [], "stop"],
    [qwen, "<tool_call>oh</tool_call>", {}, "<tool_call>oh</tool_call>", [], "stop"],
    [llama, '{"name": "add", "parameters": {"a": 2}}', {}, null, [call("add", '{"a":2}')], "tool_calls"],
    [llama, '{"name": "sub", "parameters": {}}', {}, '{"name": "sub", "parameters": {}}', [], "stop"],
    [unknown, two, {}, two, [], "stop"],
    [qwen, two, { response_format: { type: "json_object" } }, two, [], "stop"],
  ];
  for (const [template, answer, more, content, calls, reason] of cases) {
    const app = () => appWith(template, { answer: [...idsOf(answer), EOS] });
    const body = { tools, n: 2, logprobs: true, max_tokens: 400, ...more };
    const whole = await chat(app(), body);
    expect([answer, whole.choices.length]).toEqual([answer, 2]);
    for (const [index, choice] of whole.choices.entries()) {
      expect(choice).toMatchObject({ index, finish_reason: reason, message: { role: "assistant", content } });
      expect(choice.message.tool_calls ?? []).toMatchObject(calls);
    }
    const ids = whole.choices.flatMap(({ message }) => (message.tool_calls ?? []).map(({ id }) => id));
    expect(new Set(ids).size).toBe(ids.length);
    const stream = { model: "tiny", messages, ...body, stream: true, stream_options: { include_usage: true } };
    const chunks = chunksOf<ChatChunk>((await app().post("/v1/chat/completions", stream)).text);
    const withoutIds = (choices: Chat["choices"]) =>
      choices.map((choice) => ({
        ...choice,
        message: {
          ...choice.message,
          tool_calls: choice.message.tool_calls?.map(({ type, function: called }) => ({ type, function: called })),
        },
      }));
    expect(withoutIds(added(chunks))).toEqual(withoutIds(whole.choices));
    expect(chunks.at(-1)!.usage).toEqual(whole.usage);
  }
});

test("an answer that was cut off in a call is text, and its reason is the length", async () => {
  const app = appWith(qwen, { answer: idsOf('<tool_call>{"name": "add", "argum') });
  expect((await chat(app, { tools })).choices[0]).toMatchObject({
    message: { content: '<tool_call>{"name": "add", "argum' },
    finish_reason: "length",
  });
});

test("the template is told of tools, unless there are none to be called", async () => {
  expect(await promptOf(qwen, { tools: [now] })).toBe(
    '<tool_call> {"type": "function", "function": {"name": "now"}}[user]Hi[assistant]',
  );
  for (const more of [{ tools: [] }, { tools, tool_choice: "none" }, { tools: null }])
    expect(await promptOf(qwen, more)).toBe("[user]Hi[assistant]");
});

test("a call that must be is a constraint, behind what opens one", async () => {
  const parameters = { $defs: { N: { type: "integer" } }, type: "object", properties: { a: { $ref: "#/$defs/N" } } };
  const typed = { type: "function", function: { name: "typed", parameters } };
  const answer = [...idsOf('{"name": "typed", "arguments": {"a": 1}}'), EOS];
  const schema = (name: string, argumentsField: string, args: object) => ({
    type: "object",
    properties: { name: { const: name }, [argumentsField]: { type: "object", ...args } },
    required: ["name", argumentsField],
    additionalProperties: false,
  });
  for (const [template, field, opens] of [
    [qwen, "arguments", "<tool_call>\n"],
    [llama, "parameters", ""],
    [unknown, "arguments", ""],
  ] as const) {
    const app = appWith(template, { answer });
    const { choices } = await chat(app, {
      tools: [typed],
      tool_choice: { type: "function", function: { name: "typed" } },
    });
    expect(choices[0]).toMatchObject({
      message: { content: null, tool_calls: [call("typed", '{"a":1}')] },
      finish_reason: "tool_calls",
    });
    const { $defs, ...own } = parameters;
    expect(app.asked[0]!.constraint).toEqual({
      type: "json_schema",
      schema: { ...schema("typed", field, own), $defs },
    });
    expect(microTokenizer.decode(app.asked[0]!.promptIds)).toEndWith(`[assistant]${opens}`);
    const { text } = await app.post("/v1/chat/completions", {
      model: "tiny",
      messages,
      tools: [typed, now],
      tool_choice: "required",
      stream: true,
    });
    expect(added(chunksOf<ChatChunk>(text))[0]).toMatchObject({ message: { tool_calls: [call("typed", '{"a":1}')] } });
    expect(app.asked[1]!.constraint).toEqual({
      type: "json_schema",
      schema: { anyOf: [schema("typed", field, own), schema("now", field, {})], $defs },
    });
  }
  const other = { type: "function", function: { name: "other", parameters: { $defs: { N: { type: "string" } } } } };
  const clash = await refused(appWith(qwen, { answer }), { tools: [typed, other], tool_choice: "required" });
  expect(clash).toMatchObject({ status: 400, param: "tools", message: expect.stringContaining("$defs/N") });
  // It cannot be kept: the tools say why.
  const error = new ConfigError("$.properties.arguments.x is not supported");
  expect(await refused(appWith(qwen, { answer, error }), { tools: [typed], tool_choice: "required" })).toMatchObject({
    status: 400,
    param: "tools",
  });
});

test("tokenize counts a conversation as chat does", async () => {
  const app = appWith(qwen, { answer: [40] });
  await chat(app, { tools: [now] });
  const { text } = await app.post("/tokenize", { messages, tools: [now] });
  expect((JSON.parse(text) as { tokens: number[] }).tokens).toEqual([...app.asked[0]!.promptIds]);
  for (const bad of [{}, { messages, prompt: "x" }]) expect((await app.post("/tokenize", bad)).status).toBe(400);
});
