/** Lines over time or steps, drawn by uPlot; screen readers get the text and the table. */
import { useEffect, useRef, useState } from "hono/jsx/dom";
import uPlot from "uplot";
import { formatFigure } from "../format.ts";
import { spread } from "../job-figures.ts";
import { onColoursChange } from "../theme.ts";

export interface Line {
  readonly label: string;
  readonly values: readonly (number | null)[];
  readonly tone: "main" | "second" | "third";
  /** Few values with gaps between them: joined over the gaps, with a dot on each. */
  readonly isSparse?: boolean;
}

export interface LineChartProps {
  readonly title: string;
  readonly x: readonly number[];
  readonly lines: readonly Line[];
  readonly height: number;
  /** Of the numbers below the chart, and of the first column of the table. */
  readonly xLabel: string;
  readonly formatX?: (x: number) => string;
  readonly formatY?: (y: number | null) => string;
  /** Smallest range of y, so that noise around nothing looks like nothing. */
  readonly leastMax?: number;
  readonly hasTable?: boolean;
}

const TABLE_ROWS = 40;

export function LineChart(props: LineChartProps) {
  const { title, x, lines, height, xLabel, formatX = formatFigure, formatY = formatFigure, hasTable = false } = props;
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(null);
  const [cursor, setCursor] = useState<number | null>(null);
  const shape = lines.map(({ label, tone }) => label + tone).join();

  useEffect(() => {
    const { current } = box;
    if (!current) return;
    const made = new uPlot(optionsOf(props, current, setCursor), dataOf(props), current);
    plot.current = made;
    const resize = new ResizeObserver(() => made.setSize({ width: current.clientWidth, height }));
    resize.observe(current);
    const stop = onColoursChange(() => made.redraw());
    return () => {
      stop();
      resize.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [shape, height]);
  useEffect(() => plot.current?.setData(dataOf(props)), [x, ...lines.map(({ values }) => values)]);

  const shown = cursor !== null && cursor < x.length ? cursor : x.length - 1;
  const at = ({ values, isSparse }: Line) =>
    (cursor === null || isSparse ? lastKnown(values, shown) : values[shown]) ?? null;
  const summary = lines.map((line) => `${line.label}: ${formatY(lastKnown(line.values, x.length - 1))}`).join("; ");
  return (
    <figure class="chart">
      <figcaption>
        <b>{title}</b>
        <span class="legend" aria-hidden="true">
          {lines.map((line) => (
            <span key={line.label}>
              <i class={`key ${line.tone}`} /> {line.label} <output>{formatY(at(line))}</output>
            </span>
          ))}
          {cursor !== null && x[shown] !== undefined ? <span class="quiet">{formatX(x[shown])}</span> : null}
        </span>
      </figcaption>
      <div
        ref={box}
        class="plot"
        role="img"
        aria-label={`${title}, ${x.length} points. Latest: ${summary}`}
        style={{ height: `${height}px` }}
      />
      {hasTable && x.length > 0 ? (
        <details>
          <summary>{title} as a table</summary>
          <div class="scroll" tabindex={0} role="region" aria-label={`${title}, table`}>
            <table>
              <thead>
                <tr>
                  <th scope="col">{xLabel}</th>
                  {lines.map(({ label }) => (
                    <th key={label} scope="col" class="number">
                      {label}
                    </th>
                  ))}
                </tr>
              </thead>
              <tbody>
                {spread(x.length, TABLE_ROWS).map((row) => (
                  <tr key={row}>
                    <th scope="row">{formatX(x[row]!)}</th>
                    {lines.map(({ label, values }) => (
                      <td key={label} class="number">
                        {formatY(values[row] ?? null)}
                      </td>
                    ))}
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </details>
      ) : null}
    </figure>
  );
}

function dataOf({ x, lines }: LineChartProps): uPlot.AlignedData {
  return [x, ...lines.map(({ values }) => values)] as unknown as uPlot.AlignedData;
}

function lastKnown(values: readonly (number | null)[], from: number): number | null {
  for (let i = from; i >= 0; i--) if (values[i] !== null && values[i] !== undefined) return values[i]!;
  return null;
}

function optionsOf(
  { lines, height, formatX = formatFigure, formatY = formatFigure, leastMax }: LineChartProps,
  box: HTMLElement,
  onCursor: (index: number | null) => void,
): uPlot.Options {
  // Asked for at every drawing: the theme may have changed.
  const colour = (name: string) => () => getComputedStyle(box).getPropertyValue(`--plot-${name}`);
  const axis = { stroke: colour("ink"), grid: { stroke: colour("grid"), width: 1 }, ticks: { show: false } };
  const font = `12px ${getComputedStyle(box).fontFamily}`;
  return {
    width: box.clientWidth,
    height,
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
    scales: {
      x: { time: false },
      y: { range: (_, low, high) => rangeOf(low, high, leastMax) },
    },
    axes: [
      { ...axis, font, size: 26, gap: 4, space: 90, values: (_, ticks) => ticks.map(formatX) },
      { ...axis, font, size: 58, gap: 4, space: 32, values: (_, ticks) => ticks.map(formatY) },
    ],
    series: [
      {},
      ...lines.map(({ label, tone, isSparse = false }) => ({
        label,
        stroke: colour(tone),
        width: 2,
        spanGaps: isSparse,
        points: isSparse ? { show: true, size: 6, fill: colour(tone) } : { show: false },
      })),
    ],
    hooks: { setCursor: [({ cursor: { idx } }) => onCursor(idx ?? null)] },
  };
}

/** From nothing where `leastMax` says so, else a little beyond the values. */
function rangeOf(low: number | null, high: number | null, leastMax: number | undefined): [number, number] {
  if (leastMax !== undefined) return [0, Math.max(leastMax, (high ?? 0) * 1.1)];
  if (low === null || high === null) return [0, 1];
  const margin = (high - low) * 0.08 || Math.abs(high) * 0.1 || 1;
  return [low - margin, high + margin];
}
