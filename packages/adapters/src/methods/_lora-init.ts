/** Fresh values of a LoRA's parameters: what `init_lora_weights` names. */
import { ConfigError, suggest, UnknownName } from "@graft/core/errors";
import type { LinearSite } from "@graft/core/nn";
import type { Random } from "@graft/core/random";
import { gaussian, type Matrix, matrix, multiply, qr, takeRows, topSvd, transposed } from "../linear-algebra.ts";
import type { Base } from "../method.ts";
import { constant, kaiming, normal } from "../starts.ts";
import type { LoraConfig, LoraSite } from "./_lora-config.ts";
import { changedWeight, outputNorms } from "./_lora-weight.ts";

interface Factors {
  /** [r, in]. */
  readonly a: Matrix;
  /** [out, r]. */
  readonly b: Matrix;
}

interface Start {
  readonly own: LoraSite & { readonly site: LinearSite };
  /** [out, in], however the base stores it. */
  readonly weight: () => Promise<Matrix>;
  readonly random: Random;
}

/** A way to start that is not plain LoRA's; only on linear layers, as in PEFT. */
interface Initialisation {
  /** B A is not zero at the start: it is taken out of the base, so that the adapted layer starts as the base does. */
  readonly isTakenFromBase: boolean;
  factors(start: Start): Promise<Factors>;
}

const named: Readonly<Record<string, Initialisation>> = {
  /**
   * B A = 0 though neither is: A = Q_even^T X / 10, B = Y Q_odd / 10 with X [r / 2, in] and Y [out, r / 2] normal, Q_even and Q_odd the rows of one orthogonal [r, r] matrix.
   * https://datta0.github.io/posts/rethink-lora-init
   */
  orthogonal: {
    isTakenFromBase: false,
    async factors({ own: { r, site }, random }) {
      const { q } = qr(gaussian(r, r, random));
      const half = (start: number, columns: number): Matrix => {
        const mixed = multiply(transposed(takeRows(q, start, r, 2)), gaussian(r / 2, columns, random));
        return { ...mixed, data: mixed.data.map((x) => x / 10) };
      };
      return { a: half(0, site.inDim), b: transposed(half(1, site.outDim)) };
    },
  },
  /** The r largest singular triplets of W: s B A = U S V^T (Meng et al. 2024, arXiv:2404.02948, section 3). */
  pissa: principal(),
  /** B = Q[:, :r], A = R[:r] of W = Q R (Büyükakyüz 2024, arXiv:2406.01775). */
  olora: {
    isTakenFromBase: true,
    async factors({ own: { r }, weight }) {
      const factors = qr(await weight(), r);
      return { a: factors.r, b: factors.q };
    },
  },
};

const knownNames = ["true", "false", "gaussian", ...Object.keys(named), "pissa_niter_[n]"];

/** What PEFT has and this has not, and why. Files of the first kind are LoRA on an unchanged base: they load. */
const onlyLoaded: Readonly<Record<string, string>> = {
  eva: "it needs activations on sample data",
  mica: "it trains A alone",
};
const unsupported: Readonly<Record<string, string>> = {
  corda: "it needs activations on sample data",
  lora_ga: "it needs gradients on sample data",
  loftq: "it needs the weights from before and after quantisation",
};

/** PiSSA: A = sqrt(S / s) V^T, B = U sqrt(S / s); `iterations` as in topSvd. */
function principal(iterations?: number): Initialisation {
  return {
    isTakenFromBase: true,
    async factors({ own: { r, scaling }, weight, random }) {
      const { ut, s, vt } = topSvd(await weight(), r, random, iterations);
      const scaleRows = ({ rows, columns, data }: Matrix): Matrix =>
        matrix(
          rows,
          columns,
          data.map((x, at) => x * Math.sqrt(s[Math.floor(at / columns)]! / scaling)),
        );
      return { a: scaleRows(vt), b: transposed(scaleRows(ut)) };
    },
  };
}

/**
 * What a config's init_lora_weights names; undefined for those that plain LoRA knows and those that only loading knows. Throws UnknownName listing the known ones,
 * ConfigError for what needs more than the base.
 */
