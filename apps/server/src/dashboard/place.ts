/** Where in the dashboard one is: the part of the address after #. */

export const sections = ["overview", "adapters", "jobs", "playground", "evals"] as const;
export type Section = (typeof sections)[number];

export interface Place {
  readonly section: Section;
  /** What of the section is shown alone: a job, a run. */
  readonly id: string | undefined;
  readonly query: Readonly<Record<string, string>>;
}

/** "#/jobs/ftjob-1?x=y". Whatever is no place is the overview. */
export function placeOf(hash: string): Place {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [name, ...rest] = path.split("/");
  const section = sections.find((one) => one === name);
  const id = decoded(rest.join("/"));
  return {
    section: section ?? "overview",
    id: section === undefined || id === "" ? undefined : id,
    query: Object.fromEntries(new URLSearchParams(query)),
  };
}

/** The link to a place. */
export function hrefOf(section: Section, id?: string, query: Readonly<Record<string, string>> = {}): string {
  const search = new URLSearchParams(query).toString();
  return `#/${section}${id === undefined ? "" : `/${encodeURIComponent(id)}`}${search === "" ? "" : `?${search}`}`;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
