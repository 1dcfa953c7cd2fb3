export interface Walk {
  id: string;
  name: string;
  km: number;
  /** Metres uphill. */
  climb: number;
  note?: string;
}

/** Naismith's rule: 5 km an hour, and an hour more for each 600 m uphill. */
export function minutes({ km, climb }: Pick<Walk, "km" | "climb">): number {
  return (km / 5 + climb / 600) * 60;
}

export function duration(total: number): string {
  const rounded = Math.round(total / 5) * 5;
  const hours = Math.floor(rounded / 60);
  const rest = rounded % 60;
  return [hours && `${hours} h`, (rest || !hours) && `${rest} min`].filter(Boolean).join(" ");
}

export function summary(walks: Walk[]): string {
  const km = walks.reduce((sum, walk) => sum + walk.km, 0);
  const climb = walks.reduce((sum, walk) => sum + walk.climb, 0);
  const count = walks.length === 1 ? "1 walk" : `${walks.length} walks`;
  return `${count}, ${km.toFixed(1)} km, ${climb} m up, about ${duration(minutes({ km, climb }))}`;
}

/** The walks of a JSON document; throws where it is something else. */
export function readWalks(document: unknown): Walk[] {
  if (!Array.isArray(document) || !document.every(isWalk)) {
    throw new Error("walks.json is not a list of walks");
  }
  return document;
}

function isWalk(value: unknown): value is Walk {
  const walk = value as Walk | null;
  return (
    typeof walk?.id === "string" &&
    typeof walk.name === "string" &&
    typeof walk.km === "number" &&
    typeof walk.climb === "number"
  );
}
