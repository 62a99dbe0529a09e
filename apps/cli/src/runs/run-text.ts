/** Runs as a person reads them. */
import type { RunRow } from "@graft/server/db";
import { basename } from "node:path";

/** 0.4125 */
export const share = (value: number): string => value.toFixed(4);

/** +0.0125 */
export const signed = (value: number): string => `${value < 0 ? "" : "+"}${value.toFixed(4)}`;

export const p = (value: number): string => (value < 0.0001 ? "p < 0.0001" : `p = ${value.toFixed(4)}`);

/** 2025-01-31 23:59:59, UTC. */
export const when = (at: Date): string => at.toISOString().replace("T", " ").slice(0, 19);

/** How long a run took; "" for one that has not ended. */
export function duration({ createdAt, finishedAt }: Pick<RunRow, "createdAt" | "finishedAt">): string {
  if (!finishedAt) return "";
  const seconds = (finishedAt.getTime() - createdAt.getTime()) / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60
    ? `${minutes} min ${Math.floor(seconds % 60)} s`
    : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** The base, and what was put on it. */
export function modelText({ model, adapter, system }: Pick<RunRow, "model" | "adapter" | "system">): string {
  return adapter === null ? basename(model) : `${basename(model)} + ${system}`;
}
