/** A server under load: every count of streams with every count of adapters, in turn. */
import { ConfigError } from "@graft/core/errors";
import { Random } from "@graft/core/random";
import { baseName, type Model, type Remote } from "../remote/client.ts";
import { caseFigures, type CaseFigures, rateRatio, type Round } from "./serve-figures.ts";
import { randomPrompts, runRound } from "./serve-load.ts";
import { adapterOfStream, type ServeCase, serveCases, serveTurns } from "./serve-schedule.ts";
import { startBenchJob } from "./serve-training.ts";

export interface ServeBenchOptions {
  readonly streams: readonly number[];
  readonly adapters: readonly number[];
  readonly rounds: number;
  /** Times that each case meets its adapters before, not counted: kernels are compiled and adapters uploaded in them. */
  readonly warmUp: number;
  readonly promptTokens: number;
  readonly maxTokens: number;
  /** Training data: also measure with a job beside the streams. */
  readonly train?: string | undefined;
  readonly signal: AbortSignal;
  readonly log: (line: string) => void;
  readonly onTurn: (done: number, total: number) => void;
}

export interface TrainingFigures {
  readonly without: CaseFigures;
  readonly beside: CaseFigures;
  /** Optimizer steps a second beside the streams. */
  readonly stepsPerSecond: number;
}

export interface ServeBenchResult {
  readonly model: string;
  readonly device: string;
  /** That took part, in the order in which they are taken: n adapters are the first n. */
  readonly adapters: readonly { readonly name: string; readonly method: string }[];
  readonly cases: readonly CaseFigures[];
  /** Rates with adapters over the base's, at the same number of streams. */
  readonly mixedToBase: readonly (ServeCase & { readonly ratio: number })[];
  /** Rates of the most streams over those of the fewest, at the same number of adapters. */
  readonly manyToFew: readonly { readonly adapters: number; readonly ratio: number }[];
  readonly training: readonly TrainingFigures[];
}

/** Throws ConfigError for more adapters than the server has, and for a context that is too short; RemoteError. */
export async function benchServe(remote: Remote, options: ServeBenchOptions): Promise<ServeBenchResult> {
  const { rounds, warmUp, signal, onTurn } = options;
  const cases = serveCases(options.streams, options.adapters);
  const driver = await openDriver(remote, options, Math.max(...options.adapters));
  const measured = new Map<ServeCase, Round[]>(cases.map((one) => [one, []]));
  const turns = serveTurns(cases, rounds, warmUp, 1);
  for (const [i, turn] of turns.entries()) {
    const round = await driver.run(turn.case, turn.round);
    if (turn.round >= 0) measured.get(turn.case)!.push(round);
    onTurn(i + 1, turns.length);
  }
  const { device } = await (await remote.api.v1.status.$get()).json();
  const roundsOf = (streams: number, adapters: number) =>
    measured.get(cases.find((one) => one.streams === streams && one.adapters === adapters)!)!;
  const [few, many] = [cases[0]!.streams, cases.at(-1)!.streams];
  return {
    model: driver.base,
    device,
    adapters: driver.adapters,
    cases: cases.map((one) => caseFigures(one, measured.get(one)!)),
    mixedToBase: cases
      .filter(({ adapters }) => adapters > 0 && options.adapters.includes(0))
      .map((one) => ({ ...one, ratio: rateRatio(measured.get(one)!, roundsOf(one.streams, 0)) })),
    manyToFew: cases
      .filter(({ streams }) => streams === many && many !== few)
      .map(({ adapters }) => ({ adapters, ratio: rateRatio(roundsOf(many, adapters), roundsOf(few, adapters)) })),
    training: options.train === undefined ? [] : await benchTraining(remote, driver, options, options.train, signal),
  };
}

interface Driver {
  readonly base: string;
  readonly adapters: ServeBenchResult["adapters"];
  run(one: ServeCase, round: number): Promise<Round>;
}

async function openDriver(
  remote: Remote,
  { promptTokens, maxTokens, signal }: ServeBenchOptions,
  adapters: number,
): Promise<Driver> {
  const { api, url } = remote;
  const base = await baseName(remote);
  const { data } = await (await api.v1.models.$get()).json();
  const served = data.filter(({ parent }) => parent !== null);
  if (served.length < adapters)
    throw new ConfigError(
      `--adapters ${adapters}: ${url} has ${served.length} adapters; give smaller counts, or --model to have them made`,
    );
  const used = served.slice(0, adapters);
  assertFits([data.find(({ id }) => id === base)!, ...used], promptTokens + maxTokens);
  const { tokens } = await (await api.tokenize.$post({ json: { prompt: WORDS, add_special_tokens: false } })).json();
  const words = [...new Set(tokens)];
  const random = new Random(2);
  return {
    base,
    adapters: used.map(({ id, graft }) => ({ name: id, method: graft?.method ?? "?" })),
    run(one, round) {
      const models = Array.from({ length: one.streams }, (_, stream) => {
        const adapter = adapterOfStream(one, round, stream);
        return adapter === undefined ? base : used[adapter]!.id;
      });
      const prompts = randomPrompts(words, one.streams, promptTokens, random);
      return runRound(api, { models, prompts, maxTokens }, signal);
    },
  };
}

/** What prompts are drawn from: any words do. */
const WORDS =
  "the quick brown fox jumps over a lazy dog while seven tall ships sail north past cold islands and old towns full of light";

function assertFits(models: readonly Model[], tokens: number): void {
  const short = models.find(({ max_model_len: length }) => length < tokens);
  if (short)
    throw new ConfigError(
      `--prompt-tokens and --max-tokens are ${tokens} together, and ${short.id} has a context of ${short.max_model_len}`,
    );
}

/** The base's streams with the job paused and with the job running, in turn. */
async function benchTraining(
  remote: Remote,
  driver: Driver,
  { streams, rounds, log, onTurn }: ServeBenchOptions,
  path: string,
  signal: AbortSignal,
): Promise<TrainingFigures[]> {
  const cases = serveCases(streams, [0]);
  const turns = serveTurns(cases, rounds, 1, 3);
  const states = cases.map(() => ({ without: [] as Round[], beside: [] as Round[], steps: 0, seconds: 0 }));
  const job = await startBenchJob(remote, driver.base, path, log, signal);
  try {
    for (const [i, turn] of turns.entries()) {
      const state = states[cases.indexOf(turn.case)]!;
      const without = await driver.run(turn.case, turn.round);
      await job.resume();
      const [steps, begin] = [await job.steps(), performance.now()];
      const beside = await driver.run(turn.case, turn.round);
      const seconds = (performance.now() - begin) / 1000;
      const made = (await job.steps()) - steps;
      await job.pause();
      onTurn(i + 1, turns.length);
      if (turn.round < 0) continue;
      state.without.push(without);
      state.beside.push(beside);
      state.steps += made;
      state.seconds += seconds;
    }
  } finally {
    await job.end();
  }
  return states.map(({ without, beside, steps, seconds }, i) => ({
    without: caseFigures(cases[i]!, without),
    beside: caseFigures(cases[i]!, beside),
    stepsPerSecond: steps / seconds,
  }));
}
