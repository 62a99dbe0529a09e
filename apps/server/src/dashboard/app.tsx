/** The frame: header, sections, the dialog for the key, what was done last. */
import { ErrorBoundary, useEffect, useRef, useState } from "hono/jsx/dom";
import { announce, announcement } from "./announcer.ts";
import { AdaptersPage } from "./pages/adapters-page.tsx";
import { EvalsPage } from "./pages/evals-page.tsx";
import { JobPage } from "./pages/job-page.tsx";
import { JobsPage } from "./pages/jobs-page.tsx";
import { OverviewPage } from "./pages/overview-page.tsx";
import { PlaygroundPage } from "./pages/playground-page.tsx";
import { RunPage } from "./pages/run-page.tsx";
import { KeyDialog } from "./parts/key-dialog.tsx";
import { hrefOf, type Place, placeOf, sections, type Section } from "./place.ts";
import { isKeyWanted } from "./session.ts";
import { feed } from "./status-feed.ts";
import { nextTheme, theme } from "./theme.ts";
import { useStore } from "./value-store.ts";

const TITLES: Readonly<Record<Section, string>> = {
  overview: "Overview",
  adapters: "Adapters",
  jobs: "Jobs",
  playground: "Playground",
  evals: "Evals",
};

export function App() {
  const [place, setPlace] = useState(() => placeOf(location.hash));
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    const onHash = (): void => {
      setPlace(placeOf(location.hash));
      scrollTo(0, 0);
      // A link was followed: who cannot see that the page is another one hears its heading.
      requestAnimationFrame(() => heading.current?.focus());
    };
    addEventListener("hashchange", onHash);
    return () => removeEventListener("hashchange", onHash);
  }, []);
  const title = place.id === undefined ? TITLES[place.section] : `${TITLES[place.section]}: ${place.id}`;
  useEffect(() => {
    document.title = `${title} · Graft`;
  }, [title]);
  const skip = (event: Event): void => {
    event.preventDefault();
    heading.current?.focus();
  };
  return (
    <>
      <a class="skip" href="#main" onClick={skip}>
        Skip to content
      </a>
      <Header section={place.section} />
      <main id="main">
        <h1 ref={heading} tabindex={-1}>
          {title}
        </h1>
        <ErrorBoundary key={location.hash} fallbackRender={(error: Error) => <Broken error={error} />}>
          <Page place={place} />
        </ErrorBoundary>
      </main>
      <Announcement />
      <Key />
    </>
  );
}

function Page({ place: { section, id, query } }: { place: Place }) {
  switch (section) {
    case "overview":
      return <OverviewPage />;
    case "adapters":
      return <AdaptersPage />;
    case "jobs":
      return id === undefined ? <JobsPage /> : <JobPage key={id} id={id} />;
    case "playground":
      return <PlaygroundPage models={[query["a"], query["b"]]} />;
    case "evals":
      return id === undefined ? <EvalsPage /> : <RunPage key={id} id={id} />;
    default:
      return section satisfies never;
  }
}

function Header({ section }: { section: Section }) {
  const chosen = useStore(theme);
  return (
    <header>
      <a class="brand" href={hrefOf("overview")}>
        <img src="/favicon.svg" alt="" width={24} height={24} /> Graft
      </a>
      <nav aria-label="Sections">
        {sections.map((one) => (
          <a key={one} href={hrefOf(one)} aria-current={one === section ? "page" : undefined}>
            {TITLES[one]}
          </a>
        ))}
      </nav>
      <div class="tools">
        <Health />
        <button type="button" class="small" onClick={() => isKeyWanted.set(true)}>
          API key
        </button>
        <button type="button" class="small" onClick={() => theme.set(nextTheme(chosen))}>
          Theme: {chosen}
        </button>
      </div>
    </header>
  );
}

function Health() {
  const { status, error } = useStore(feed);
  const [tone, text] = error
    ? ["bad", "no answer"]
    : status === undefined
      ? ["", "connecting"]
      : status.engine
        ? ["good", "ready"]
        : ["bad", "engine restarting"];
  return (
    <span class={`badge ${tone}`} role="status">
      {text}
    </span>
  );
}

function Announcement() {
  const { text } = useStore(announcement);
  return (
    <div class={text === "" ? "toast empty" : "toast"}>
      <span role="status">{text}</span>
      {text === "" ? null : (
        <button type="button" class="small" aria-label="Dismiss" onClick={() => announce("")}>
          ✕
        </button>
      )}
    </div>
  );
}

function Key() {
  return useStore(isKeyWanted) ? <KeyDialog /> : null;
}

function Broken({ error }: { error: Error }) {
  return (
    <div class="notice error" role="alert">
      This page failed: {error.message}. Reload it; if that does not help, please report it.
    </div>
  );
}
