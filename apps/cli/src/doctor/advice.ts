/** What a person could do for a faster or a working device, as commands to type. */
import type { DriverKind, Machine } from "./machine.ts";

export interface Findings {
  readonly driver: DriverKind;
  readonly machine: Machine;
  /** What WebGPU opened; undefined if nothing. */
  readonly device: { readonly kind: "gpu" | "lavapipe" | "software"; readonly hasSubgroups: boolean } | undefined;
}

/** Most useful first; empty if nothing is to be done. */
export function adviceFor({ driver, machine, device }: Findings): string[] {
  if (device?.kind === "gpu") return subgroupAdvice(device.hasSubgroups);
  const advice = gpuAdvice(machine);
  if (!device) advice.push(...softwareAdvice(machine, driver));
  else if (device.kind === "software")
    advice.push(
      `Mesa's lavapipe is 4 to 10 times faster than this software driver${install(machine, "mesa")}; then run graft doctor again`,
    );
  if (driver === "environment" && (device?.kind !== "lavapipe" || machine.gpuNodes.length > 0))
    advice.push(
      "the driver is the one that VK_DRIVER_FILES or VK_ICD_FILENAMES names; unset both to let graft look for one",
    );
  return [...advice, ...subgroupAdvice(device?.hasSubgroups ?? true)];
}

function subgroupAdvice(hasSubgroups: boolean): string[] {
  if (hasSubgroups) return [];
  return ["the driver has no subgroups, so matrix products take a slower path; a newer driver may have them"];
}

/** Why a GPU that the machine has is not the one in use. */
function gpuAdvice(machine: Machine): string[] {
  const { gpuNodes, isContainer } = machine;
  if (gpuNodes.length === 0) {
    return isContainer
      ? [
          "no GPU is passed into this container: start it with `docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=all` (NVIDIA) or `--device /dev/dri` (AMD, Intel)",
        ]
      : ["this machine has no GPU that its kernel knows of; graft runs on the CPU"];
  }
  return gpuNodes.map(({ path, isAllowed }) => {
    if (!isAllowed)
      return path.startsWith("/dev/dri")
        ? `${path} is a GPU that this user may not open: \`sudo usermod -aG render $USER\`, then log in again`
        : `${path} is a GPU that this user may not open: ask who runs this machine for read and write access to it`;
    if (path === "/dev/nvidiactl")
      return isContainer
        ? "there is an NVIDIA GPU, but no Vulkan driver in this container: start it with `docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=all`"
        : `there is an NVIDIA GPU, but its Vulkan driver does not start; \`nvidia-smi\` says whether the driver works${install(machine, "loader")}`;
    if (path === "/dev/dxg")
      return `there is a GPU of the Windows host, but no Vulkan driver that reaches it${install(machine, "mesa")}`;
    return `${path} is a GPU, but no Vulkan driver for it starts${install(machine, "mesa")}`;
  });
}

function softwareAdvice(machine: Machine, driver: DriverKind): string[] {
  if (driver === "system" && machine.distributions[0] !== "darwin" && machine.distributions[0] !== "win32")
    return ["start graft by ./graft, which provides a software driver where there is none"];
  if (machine.distributions.includes("alpine"))
    return [
      "WebGPU's binding for Linux needs the GNU C library, which Alpine has not: use a Debian or Ubuntu container",
    ];
  return [`no software driver could be provided${install(machine, "mesa")}; then run graft doctor again`];
}

const PACKAGES: Readonly<Record<string, { readonly command: string; readonly mesa: string; readonly loader: string }>> =
  {
    debian: { command: "sudo apt-get install", mesa: "mesa-vulkan-drivers libvulkan1", loader: "libvulkan1" },
    ubuntu: { command: "sudo apt-get install", mesa: "mesa-vulkan-drivers libvulkan1", loader: "libvulkan1" },
    fedora: { command: "sudo dnf install", mesa: "mesa-vulkan-drivers vulkan-loader", loader: "vulkan-loader" },
    rhel: { command: "sudo dnf install", mesa: "mesa-vulkan-drivers vulkan-loader", loader: "vulkan-loader" },
    arch: { command: "sudo pacman -S", mesa: "vulkan-swrast vulkan-icd-loader", loader: "vulkan-icd-loader" },
    suse: { command: "sudo zypper install", mesa: "libvulkan_lvp libvulkan1", loader: "libvulkan1" },
  };

/** `: COMMAND` for the distribution's package, or words where it is not known. */
function install(machine: Machine, what: "mesa" | "loader"): string {
  const known = machine.distributions.map((name) => PACKAGES[name]).find(Boolean);
  if (known) return `: \`${known.command} ${known[what]}\``;
  return what === "mesa" ? "; install Mesa's Vulkan drivers and the Vulkan loader" : "; install the Vulkan loader";
}
