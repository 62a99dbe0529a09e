/** What only a server can do to us: refuse, be away, hang up. */
import { describe, expect, test } from "bun:test";
import { DataError } from "@graft/core/errors";
import pg from "pg";
import { openStore, StorageError } from "../src/db/index.ts";
import { shownUrl } from "../src/db/postgres/open.ts";
import { testPostgres } from "./postgres.ts";
import { at, newJob } from "./store-rows.ts";

const server = await testPostgres();

async function messageOf(url: string): Promise<string> {
  const error = await openStore({ url }).catch((cause: unknown) => cause);
  expect(error).toBeInstanceOf(DataError);
  return (error as DataError).message;
}

test("a server that is not there, and a URL that is none, are errors without the password", async () => {
  expect(await messageOf("postgres://me:s%20cret@127.0.0.1:1/graft?sslmode=disable&password=s%20cret")).toBe(
    "postgres://me@127.0.0.1:1/graft: cannot be used as graft's database (connect ECONNREFUSED 127.0.0.1:1); check that the server runs, and the URL's name and password",
  );
  for (const url of ["postgres://me:s3cret@:::", "s3cret", "", "postgres://me:%zzs3cret@host/x"])
    expect(await messageOf(url)).toBe(
      "the database's URL cannot be read; it looks so: postgres://user:password@host:5432/name",
    );
  expect(shownUrl("postgresql://host/name?password=s3cret")).toBe("postgresql://host/name");
});

describe.skipIf(typeof server === "string")("a real server", () => {
  const newDatabase = (): Promise<string> => {
    if (typeof server === "string") throw new Error(server);
    return server.newDatabase();
  };
  const admin = async (url: string, sql: string): Promise<void> => {
    const client = new pg.Client(url);
    await client.connect();
    await client.query(sql);
    await client.end();
  };

  test("refuses a wrong password and an unknown database; neither message has the password", async () => {
    const url = new URL(await newDatabase());
    const { password } = url;
    url.pathname = "nowhere";
    const unknown = await messageOf(url.href);
    expect(unknown).toContain('database "nowhere" does not exist');
    url.password = "wr0ng";
    const refused = await messageOf(url.href);
    expect(refused).toContain("password authentication failed");
    expect(unknown + refused).not.toMatch(new RegExp(`${password}|wr0ng`));
  });

  test("hangs up: a write that was not acknowledged is an error or was done, and the store goes on", async () => {
    const url = await newDatabase();
    const store = await openStore({ url });
    await store.createJob(newJob("ftjob-0"), at);
    const outcomes = new Map<string, "done" | "failed">([["ftjob-0", "done"]]);
    for (let round = 0; round < 3; round++) {
      const writes = Array.from({ length: 20 }, async (_, i) => {
        const id = `ftjob-${round}-${i}`;
        try {
          await store.createJob(newJob(id), at, [{ level: "info", message: "made" }]);
          outcomes.set(id, "done");
        } catch (error) {
          expect(error).toBeInstanceOf(StorageError);
          outcomes.set(id, "failed");
        }
      });
      await admin(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
      );
      await Promise.all(writes);
    }
    const { data } = await store.jobs({ limit: 100 });
    const there = new Set(data.map(({ id }) => id));
    for (const [id, outcome] of outcomes) if (outcome === "done") expect(there.has(id)).toBe(true);
    for (const id of there) if (id !== "ftjob-0") expect((await store.jobEventsSince(id, 0, 9)).length).toBe(1);
    await store.close();
  });

  test("a row that something else changed is an error that names the column", async () => {
    const url = await newDatabase();
    const store = await openStore({ url });
    await store.createJob(newJob("ftjob-1"), at);
    await admin(url, `update jobs set progress = '{"step": "two"}'`);
    await expect(store.job("ftjob-1")).rejects.toThrow("jobs.progress: step: Invalid input: expected number");
    await store.close();
  });
});
