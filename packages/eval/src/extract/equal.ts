/**
 * |a - b| <= max(0.001 min(1, m), 0.000001 m), m the larger magnitude: the paper's 0.001 between 1 and 1000, a thousandth of numbers
 * below 1 (0 is not 0.0005), a millionth of numbers beyond 1000. False where either is no number, "" included.
 */
export function equalFixed(a: string, b: string): boolean {
  if (a.trim() === "" || b.trim() === "") return false;
  const [x, y] = [Number(a), Number(b)];
  if (!Number.isFinite(x) || !Number.isFinite(y)) return false;
  const magnitude = Math.max(Math.abs(x), Math.abs(y));
  return Math.abs(x - y) <= Math.max(1e-3 * Math.min(1, magnitude), 1e-6 * magnitude);
}
