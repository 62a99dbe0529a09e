import { adapterKind, DeviceUnavailable, measureCeilings, openDevice } from "@graft/kernels";
import { z } from "zod";
import { defineCommand } from "../command.ts";
import { config } from "../config.ts";
import { adviceFor } from "../doctor/advice.ts";
import { type DriverKind, lookAtMachine } from "../doctor/machine.ts";

const DRIVERS: Readonly<Record<DriverKind, string>> = {
  system: "the system's (graft was not started by its launcher, or has nothing to find on this platform)",
  environment: "named by VK_DRIVER_FILES or VK_ICD_FILENAMES",
  gpu: "the system's, for a GPU",
  "gpu-private-loader": "the system's, for a GPU, through a Vulkan loader in the cache (the system has none)",
  "system-lavapipe": "the system's Mesa lavapipe, on the CPU",
  "system-software": "the system's, on the CPU",
  lavapipe: "Mesa lavapipe in the cache, on the CPU",
  swiftshader: "SwiftShader in the cache, on the CPU",
  none: "none was found and none could be fetched",
};

export default defineCommand({
  name: "doctor",
  summary: "say what was found on this machine and what could be better",
  description:
    "Opens the device as every command does, measures it and says what could be done for a faster one. The launcher looks for the driver anew.",
  examples: ["graft doctor", "graft doctor --json"],
  options: z.object({ json: z.boolean().default(false).describe("print one JSON document") }),
  async run({ json }, { print }) {
    const found = await examine();
    print(json ? JSON.stringify(found, null, 2) : describe(found));
    return found.device ? 0 : 1;
  },
});

type Found = Awaited<ReturnType<typeof examine>>;

async function examine() {
  const machine = lookAtMachine();
  const { kind, files } = config.driver;
  const { device, problem } = await examineDevice();
  return {
    graft: config.root,
    bun: { version: Bun.version, path: process.execPath, isPrivate: process.execPath.startsWith(config.cacheDir) },
    cacheDir: config.cacheDir,
    driver: { kind, from: DRIVERS[kind], files },
    machine,
    device,
    problem,
    advice: adviceFor({
      driver: kind,
      machine,
      device: device && { kind: device.kind, hasSubgroups: device.features.includes("subgroups") },
    }),
  };
}

async function examineDevice() {
  let device;
  try {
    device = await openDevice();
  } catch (error) {
    if (!(error instanceof DeviceUnavailable)) throw error;
    return { problem: error.message };
  }
  try {
    const { capabilities, info, features } = device;
    return {
      device: {
        ...info,
        kind: adapterKind(device),
        features,
        subgroupSizes: [capabilities.subgroupMinSize, capabilities.subgroupMaxSize],
        limits: capabilities.limits,
        measured: await measureCeilings(device),
      },
    };
  } finally {
    await device.close();
  }
}

function describe({ bun, cacheDir, driver, device, problem, advice }: Found): string {
  const lines = [
    `bun       ${bun.version}, ${bun.isPrivate ? "in the cache" : "on PATH"} (${bun.path})`,
    `cache     ${cacheDir}`,
    `driver    ${driver.from}${driver.files === undefined ? "" : ` (${driver.files})`}`,
  ];
  if (device) {
    const { fmaGflops, copyGibps, dispatchMicroseconds } = device.measured;
    lines.push(
      `adapter   ${[device.vendor, device.architecture, device.device].filter(Boolean).join(", ")}`,
      `          ${device.description}${device.kind === "gpu" ? "" : " (software)"}`,
      `features  ${device.features.join(", ")}`,
      `subgroups ${device.subgroupSizes.join(" to ")} lanes`,
      ...Object.entries(device.limits).map(
        ([name, value], i) => `${i === 0 ? "limits   " : "         "} ${name.padEnd(34)} ${value}`,
      ),
      `measured  ${fmaGflops.toFixed(1)} GFLOP/s of f32 multiply-adds, ${copyGibps.toFixed(1)} GiB/s copied, ${dispatchMicroseconds.toFixed(1)} us per dispatch`,
    );
  } else lines.push(`adapter   ${problem}`);
  return [...lines, ...advice.map((line) => `-> ${line}`)].join("\n");
}
