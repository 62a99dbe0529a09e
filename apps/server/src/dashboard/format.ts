/** Numbers, sizes and times as the page writes them. What is not known is "–". */

const NOTHING = "–";
const whole = new Intl.NumberFormat("en-GB");
const dateAndTime = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

type Maybe = number | null | undefined;

function isKnown(x: Maybe): x is number {
  return x !== null && x !== undefined && Number.isFinite(x);
}

/** 1536 as "1.5 KiB". */
export function formatBytes(bytes: Maybe): string {
  if (!isKnown(bytes)) return NOTHING;
  const power = Math.min(UNITS.length - 1, Math.floor(Math.log2(Math.max(1, Math.abs(bytes))) / 10));
  const value = bytes / 2 ** (10 * power);
  return `${power === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[power]}`;
}

/** 12345 as "12,345". */
export function formatCount(n: Maybe): string {
  return isKnown(n) ? whole.format(Math.round(n)) : NOTHING;
}

/** Tokens per second: one decimal below 100. */
export function formatRate(perSecond: Maybe): string {
  if (!isKnown(perSecond)) return NOTHING;
  return perSecond < 100 ? perSecond.toFixed(1) : whole.format(Math.round(perSecond));
}

/** Four significant digits, of very small and very large numbers with an exponent. */
export function formatFigure(x: Maybe): string {
  if (!isKnown(x)) return NOTHING;
  if (x === 0) return "0";
  const size = Math.abs(x);
  return size < 1e-3 || size >= 1e6 ? x.toExponential(2) : String(Number(x.toPrecision(4)));
}

/** "0.71 to 0.75". */
export function formatInterval([low, high]: readonly [Maybe, Maybe]): string {
  return isKnown(low) && isKnown(high) ? `${formatFigure(low)} to ${formatFigure(high)}` : NOTHING;
}

/** 200 as "3 min 20 s". */
export function formatDuration(seconds: Maybe): string {
  if (!isKnown(seconds)) return NOTHING;
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

/** Date and time in the reader's time zone. */
export function formatTime(unixSeconds: Maybe): string {
  return isKnown(unixSeconds) ? dateAndTime.format(unixSeconds * 1000) : NOTHING;
}

/** "3 min ago". */
export function formatAge(unixSeconds: Maybe, nowMs: number): string {
  if (!isKnown(unixSeconds)) return NOTHING;
  const seconds = nowMs / 1000 - unixSeconds;
  if (seconds < 5) return "just now";
  return `${formatDuration(seconds).split(" ").slice(0, 2).join(" ")} ago`;
}

/** The first `length` digits of a hash. */
export function formatHash(hash: string, length = 12): string {
  return hash.slice(0, length);
}
