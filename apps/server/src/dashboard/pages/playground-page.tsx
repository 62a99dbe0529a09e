/** One prompt, two models side by side. */
import { useState } from "hono/jsx/dom";
import { api } from "../api.ts";
import { explain } from "../api-failure.ts";
import type { Model } from "../api-types.ts";
import { numberOf, textOf } from "../form-fields.ts";
import { formatCount, formatRate } from "../format.ts";
import { Empty, LoadState, Notice } from "../parts/notice.tsx";
import { type Answer, answerRate, useAnswer } from "../use-answer.ts";
import { useResource } from "../use-resource.ts";

const SIDES = ["left", "right"] as const;

/** `models`: what is chosen at first, left and right. */
export function PlaygroundPage({ models: wanted }: { models: readonly [string | undefined, string | undefined] }) {
  const models = useResource(api.models);
  const known = models.data?.data ?? [];
  return (
    <>
      <LoadState resource={models} what="models" />
      {known.length === 1 ? (
        <Empty command="graft adapters push NAME FOLDER">
          There is the base alone. To compare it with an adapter, train one, or type:
        </Empty>
      ) : null}
      {known.length > 0 ? <Playground models={known} wanted={wanted} /> : null}
    </>
  );
}

interface Props {
  readonly models: readonly Model[];
  readonly wanted: readonly [string | undefined, string | undefined];
}

function Playground({ models, wanted }: Props) {
  const base = models.find(({ parent }) => parent === null) ?? models[0]!;
  const adapter = models.find(({ parent }) => parent !== null) ?? base;
  const [chosen, setChosen] = useState(() => [wanted[0] ?? base.id, wanted[1] ?? adapter.id]);
  const columns = [useAnswer(), useAnswer()];
  const isStreaming = columns.some(({ answer }) => answer.state === "streaming");
  const submit = (event: Event): void => {
    event.preventDefault();
    if (isStreaming) return;
    const fields = new FormData(event.currentTarget as HTMLFormElement);
    const prompt = {
      mode: textOf(fields, "mode") === "chat" ? ("chat" as const) : ("completion" as const),
      // Spaces at the ends of a prompt matter.
      text: String(fields.get("prompt")),
      maxTokens: numberOf(fields, "max_tokens"),
      temperature: numberOf(fields, "temperature"),
      seed: numberOf(fields, "seed"),
    };
    columns.forEach(({ ask }, i) => void ask({ ...prompt, model: chosen[i]! }));
  };
  const hasAnswers = columns.every(({ answer }) => answer.state !== "none");
  return (
    <form class="stack" onSubmit={submit}>
      <p class="heard" role="status">
        {isStreaming ? "Both models are asked." : hasAnswers ? "Both answers have ended." : ""}
      </p>
      <div class="card stack">
        <fieldset class="inline">
          <legend>Kind</legend>
          <label class="check">
            <input type="radio" name="mode" value="chat" checked /> Chat
          </label>
          <label class="check">
            <input type="radio" name="mode" value="completion" /> Completion
          </label>
        </fieldset>
        <label>
          Prompt
          <textarea
            name="prompt"
            rows={4}
            required
            onKeyDown={(event: KeyboardEvent) => {
              if (event.key === "Enter" && (event.ctrlKey || event.metaKey))
                (event.currentTarget as HTMLTextAreaElement).form?.requestSubmit();
            }}
          />
        </label>
        <div class="fields">
          <label>
            Most tokens
            <input name="max_tokens" type="number" min={1} step={1} value="128" required />
          </label>
          <label>
            Temperature
            <input name="temperature" type="number" min={0} max={2} step="any" value="0" required />
          </label>
          <label>
            Seed
            <input name="seed" type="number" min={0} step={1} placeholder="random" />
          </label>
        </div>
        <div class="actions">
          <span class="quiet wide">Ctrl + Enter sends</span>
          <button type="button" disabled={!isStreaming} onClick={() => columns.forEach(({ stop }) => stop())}>
            Stop
          </button>
          <button type="submit" class="primary" disabled={isStreaming}>
            Send
          </button>
        </div>
      </div>
      <div class="columns">
        {SIDES.map((side, i) => (
          <section key={side} class="card stack" aria-label={`Answer on the ${side}`}>
            <label>
              Model on the {side}
              <select
                value={chosen[i]}
                onChange={(event: Event) => {
                  const { value } = event.target as HTMLSelectElement;
                  setChosen(chosen.map((old, j) => (j === i ? value : old)));
                }}
              >
                {models.map(({ id, parent }) => (
                  <option key={id} value={id}>
                    {id}
                    {parent === null ? " (base)" : ""}
                  </option>
                ))}
              </select>
            </label>
            <AnswerBox answer={columns[i]!.answer} label={`Text of ${chosen[i]}`} />
          </section>
        ))}
      </div>
    </form>
  );
}

function AnswerBox({ answer, label }: { answer: Answer; label: string }) {
  const { state, text, error } = answer;
  return (
    <>
      <pre
        class="answer"
        role="region"
        tabindex={0}
        aria-label={label}
        aria-busy={state === "streaming" ? "true" : "false"}
      >
        {text}
      </pre>
      <p class="quiet figures">{figuresOf(answer)}</p>
      {state === "failed" ? <Notice kind="error">{explain(error)}</Notice> : null}
    </>
  );
}

function figuresOf(answer: Answer): string {
  const { state, tokens, reason, firstMs } = answer;
  if (state === "none") return "Not asked yet.";
  const end = { streaming: "…", done: `finish reason: ${reason}`, stopped: "stopped by you", failed: "failed" }[state];
  const first = firstMs === undefined ? "" : `, first after ${Math.round(firstMs)} ms`;
  return `${formatCount(tokens)} tokens${first}, ${formatRate(answerRate(answer))} tokens/s, ${end}`;
}
