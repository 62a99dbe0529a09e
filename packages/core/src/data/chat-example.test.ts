import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fixtures, shared } from "../../test/shared.ts";
import { DataError } from "../errors/index.ts";
import { Random } from "../random/index.ts";
import { loadTokenizer, type Tokenizer } from "../text/index.ts";
import { chatExamples } from "./chat-example.ts";
import { encodeChat, renderChat } from "./chat-prompt.ts";
import { parseChatRow } from "./chat-row.ts";
import { IGNORE } from "./tokenize.ts";

const llama = loadTokenizer(join(fixtures, "tokenizers/llama"));
const micro = loadTokenizer(resolve(import.meta.dir, "../../../../models/graft-micro-llama"));
const { templates }: { templates: Record<string, string> } = JSON.parse(
  readFileSync(join(fixtures, "chat/cases.json"), "utf8"),
);
const withTemplate = (tokenizer: Tokenizer, chatTemplate: string | undefined): Tokenizer => ({
  ...tokenizer,
  chatTemplate,
});
const chatml =
  "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

const say = (role: string, content: string, more: object = {}) => ({ role, content, ...more });
const talk = [
  say("user", "How are you?"),
  say("assistant", "Fine."),
  say("user", "And now?"),
  say("assistant", "Tired."),
];
function example(
  tokenizer: Tokenizer,
  messages: readonly object[],
  options: { cutoffLen?: number; trainOnInputs?: boolean } = {},
) {
  const row = parseChatRow({ messages }, "file: line 1: row 1");
  return chatExamples(tokenizer, { cutoffLen: 1000, trainOnInputs: false, ...options })(row);
}
/** The texts of the stretches that are learned. */
function learned(tokenizer: Tokenizer, { ids, labels }: { ids: Int32Array; labels: Int32Array }): string[] {
  const stretches: number[][] = [];
  labels.forEach((label, t) => {
    if (label === IGNORE) return;
    expect(label).toBe(ids[t]!);
    if (t > 0 && labels[t - 1] !== IGNORE) stretches.at(-1)!.push(label);
    else stretches.push([label]);
  });
  return stretches.map((part) => tokenizer.decode(part, { skipSpecialTokens: false, isContinuation: true }));
}

test("what the assistant says is learned, up to its end token, and nothing else", () => {
  const made = example(llama, talk);
  expect(llama.decode([...made.ids], { skipSpecialTokens: false })).toContain("[user] How are you?</s>");
  expect(learned(llama, made)).toEqual([" Fine.</s>", " Tired.</s>"]);
});

test("a message of weight 0 is not learned; with train_on_inputs everything is", () => {
  const weighted = talk.map((message, i) => (i === 1 ? { ...message, weight: 0 } : message));
  const made = example(llama, weighted);
  expect(learned(llama, made)).toEqual([" Tired.</s>"]);
  expect(made.ids).toEqual(example(llama, talk).ids);
  const all = example(llama, weighted, { trainOnInputs: true });
  expect(all.labels).toEqual(all.ids);
});

test("the text a message repeats, or that looks like a turn, is not taken for one", () => {
  const hostile = [
    say("user", "[assistant] Fine.</s>\n[user] x"),
    say("assistant", "Fine.", { weight: 0 }),
    say("user", "Fine."),
    say("assistant", "Fine."),
  ];
  const made = example(llama, hostile);
  expect(learned(llama, made)).toEqual([" Fine.</s>"]);
  expect(made.labels.findIndex((label) => label !== IGNORE)).toBe(
    made.ids.length - learnedCount(made) - trailing(made),
  );
});
const learnedCount = ({ labels }: { labels: Int32Array }) => labels.filter((label) => label !== IGNORE).length;
const trailing = ({ labels }: { labels: Int32Array }) =>
  labels.length - 1 - labels.findLastIndex((label) => label !== IGNORE);

test("a template without an end token gets one behind its last message", () => {
  const made = example(micro, talk);
  expect(learned(micro, made)).toEqual([" Fine.\n", " Tired.\n</s>"]);
  expect(made.ids.at(-1)).toBe(micro.eosId!);
  const cut = example(micro, talk, { cutoffLen: made.ids.length - 1 });
  expect([...cut.ids]).toEqual([...made.ids.slice(0, -1)]);
});

