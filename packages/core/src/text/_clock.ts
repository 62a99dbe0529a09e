/** Python's `strftime` for the directives that chat templates use, in English and local time. */

const months = [
  "January",
  "February",
  "March",
  "April",
  "May",
  "June",
  "July",
  "August",
  "September",
  "October",
  "November",
  "December",
];
const days = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const two = (n: number): string => String(n).padStart(2, "0");

const directives: Readonly<Record<string, (date: Date) => string>> = {
  "%": () => "%",
  A: (d) => days[d.getDay()]!,
  a: (d) => days[d.getDay()]!.slice(0, 3),
  B: (d) => months[d.getMonth()]!,
  b: (d) => months[d.getMonth()]!.slice(0, 3),
  d: (d) => two(d.getDate()),
  H: (d) => two(d.getHours()),
  I: (d) => two(d.getHours() % 12 || 12),
  j: (d) => String(dayOfYear(d)).padStart(3, "0"),
  M: (d) => two(d.getMinutes()),
  m: (d) => two(d.getMonth() + 1),
  p: (d) => (d.getHours() < 12 ? "AM" : "PM"),
  S: (d) => two(d.getSeconds()),
  Y: (d) => String(d.getFullYear()),
  y: (d) => two(d.getFullYear() % 100),
};

/** Directives that are not known stay as they are. */
export function strftime(date: Date, format: string): string {
  return format.replace(/%(.)/g, (whole, letter: string) => directives[letter]?.(date) ?? whole);
}

function dayOfYear(date: Date): number {
  const day = Date.UTC(date.getFullYear(), date.getMonth(), date.getDate());
  return (day - Date.UTC(date.getFullYear(), 0, 0)) / 86_400_000;
}
