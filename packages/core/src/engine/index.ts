export { AdapterBank, type BankStats } from "./adapter-bank.ts";
export type { TierOptions, TierStats } from "./adapter-tiers.ts";
export type { AdapterLoader, AdapterTier, HostAdapter, Version, VersionInfo } from "./adapter-version.ts";
export * from "./engine.ts";
export { createEngine, type LiveEngineOptions } from "./live-engine.ts";
export { type CountedVersion, type NamedVersion, NamedVersions } from "./named-versions.ts";
export { MIN_TRAINING_SHARE } from "./turn-policy.ts";
export { TextStream } from "./text-stream.ts";
