import { Link } from "./Link";
import { duration, minutes, type Walk } from "./walks";

interface Props {
  walk: Walk | undefined;
  goTo: (path: string) => void;
}

export function WalkPage({ walk, goTo }: Props) {
  return (
    <article>
      {walk ? (
        <>
          <h2>{walk.name}</h2>
          <dl>
            <dt>Length</dt>
            <dd>{walk.km} km</dd>
            <dt>Uphill</dt>
            <dd>{walk.climb} m</dd>
            <dt>Time</dt>
            <dd>{duration(minutes(walk))}</dd>
          </dl>
          {walk.note && <p>{walk.note}</p>}
        </>
      ) : (
        <h2>There is no such walk</h2>
      )}
      <Link to="/" goTo={goTo}>
        ← All walks
      </Link>
    </article>
  );
}
