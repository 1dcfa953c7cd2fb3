import { useEffect, useState } from "react";
import mountain from "./mountain.svg";
import { usePath } from "./usePath";
import { WalkForm } from "./WalkForm";
import { WalkList } from "./WalkList";
import { WalkPage } from "./WalkPage";
import { loadWalks, type Walk } from "./walks";

export function App() {
  const [walks, setWalks] = useState<Walk[]>();
  const [error, setError] = useState<string>();
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const [path, goTo] = usePath();

  useEffect(() => {
    const abort = new AbortController();
    loadWalks(abort.signal)
      .then(setWalks)
      .catch((reason: Error) => {
        if (!abort.signal.aborted) setError(reason.message);
      });
    return () => abort.abort();
  }, []);

  const toggle = (id: string) => {
    const next = new Set(chosen);
    if (!next.delete(id)) next.add(id);
    setChosen(next);
  };

  const add = (walk: Walk) => {
    setWalks([...(walks ?? []), walk]);
    setChosen(new Set(chosen).add(walk.id));
  };

  const detail = path.match(/^\/walks\/([^/]+)$/)?.[1];
  return (
    <>
      <header>
        <img src={mountain} alt="" width="48" height="48" />
        <div>
          <h1>Weekend walks</h1>
          <p>Choose some, add your own, see how long they take.</p>
        </div>
      </header>
      <main>
        {error && <p role="alert">The walks could not be loaded: {error}.</p>}
        {!error && !walks && <p role="status">Loading …</p>}
        {walks && detail && <WalkPage walk={walks.find((walk) => walk.id === detail)} goTo={goTo} />}
        {walks && !detail && (
          <>
            <WalkList walks={walks} chosen={chosen} toggle={toggle} goTo={goTo} />
            <WalkForm add={add} />
          </>
        )}
      </main>
    </>
  );
}
