/** The files of a study, all made of the same results. */
import { writeFileAtomic } from "@graft/core/io";
import { join } from "node:path";
import { type Picture, studyPictures } from "./pictures.ts";
import type { StudyResults } from "./results.ts";
import { markdownOf, type StudyTable, studyTables } from "./tables.ts";

/** results.json, table.md, an SVG for each picture, and study.html with all of it. Returns what table.md holds. */
export async function writeStudy(folder: string, results: StudyResults): Promise<string> {
  const tables = studyTables(results);
  const pictures = await studyPictures(results);
  const markdown = markdownOf(tables);
  writeFileAtomic(join(folder, "results.json"), [`${JSON.stringify(results, null, 2)}\n`]);
  writeFileAtomic(join(folder, "table.md"), [`${markdown}\n`]);
  for (const { name, svg } of pictures) writeFileAtomic(join(folder, `${name}.svg`), [svg]);
  writeFileAtomic(join(folder, "study.html"), [pageOf(results, tables, pictures)]);
  return markdown;
}

/** One page that needs nothing else. */
export function pageOf(
  { name, description }: StudyResults,
  tables: readonly StudyTable[],
  pictures: readonly Picture[],
): string {
  const figures = pictures.map(({ title, svg }) => `<figure role="img" aria-label="${escape(title)}">${svg}</figure>`);
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escape(name)}</title>
<style>
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
.wide { overflow-x: auto; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent); }
td { font-variant-numeric: tabular-nums; }
figure { background: #fff; margin: 1rem 0; padding: .5rem; overflow-x: auto; }
</style>
<main>
<h1>${escape(name)}</h1>
<p>${escape(description)}</p>
${figures.join("\n")}
${tables.map(section).join("\n")}
</main>
</html>
`;
}

const escape = (text: string): string => Bun.escapeHTML(text);

function section({ title, heads, rows, notes }: StudyTable): string {
  const head = heads.map((text) => `<th scope="col">${escape(text)}</th>`).join("");
  const body = rows.map((row) => `<tr>${row.map((text) => `<td>${cellOf(text)}</td>`).join("")}</tr>`).join("\n");
  return `<h2>${escape(title)}</h2>
<div class="wide"><table><thead><tr>${head}</tr></thead><tbody>${body}</tbody></table></div>
${notes.map((note) => `<p>${escape(note)}</p>`).join("\n")}`;
}

/** Tables say bold as Markdown does. */
function cellOf(text: string): string {
  const inside = /^\*\*(.*)\*\*$/.exec(text)?.[1];
  return inside === undefined ? escape(text) : `<strong>${escape(inside)}</strong>`;
}
