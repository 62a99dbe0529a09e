/** The figures of `graft bench serve`, for people and for programs. */
import { snakeCase } from "../runs/run-json.ts";
import { table } from "../table.ts";
import type { ServeBenchResult, TrainingFigures } from "./serve.ts";
import type { CaseFigures } from "./serve-figures.ts";

export function serveReport({
  model,
  device,
  adapters,
  cases,
  mixedToBase,
  manyToFew,
  training,
}: ServeBenchResult): string {
  const ratios = mixedToBase.map(({ streams, adapters, ratio }) => [
    String(streams),
    String(adapters),
    ratio.toFixed(2),
  ]);
  const [few, many] = [cases[0]!.streams, cases.at(-1)!.streams];
  const growth = manyToFew.map(({ adapters, ratio }) => [adaptersText(adapters), `${ratio.toFixed(2)}x`]);
  return [
    [`${model} on ${device}`, ...(adapters.length > 0 ? [`adapters: ${adapters.map(kindText).join(", ")}`] : [])].join(
      "\n",
    ),
    table(
      ["streams", "adapters", "tokens/s", "first token ms: p50", "p95", "between tokens ms: p50", "p95", "p99"],
      cases.map((one) => [String(one.streams), adaptersText(one.adapters), ...figures(one)]),
    ),
    ...(ratios.length > 0 ? [table(["streams", "adapters", "tokens/s over the base's"], ratios)] : []),
    ...(growth.length > 0 ? [table(["adapters", `tokens/s of ${many} streams over ${few}`], growth)] : []),
    ...(training.length > 0 ? [trainingTable(training)] : []),
  ].join("\n\n");
}

function trainingTable(training: readonly TrainingFigures[]): string {
  const rows = training.flatMap(({ without, beside, stepsPerSecond }) => [
    [String(without.streams), "no", ...figures(without), ""],
    [String(beside.streams), "yes", ...figures(beside), stepsPerSecond.toFixed(2)],
  ]);
  return table(
    ["streams", "job", "tokens/s", "first token ms: p50", "p95", "between tokens ms: p50", "p95", "p99", "steps/s"],
    rows,
  );
}

function figures({ tokensPerSecond, firstTokenMs, betweenTokensMs: gap }: CaseFigures): string[] {
  const values = [tokensPerSecond, firstTokenMs.p50, firstTokenMs.p95, gap.p50, gap.p95, gap.p99];
  return values.map((value) => value.toFixed(1));
}

const kindText = ({ name, method }: ServeBenchResult["adapters"][number]): string =>
  name.startsWith(method) ? name : `${name} (${method})`;

const adaptersText = (adapters: number): string => (adapters === 0 ? "base" : String(adapters));

/** The same under snake_case names, all the way down. */
export function serveJson(value: object): unknown {
  if (Array.isArray(value)) return value.map((one: object) => serveJson(one));
  return Object.fromEntries(
    Object.entries(snakeCase(value)).map(([name, inner]) => [
      name,
      typeof inner === "object" && inner !== null ? serveJson(inner) : inner,
    ]),
  );
}
