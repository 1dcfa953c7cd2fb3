import { Link } from "./Link";
import { duration, minutes, summary, type Walk } from "./walks";

interface Props {
  walks: Walk[];
  chosen: ReadonlySet<string>;
  toggle: (id: string) => void;
  goTo: (path: string) => void;
}

export function WalkList({ walks, chosen, toggle, goTo }: Props) {
  const plan = walks.filter((walk) => chosen.has(walk.id));
  return (
    <section aria-label="Walks">
      <ul className="walks">
        {walks.map((walk) => (
          <li key={walk.id} className={chosen.has(walk.id) ? "chosen" : undefined}>
            <input
              type="checkbox"
              aria-label={`Plan ${walk.name}`}
              checked={chosen.has(walk.id)}
              onChange={() => toggle(walk.id)}
            />
            <Link to={`/walks/${walk.id}`} goTo={goTo}>
              {walk.name}
            </Link>
            <span className="facts">
              {walk.km} km · {walk.climb} m up · {duration(minutes(walk))}
            </span>
          </li>
        ))}
      </ul>
      <output className="plan">{plan.length ? summary(plan) : "Nothing planned yet."}</output>
    </section>
  );
}
