import { expect, test } from "bun:test";
import { adviceFor } from "./advice.ts";
import { idsOf, type Machine } from "./machine.ts";

const machine = (more: Partial<Machine> = {}): Machine => ({
  distributions: ["debian"],
  gpuNodes: [],
  isContainer: false,
  ...more,
});
const lavapipe = { kind: "lavapipe", hasSubgroups: true } as const;

test("a GPU in use needs no advice", () => {
  expect(adviceFor({ driver: "gpu", machine: machine(), device: { kind: "gpu", hasSubgroups: true } })).toEqual([]);
});

test("a GPU that the user may not open is named with the command that helps", () => {
  const gpuNodes = [{ path: "/dev/dri/renderD128", isAllowed: false }];
  expect(adviceFor({ driver: "lavapipe", machine: machine({ gpuNodes }), device: lavapipe })).toEqual([
    "/dev/dri/renderD128 is a GPU that this user may not open: `sudo usermod -aG render $USER`, then log in again",
  ]);
});

test("a GPU without a driver is told by the distribution's own command", () => {
  const gpuNodes = [{ path: "/dev/dri/renderD128", isAllowed: true }];
  for (const [distributions, command] of [
    [["linuxmint", "ubuntu", "debian"], "`sudo apt-get install mesa-vulkan-drivers libvulkan1`"],
    [["fedora"], "`sudo dnf install mesa-vulkan-drivers vulkan-loader`"],
    [["gentoo"], "install Mesa's Vulkan drivers and the Vulkan loader"],
  ] as const) {
    const [first] = adviceFor({ driver: "lavapipe", machine: machine({ gpuNodes, distributions }), device: lavapipe });
    expect(first).toStartWith("/dev/dri/renderD128 is a GPU, but no Vulkan driver for it starts");
    expect(first).toEndWith(command);
  }
});

test("an NVIDIA GPU in a container is told how the container must be started", () => {
  const gpuNodes = [{ path: "/dev/nvidiactl", isAllowed: true }];
  const [first] = adviceFor({
    driver: "lavapipe",
    machine: machine({ gpuNodes, isContainer: true }),
    device: lavapipe,
  });
  expect(first).toContain("`docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=all`");
});

test("SwiftShader is told of lavapipe, lavapipe is not", () => {
  const about = (kind: "software" | "lavapipe") =>
    adviceFor({ driver: "swiftshader", machine: machine(), device: { kind, hasSubgroups: true } }).join("\n");
  expect(about("software")).toContain("lavapipe is 4 to 10 times faster");
  expect(about("lavapipe")).not.toContain("faster");
});

test("no device at all says how to get one", () => {
  const advice = (driver: "system" | "none", more?: Partial<Machine>) =>
    adviceFor({ driver, machine: machine(more), device: undefined }).join("\n");
  expect(advice("none")).toContain("`sudo apt-get install mesa-vulkan-drivers libvulkan1`");
  expect(advice("none", { distributions: ["alpine"] })).toContain("GNU C library");
  expect(advice("system")).toContain("./graft");
});

test("the distribution and its ancestors are read from os-release", () => {
  expect(idsOf('NAME="Linux Mint"\nID=linuxmint\nID_LIKE="ubuntu debian"\nVERSION_ID="22"\n')).toEqual([
    "linuxmint",
    "ubuntu",
    "debian",
  ]);
  expect(idsOf("ID=debian\n")).toEqual(["debian"]);
});