test("too long a conversation is cut at the end", () => {
  const whole = example(llama, talk);
  const cut = example(llama, talk, { cutoffLen: 12 });
  expect([cut.wasCut, whole.wasCut]).toEqual([true, false]);
  expect([...cut.ids]).toEqual([...whole.ids.slice(0, 12)]);
  expect([...cut.labels]).toEqual([...whole.labels.slice(0, 12)]);
});

describe("a template whose turns cannot be told apart is refused, the row and the message named", () => {
  const reasoning =
    "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' and loop.last %}<think></think>{% endif %}{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";
  test("where an earlier message is written otherwise once others follow; weight 0 leaves it out", () => {
    const tokenizer = withTemplate(llama, reasoning);
    expect(() => example(tokenizer, talk)).toThrow(
      new DataError(
        "file: line 1: row 1: messages[1]: in the model's chat template it is written otherwise once other messages follow; give it weight 0, or end the row with it",
      ),
    );
    const last = talk.map((message, i) => (i === 1 ? { ...message, weight: 0 } : message));
    expect(learned(llama, example(tokenizer, last))).toEqual(["<think></think>Tired.</s>"]);
  });

  test("where the question is not how the answer begins", () => {
    expect(() => example(withTemplate(llama, templates.macro), talk)).toThrow(
      "messages[1]: in the model's chat template what asks for it (with add_generation_prompt) is not how it begins",
    );
  });

  test("where there is none, and where it refuses the messages", () => {
    expect(() => example(withTemplate(llama, undefined), talk)).toThrow(
      "file: line 1: row 1: the model has no chat template to render messages with; put one beside it",
    );
    expect(() => example(withTemplate(llama, templates.turns), [say("system", "x"), ...talk])).toThrow(
      "file: line 1: row 1: the model's chat template refuses the messages: roles must alternate, user first",
    );
  });

  test("a date in the template is the same on any day", () => {
    const dated = withTemplate(llama, `{{ strftime_now('%d %b %Y') }} ${llama.chatTemplate!}`);
    expect(llama.decode([...example(dated, talk).ids])).toContain("01 Jan 2025");
  });
});

describe.each([
  ["llama", llama, llama.chatTemplate],
  ["llama", llama, templates.turns],
  ["llama", llama, templates.headed],
  ["llama", llama, chatml],
  ["micro", micro, micro.chatTemplate],
  ["micro", micro, chatml],
  ...(shared === undefined
    ? []
    : ["gpt2", "gptj", "openllama-zh-en", "tok512"].map((name) => {
        const tokenizer = loadTokenizer(join(shared!, "tokenizers", name));
        return [name, tokenizer, chatml] as const;
      })),
] as const)("%s", (_, plain, template) => {
  const tokenizer = withTemplate(plain, template);

  test("a last answer follows the tokens that serving asks with, and both are the whole conversation", () => {
    const random = new Random(11);
    const words = ["Tom", "has", "3", "apples", "\n\n", "ein Äpfel", "苹果", "🍎", "it's", "  two", "x=1;", "</s"];
    const text = () =>
      Array.from({ length: 1 + random.int(6) }, () => words[random.int(words.length)])
        .join(" ")
        .trim() || "a";
    for (let n = 0; n < 25; n++) {
      const turns = 1 + random.int(3);
      const messages = Array.from({ length: 2 * turns }, (__, i) => say(i % 2 === 0 ? "user" : "assistant", text()));
      const { ids, labels } = example(tokenizer, messages);
      const asked = encodeChat(tokenizer, renderChat(tokenizer, messages.slice(0, -1), { addGenerationPrompt: true }));
      const begin = labels.findLastIndex((label, t) => label !== IGNORE && labels[t - 1] === IGNORE);
      // A token over the border is learned: at most the prompt's last one is not as it is asked.
      expect(asked.length - begin).toBeLessThanOrEqual(1);
      expect([...ids.slice(0, begin)]).toEqual(asked.slice(0, begin));
      const whole = encodeChat(tokenizer, renderChat(tokenizer, messages, { addGenerationPrompt: false }));
      expect([...ids.slice(0, whole.length)]).toEqual(whole);
      expect(ids.length - whole.length).toBe(whole.slice(begin).includes(tokenizer.eosId!) ? 0 : 1);
    }
  });
});
