/** A model is asked with the tokens that it was trained on. */
import { expect, test } from "bun:test";
import { findPromptTemplate, IGNORE, readTrainingRows, tokenizeTraining } from "@graft/core/data";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { appThatAnswers, microTokenizer } from "./known-engine.ts";

const chatml =
  "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
const say = (role: string, content: unknown) => ({ role, content });
const parts = [
  { type: "text", text: "A " },
  { type: "text", text: "cat." },
];
const short = [
  [say("user", "Tom has 3."), say("assistant", "So?")],
  [say("user", parts), say("assistant", "Yes.")],
];
const long = [say("system", "x"), say("user", "a"), say("assistant", "b"), say("user", "c"), say("assistant", "d")];

test.each([
  ["the model's own template", microTokenizer.chatTemplate, 0, [...short, long]],
  // The embedded tokenizer merges ChatML's last line break with what follows: that token is the answer's.
  ["ChatML", chatml, 1, short],
] as const)(
  "what stands before an answer in training is the prompt that is served: %s",
  async (_, chatTemplate, shared, conversations) => {
    const tokenizer = { ...microTokenizer, chatTemplate };
    const { post, asked } = appThatAnswers({ answer: [40], tokenizer });
    const folder = mkdtempSync(join(tmpdir(), "chat-training-"));
    const path = join(folder, "chats.jsonl");
    writeFileSync(path, conversations.map((messages) => `${JSON.stringify({ messages })}\n`).join(""));
    const rows = await readTrainingRows(path);
    rmSync(folder, { recursive: true });
    const { examples } = await tokenizeTraining(rows, tokenizer, {
      template: findPromptTemplate("micro"),
      cutoffLen: 500,
    });
    for (const [i, messages] of conversations.entries()) {
      const { status, text } = await post("/v1/chat/completions", {
        model: "tiny",
        messages: messages.slice(0, -1),
        max_tokens: 1,
      });
      if (status !== 200) throw new Error(text);
      const { ids, labels } = examples[i]!;
      const begin = labels.findLastIndex((label, t) => label !== IGNORE && labels[t - 1] === IGNORE);
      const { promptIds } = asked[i]!;
      expect([...ids.slice(0, begin)]).toEqual(promptIds.slice(0, begin));
      expect(promptIds.length - begin).toBeLessThanOrEqual(shared);
    }
  },
);
