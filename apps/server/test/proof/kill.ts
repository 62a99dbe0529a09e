/**
 * A server is killed again and again while files are uploaded, adapters published and a job trains. After each start everything that was acknowledged must be there and readable, nothing
 * half-written may be seen, and in the end the job's adapter must have the same bytes as one that was never disturbed.
 */
import { Random } from "@graft/core/random";
import { createHash } from "node:crypto";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { writeRandomAdapter } from "./random-adapters.ts";

export interface KillOptions {
  readonly model: string;
  readonly folder: string;
  readonly kills: number;
  /** Optimizer steps of the job. */
  readonly steps: number;
  readonly seed: number;
  /** Longest time between a start and its kill. */
  readonly maxMs: number;
}

export interface KillResult {
  /** What was acknowledged, over all lives. */
  readonly files: number;
  readonly publications: number;
  readonly events: number;
  /** Steps at which the job was when the server died. */
  readonly diedAt: readonly number[];
  readonly failures: readonly string[];
}

interface Life {
  readonly url: string;
  kill(): Promise<void>;
  stop(): Promise<void>;
}

interface Listed<T> {
  readonly data: readonly T[];
  readonly has_more: boolean;
}
interface FileObject {
  readonly id: string;
  readonly graft: { readonly sha256: string };
}
interface JobObject {
  readonly id: string;
  readonly status: string;
  readonly fine_tuned_model: string | null;
  readonly error: { readonly message: string } | null;
  readonly graft: { readonly step: number };
}
interface AdapterObject {
  readonly name: string;
  readonly current_version: number | null;
}
interface VersionObject {
  readonly version: number;
  readonly hash: string;
}
interface EventObject {
  readonly id: string;
  readonly message: string;
}

const sha256 = (bytes: Uint8Array | string): string => createHash("sha256").update(bytes).digest("hex");

/** Rows that the embedded models can learn. */
const rows = (count: number, random: Random): string =>
  Array.from({ length: count }, () => {
    const [a, b] = [1 + random.int(9), 1 + random.int(9)];
    return JSON.stringify({ prompt: `Tom has ${a} apples and gets ${b}. `, completion: `The answer is ${a + b}.` });
  }).join("\n");