export function findInitialisation(init: LoraConfig["init_lora_weights"], where: string): Initialisation | undefined {
  if (typeof init === "boolean" || init === "gaussian" || Object.hasOwn(onlyLoaded, init)) return undefined;
  if (Object.hasOwn(unsupported, init)) throw notSupported(init, unsupported[init]!, where);
  if (Object.hasOwn(named, init)) return named[init];
  const iterations = /^pissa_niter_(\d+)$/.exec(init)?.[1];
  if (iterations !== undefined) return principal(Number(iterations));
  throw new UnknownName(`${where}: init_lora_weights: unknown initialisation "${init}"${suggest(init, knownNames)}`);
}

function notSupported(init: string, reason: string, where: string): ConfigError {
  return new ConfigError(
    `${where}: init_lora_weights "${init}" is not supported (${reason}); supported: ${knownNames.join(", ")}`,
  );
}

/** Throws ConfigError where a site cannot start as asked. */
export function checkInitialisation(config: LoraConfig, sites: readonly LoraSite[], where: string): void {
  const { init_lora_weights: init } = config;
  const found = findInitialisation(init, where);
  if (!found) return;
  for (const { site, r, scaling } of sites) {
    const at = `${where}: init_lora_weights "${init}" on ${site.name}`;
    if (site.kind === "embedding") throw new ConfigError(`${at}: embeddings start with true, false or gaussian only`);
    if (!found.isTakenFromBase) {
      if (r % 2 !== 0) throw new ConfigError(`${at}: r must be even, got ${r}`);
      continue;
    }
    const most = Math.min(site.inDim, site.outDim);
    if (r > most) throw new ConfigError(`${at}: r is ${r}, a [${site.outDim}, ${site.inDim}] weight has rank ${most}`);
    if (!(scaling > 0)) throw new ConfigError(`${at}: lora_alpha must be above 0`);
  }
}

/** Throws ConfigError for names that only loading knows. */
export async function initialise(
  config: LoraConfig,
  base: Base,
  sites: readonly LoraSite[],
  random: Random,
  where: string,
): Promise<Map<string, Float32Array>> {
  const { init_lora_weights: init } = config;
  if (typeof init === "string" && Object.hasOwn(onlyLoaded, init)) throw notSupported(init, onlyLoaded[init]!, where);
  const special = findInitialisation(init, where);
  const values = new Map<string, Float32Array>();
  for (const own of sites) {
    const { site, r, keys } = own;
    if (site.kind === "embedding") {
      values.set(keys.a, new Float32Array(r * site.rows));
      values.set(keys.b, normal(1, [site.columns, r]).init(random));
      continue;
    }
    if (special) {
      const weight = () => readMatrix(base, site);
      const { a, b } = await special.factors({ own: { ...own, site }, weight, random });
      values.set(keys.a, Float32Array.from(a.data));
      values.set(keys.b, Float32Array.from(b.data));
    } else {
      const [aShape, bShape] = [[r, site.inDim] as const, [site.outDim, r] as const];
      values.set(keys.a, (init === "gaussian" ? normal(1 / r, aShape) : kaiming(aShape)).init(random));
      values.set(keys.b, (init === false ? kaiming(bShape) : constant(0, bShape)).init(random));
    }
    if (keys.start) {
      values.set(keys.start.a, values.get(keys.a)!.slice());
      values.set(keys.start.b, values.get(keys.b)!.slice());
    }
    if (keys.magnitude) {
      // B A is zero at the start, or taken out of the base, unless asked otherwise.
      const scaling = init === false ? own.scaling : 0;
      values.set(keys.magnitude, outputNorms(await changedWeight(base, { ...own, scaling }, values), site));
    }
  }
  return values;
}

async function readMatrix(base: Base, site: LinearSite): Promise<Matrix> {
  const stored = await base.read(`${site.name}.weight`);
  return site.fanInFanOut
    ? transposed(matrix(site.inDim, site.outDim, stored))
    : matrix(site.outDim, site.inDim, stored);
}
