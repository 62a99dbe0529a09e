/** Figures with their 95 % intervals on one axis: a dot, and a line where the true figure may be. The table beside it says the same. */
import { formatFigure, formatInterval } from "../format.ts";
import { axisOf, positionOn } from "../interval-axis.ts";

export interface IntervalRow {
  readonly key: string;
  readonly label: string;
  readonly value: number | null;
  readonly interval: readonly [number | null, number | null];
}

export function IntervalPlot({ title, rows }: { title: string; rows: readonly IntervalRow[] }) {
  const axis = axisOf(rows);
  if (!axis) return <p class="quiet">{title}: no figures to draw.</p>;
  return (
    <figure class="intervals">
      <figcaption>
        <b>{title}</b> <span class="quiet">dot: figure, line: 95 % interval</span>
      </figcaption>
      <div class="rows">
        {rows.map(({ key, label, value, interval: [low, high] }) => (
          <div key={key} class="row">
            <span class="label">{label}</span>
            <span class="track" role="img" aria-label={`${formatFigure(value)}, ${formatInterval([low, high])}`}>
              {low === null || high === null ? null : (
                <span
                  key="line"
                  class="line"
                  style={{
                    left: `${positionOn(axis, low)}%`,
                    width: `${positionOn(axis, high) - positionOn(axis, low)}%`,
                  }}
                />
              )}
              {value === null ? null : <span key="dot" class="dot" style={{ left: `${positionOn(axis, value)}%` }} />}
            </span>
            <span class="number">{formatFigure(value)}</span>
          </div>
        ))}
        <div class="row axis" aria-hidden="true">
          <span class="label" />
          <span class="track">
            <span>{formatFigure(axis.low)}</span>
            <span>{formatFigure(axis.high)}</span>
          </span>
          <span class="number" />
        </div>
      </div>
    </figure>
  );
}
