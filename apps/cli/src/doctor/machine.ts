/** What can be told of this machine without a GPU driver. */
import { accessSync, constants, existsSync, readdirSync, readFileSync } from "node:fs";

/** How the launcher found the Vulkan driver. */
export const DRIVER_KINDS = [
  "system",
  "environment",
  "gpu",
  "gpu-private-loader",
  "system-lavapipe",
  "system-software",
  "lavapipe",
  "swiftshader",
  "none",
] as const;
export type DriverKind = (typeof DRIVER_KINDS)[number];

export interface Machine {
  /** `ID` and `ID_LIKE` of /etc/os-release, or the platform's name. */
  readonly distributions: readonly string[];
  /** Device files of GPUs, and whether this user may open them. */
  readonly gpuNodes: readonly { readonly path: string; readonly isAllowed: boolean }[];
  readonly isContainer: boolean;
}

export function lookAtMachine(): Machine {
  return {
    distributions: distributions(),
    gpuNodes: gpuNodes().map((path) => ({ path, isAllowed: isAllowed(path) })),
    isContainer: existsSync("/.dockerenv") || existsSync("/run/.containerenv"),
  };
}

function distributions(): string[] {
  if (process.platform !== "linux" || !existsSync("/etc/os-release")) return [process.platform];
  return idsOf(readFileSync("/etc/os-release", "utf8"));
}

/** The distribution and what it descends from, nearest first. `osRelease`: text of /etc/os-release. */
export function idsOf(osRelease: string): string[] {
  return ["ID", "ID_LIKE"].flatMap((key) => {
    const value = new RegExp(`^${key}=["']?([^"'\\n]*)`, "m").exec(osRelease)?.[1] ?? "";
    return value.split(" ").filter(Boolean);
  });
}

function gpuNodes(): string[] {
  const render = existsSync("/dev/dri")
    ? readdirSync("/dev/dri").flatMap((name) => (name.startsWith("renderD") ? [`/dev/dri/${name}`] : []))
    : [];
  return [...render, ...["/dev/nvidiactl", "/dev/dxg"].filter((path) => existsSync(path))];
}

function isAllowed(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
