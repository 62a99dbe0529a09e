import { DeviceUnavailable, measureCeilings, openDevice } from "@graft/kernels";
import { z } from "zod";
import { defineCommand } from "../command.ts";
import { config } from "../config.ts";

export default defineCommand({
  name: "doctor",
  summary: "say what was found on this machine and what could be better",
  examples: ["graft doctor", "graft doctor --json"],
  options: z.object({ json: z.boolean().default(false).describe("print one JSON document") }),
  async run({ json }, { print }) {
    const found = await examine();
    if (json) print(JSON.stringify(found, null, 2));
    else print(describe(found));
    return found.adapter ? 0 : 1;
  },
});

type Found = Awaited<ReturnType<typeof examine>>;

async function examine() {
  const common = {
    bun: { version: Bun.version, path: process.execPath },
    cacheDir: config.cacheDir,
    driver: config.driver ?? "whatever the system has (graft was not started by its launcher)",
  };
  let device;
  try {
    device = await openDevice();
  } catch (error) {
    if (!(error instanceof DeviceUnavailable)) throw error;
    return {
      ...common,
      adapter: undefined,
      advice: [error.message, "start graft by ./graft, which provides a software driver where there is none"],
    };
  }
  try {
    const { capabilities, info, features } = device;
    const measured = await measureCeilings(device);
    const advice = capabilities.isSoftware
      ? [
          "no GPU is in use: training and serving run on the CPU through a software driver. With a GPU, install its Vulkan driver (mesa-vulkan-drivers for AMD and Intel, the vendor's driver for NVIDIA) and run graft again.",
        ]
      : [];
    if (!capabilities.subgroups)
      advice.push("the driver has no subgroups: matrix products take a slower path; a newer driver may help");
    return {
      ...common,
      adapter: info,
      isSoftware: capabilities.isSoftware,
      features,
      subgroupSizes: [capabilities.subgroupMinSize, capabilities.subgroupMaxSize],
      limits: capabilities.limits,
      measured,
      advice,
    };
  } finally {
    await device.close();
  }
}

function describe(found: Found): string {
  const lines = [
    `bun      ${found.bun.version} (${found.bun.path})`,
    `cache    ${found.cacheDir}`,
    `driver   ${found.driver}`,
  ];
  if (found.adapter) {
    const { vendor, architecture, device, description } = found.adapter;
    lines.push(
      `adapter  ${[vendor, architecture, device].filter(Boolean).join(" ")}`,
      `         ${description}${found.isSoftware ? " (software)" : ""}`,
    );
    lines.push(`features ${found.features.join(", ")}`, `subgroup ${found.subgroupSizes.join(" to ")} lanes`);
    for (const [name, value] of Object.entries(found.limits)) lines.push(`  ${name.padEnd(34)} ${value}`);
    const { fmaGflops, copyGibps, dispatchMicroseconds } = found.measured;
    lines.push(
      `measured ${fmaGflops.toFixed(1)} GFLOP/s of f32 multiply-adds, ${copyGibps.toFixed(1)} GiB/s copied, ${dispatchMicroseconds.toFixed(1)} us per dispatch`,
    );
  }
  return [...lines, ...found.advice.map((line) => `-> ${line}`)].join("\n");
}
