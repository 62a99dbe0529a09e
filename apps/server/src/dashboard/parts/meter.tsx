/** How full something is. */
import type { Child } from "hono/jsx/dom";

export interface Share {
  readonly label: string;
  readonly value: number;
  readonly tone: "main" | "second" | "third";
}

/** Shares of a whole as one bar, with what each is in words below. */
export function ShareMeter({
  label,
  shares,
  total,
  format,
  restLabel = "free",
}: {
  label: string;
  shares: readonly Share[];
  total: number;
  format: (value: number) => string;
  restLabel?: string;
}) {
  const rest = total - shares.reduce((sum, { value }) => sum + value, 0);
  return (
    <div class="meter">
      <div class="bar" aria-hidden="true">
        {shares.map((share) => (
          <span key={share.label} class={share.tone} style={{ width: `${percent(share.value, total)}%` }} />
        ))}
      </div>
      <ul aria-label={label}>
        {shares.map((share) => (
          <li key={share.label}>
            <i class={`key ${share.tone}`} aria-hidden="true" /> {format(share.value)} {share.label}
          </li>
        ))}
        {rest > 0 ? (
          <li key="rest">
            <i class="key" aria-hidden="true" /> {format(rest)} {restLabel}
          </li>
        ) : null}
      </ul>
    </div>
  );
}

/** A bar from nothing to done; without `value` it is not known how far. */
export function Progress({ label, value, children }: { label: string; value: number | undefined; children?: Child }) {
  return (
    <div class="progress">
      <progress aria-label={label} max={1} value={value ?? 0} />
      <span>{children}</span>
    </div>
  );
}

function percent(part: number, whole: number): number {
  return whole > 0 ? Math.min(100, (100 * part) / whole) : 0;
}
