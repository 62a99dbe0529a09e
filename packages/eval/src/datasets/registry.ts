/** Every data set. One line each. */
import { suggest, UnknownName } from "@graft/core/errors";
import type { Dataset } from "../dataset.ts";
import type { Doc } from "../doc.ts";
import { addsub } from "./addsub.ts";
import { aqua } from "./aqua.ts";
import { arcChallenge } from "./arc-challenge.ts";
import { arcEasy } from "./arc-easy.ts";
import { boolq } from "./boolq.ts";
import { cola, mnli, mnliMismatched, mrpc, qnli, qqp, rte, stsb, wnli } from "./glue.ts";
import { gsm8k } from "./gsm8k.ts";
import { hellaswag } from "./hellaswag.ts";
import { humanEval } from "./human-eval.ts";
import { mathqa } from "./mathqa.ts";
import { mawps } from "./mawps.ts";
import { microCommon, microMath } from "./micro.ts";
import { mtBench } from "./mt-bench.ts";
import { multiarith } from "./multiarith.ts";
import { openbookqa } from "./openbookqa.ts";
import { piqa } from "./piqa.ts";
import { singleeq } from "./singleeq.ts";
import { socialIqa } from "./social-i-qa.ts";
import { sst2 } from "./sst2.ts";
import { svamp } from "./svamp.ts";
import { winogrande } from "./winogrande.ts";

const all: readonly Dataset<Doc>[] = [
  addsub,
  aqua,
  gsm8k,
  mathqa,
  mawps,
  multiarith,
  singleeq,
  svamp,
  arcChallenge,
  arcEasy,
  boolq,
  hellaswag,
  openbookqa,
  piqa,
  socialIqa,
  winogrande,
  humanEval,
  mtBench,
  sst2,
  cola,
  mrpc,
  qqp,
  stsb,
  mnli,
  mnliMismatched,
  qnli,
  rte,
  wnli,
  microCommon,
  microMath,
];

export const datasets: Readonly<Record<string, Dataset>> = Object.fromEntries(all.map((one) => [one.name, one]));

/** The data set of that name. Throws UnknownName with near names. */
export function datasetFor(name: string): Dataset {
  if (Object.hasOwn(datasets, name)) return datasets[name]!;
  throw new UnknownName(`unknown data set "${name}"${suggest(name, Object.keys(datasets), all.length)}`);
}