export async function killAndCheck({ model, folder, kills, steps, seed, maxMs }: KillOptions): Promise<KillResult> {
  const random = new Random(seed);
  const failures: string[] = [];
  const adapters = await Promise.all(
    [1, 2, 3].map((v) => writeRandomAdapter(model, join(folder, "versions"), "lora", v)),
  );

  async function start(dataDir: string): Promise<Life> {
    const options = {
      model,
      adapters: {},
      servedModelName: "base",
      host: "127.0.0.1",
      port: 0,
      dataDir,
      dtype: "auto",
      maxSequences: 4,
      adapterRoots: [folder],
    };
    const child = Bun.spawn(
      [process.execPath, join(import.meta.dir, "../fixtures/server-process.ts"), JSON.stringify(options)],
      { stdin: "ignore", stdout: "pipe", stderr: "inherit" },
    );
    let said = "";
    for await (const bytes of child.stdout) {
      said += new TextDecoder().decode(bytes);
      if (said.includes("\n")) break;
    }
    if (!said.includes("\n")) throw new Error(`the server ended with ${await child.exited} before it listened`);
    const { url } = JSON.parse(said) as { url: string };
    return {
      url,
      async kill() {
        child.kill("SIGKILL");
        await child.exited;
      },
      async stop() {
        child.kill("SIGTERM");
        await child.exited;
      },
    };
  }

  const json = async <T>(life: Life, method: string, path: string, body?: object | FormData): Promise<T> => {
    const init: RequestInit =
      body instanceof FormData
        ? { body }
        : body
          ? { body: JSON.stringify(body), headers: { "content-type": "application/json" } }
          : {};
    const response = await fetch(`${life.url}${path}`, { method, ...init });
    const text = await response.text();
    if (!response.ok) throw new Refused(`${method} ${path}: ${response.status} ${text}`);
    return JSON.parse(text) as T;
  };
  const upload = (life: Life, text: string): Promise<FileObject> => {
    const form = new FormData();
    form.set("purpose", "fine-tune");
    form.set("file", new File([text], "rows.jsonl"));
    return json(life, "POST", "/v1/files", form);
  };
  const everything = async <T extends { readonly id: string }>(life: Life, path: string): Promise<T[]> => {
    const all: T[] = [];
    for (;;) {
      const after = all.length > 0 ? `&after=${all.at(-1)!.id}` : "";
      const page = await json<Listed<T>>(life, "GET", `${path}?limit=100${after}`);
      all.push(...page.data);
      if (!page.has_more) return all;
    }
  };
  const createJob = async (life: Life): Promise<JobObject> => {
    const file = await upload(life, rows(64, new Random(seed, 77)));
    return json(life, "POST", "/v1/fine_tuning/jobs", {
      model: "base",
      training_file: file.id,
      seed: 3,
      method: {
        type: "supervised",
        supervised: {
          hyperparameters: { max_steps: steps, n_epochs: 1000, batch_size: 4, save_steps: 4, eval_steps: 0 },
          adapter: { name: "lora", r: 2, target_modules: ["q_proj"] },
        },
      },
    });
  };
  const finished = async (life: Life, id: string): Promise<string> => {
    for (;;) {
      const job = await json<JobObject>(life, "GET", `/v1/fine_tuning/jobs/${id}`);
      if (job.status === "succeeded") {
        const name = encodeURIComponent(job.fine_tuned_model!);
        const weights = await fetch(`${life.url}/v1/adapters/${name}/versions/1/files/adapter_model.safetensors`);
        if (!weights.ok)
          throw new Error(`the result of ${id} cannot be read: ${weights.status} ${await weights.text()}`);
        return sha256(new Uint8Array(await weights.arrayBuffer()));
      }
      if (job.status === "failed") throw new Error(`${id} failed: ${job.error?.message}`);
      await new Promise((resume) => setTimeout(resume, 50));
    }
  };

  // The same job, never disturbed.
  const calm = await start(join(folder, "calm"));
  const wanted = await finished(calm, (await createJob(calm)).id);
  await calm.stop();

  const dataDir = join(folder, "data");
  const files = new Map<string, string>();
  /** By what was acknowledged last; what was asked since may have been done or not. */
  let current: number | null = null;
  let asked: number | undefined;
  let publications = 0;
  let events: EventObject[] = [];
  const diedAt: number[] = [];
  let life = await start(dataDir);
  const job = await createJob(life);
  // Its versions are uploaded before anything dies.
  for (const path of adapters)
    await json(life, "POST", "/v1/adapters", { name: "a", from: { path }, publish: current === null }).then(
      () => (current ??= 1),
    );

  for (let round = 0; round < kills; round++) {
    let isDead = false;
    /** What fails because the server has died is what this is about. */
    const until = async (act: () => Promise<void>): Promise<void> => {
      while (!isDead) {
        try {
          await act();
        } catch (error) {
          if (error instanceof Refused && !isDead) failures.push(`life ${round}: ${error.message}`);
          if (!isDead) await new Promise((resume) => setTimeout(resume, 5));
        }
      }
    };
    const own = new Random(seed, round + 1);
    const work = [
      until(async () => {
        const text = rows(1 + own.int(400), own);
        const file = await upload(life, text);
        files.set(file.id, sha256(text));
      }),
      until(async () => {
        const version = 1 + own.int(adapters.length);
        asked = version;
        await json(life, "POST", "/v1/adapters/a/publish", { version });
        current = version;
        asked = undefined;
        publications++;
      }),
      until(async () => {
        const seen = (await everything<EventObject>(life, `/v1/fine_tuning/jobs/${job.id}/events`)).toReversed();
        if (!startsWith(seen, events)) failures.push(`life ${round}: events that were there are gone or changed`);
        events = seen;
      }),
      until(async () => {
        await json(life, "POST", "/v1/completions", { model: "a", prompt: "Tom has", max_tokens: 8 });
      }),
    ];
    await new Promise((resume) => setTimeout(resume, random.int(maxMs)));
    isDead = true;
    await life.kill();
    await Promise.all(work);

    life = await start(dataDir);
    await check(round);
  }
  const got = await finished(life, job.id);
  if (got !== wanted) failures.push(`the job's adapter has other bytes than one that was never disturbed`);
  await life.stop();
  return { files: files.size, publications, events: events.length, diedAt, failures };

  async function check(round: number): Promise<void> {
    const complain = (what: string): void => void failures.push(`after kill ${round}: ${what}`);
    const listed = await everything<FileObject>(life, "/v1/files");
    for (const [id, hash] of files) {
      if (!listed.some((file) => file.id === id)) complain(`file ${id} is gone`);
      else if (listed.find((file) => file.id === id)!.graft.sha256 !== hash) complain(`file ${id} has another hash`);
    }
    // Also those that were never acknowledged: what is there is whole.
    for (const { id, graft } of listed) {
      const response = await fetch(`${life.url}/v1/files/${id}/content`);
      if (sha256(new Uint8Array(await response.arrayBuffer())) !== graft.sha256) complain(`file ${id} cannot be read`);
    }
    const adapter = await json<AdapterObject>(life, "GET", "/v1/adapters/a");
    if (adapter.current_version !== current && adapter.current_version !== asked)
      complain(`version ${adapter.current_version} is published; ${current} was acknowledged, ${asked} asked for`);
    current = adapter.current_version;
    asked = undefined;
    const versions = await json<Listed<VersionObject>>(life, "GET", "/v1/adapters/a/versions");
    if (versions.data.length !== adapters.length) complain(`there are ${versions.data.length} versions`);
    await json(life, "POST", "/v1/completions", { model: "a", prompt: "Tom has", max_tokens: 2 }).catch(
      (error: unknown) => complain(String(error)),
    );
    const seen = (await everything<EventObject>(life, `/v1/fine_tuning/jobs/${job.id}/events`)).toReversed();
    if (!startsWith(seen, events)) complain("events that were there are gone or changed");
    events = seen;
    diedAt.push((await json<JobObject>(life, "GET", `/v1/fine_tuning/jobs/${job.id}`)).graft.step);
    const partial = readdirSync(dataDir, { recursive: true, encoding: "utf8" }).filter((path) =>
      /blobs.*partial/.test(path),
    );
    if (partial.length > 0) complain(`half-written files are left: ${partial.join(", ")}`);
  }
}

/** The server answered, and not as it should. */
class Refused extends Error {}

function startsWith(all: readonly EventObject[], first: readonly EventObject[]): boolean {
  return first.every(({ id, message }, i) => all[i]?.id === id && all[i].message === message);
}
