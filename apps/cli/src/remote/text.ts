/** What a server says, as a person reads it. */

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** 16.0 MiB; a dash for what is not known. */
export function bytesText(bytes: number | null): string {
  if (bytes === null) return "-";
  const power = bytes < 1024 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(bytes) / 10));
  return `${(bytes / 1024 ** power).toFixed(power === 0 ? 0 : 1)} ${UNITS[power]!}`;
}

/** 12 s, 3 min 20 s, 2 h 5 min, 4 d 1 h. */
export function secondsText(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86_400)} d ${Math.floor((whole % 86_400) / 3600)} h`;
}

/** 2025-01-31 23:59:59, UTC. */
export const whenText = (unixSeconds: number): string =>
  new Date(1000 * unixSeconds).toISOString().replace("T", " ").slice(0, 19);

export const countText = (count: number): string => count.toLocaleString("en");
