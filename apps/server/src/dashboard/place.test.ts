import { expect, test } from "bun:test";
import { hrefOf, placeOf, sections } from "./place.ts";

test("every place comes back from its link", () => {
  for (const section of sections)
    for (const id of [undefined, "ftjob-1", "a/b?c#d %", "<b>"])
      for (const query of [{}, { model: "ft:base:graft::1&2?=" }])
        expect(placeOf(hrefOf(section, id, query))).toEqual({ section, id, query });
});

test("what is no place is the overview", () => {
  for (const hash of ["", "#", "#/", "#/nowhere/x", "#main"])
    expect(placeOf(hash)).toEqual({ section: "overview", id: undefined, query: {} });
  expect(placeOf("#/jobs/%E0%A4%A").id).toBe("%E0%A4%A");
});
