import { useState, type FormEvent } from "react";
import type { Walk } from "./walks";

const empty = { name: "", km: "", climb: "" };

export function WalkForm({ add }: { add: (walk: Walk) => void }) {
  const [fields, setFields] = useState(empty);

  const field = (key: keyof typeof empty) => ({
    value: fields[key],
    onChange: (event: { target: HTMLInputElement }) => setFields({ ...fields, [key]: event.target.value }),
    required: true,
  });

  // The browser has checked the fields by their attributes before this is called.
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const name = fields.name.trim();
    if (!name) return;
    add({ id: `own-${Date.now()}`, name, km: Number(fields.km), climb: Number(fields.climb) });
    setFields(empty);
  };

  return (
    <form onSubmit={submit}>
      <h2>A walk of your own</h2>
      <label className="wide">
        Name
        <input type="text" maxLength={60} placeholder="Castle and back" {...field("name")} />
      </label>
      <label>
        Kilometres
        <input type="number" min="0.1" max="100" step="0.1" placeholder="7.5" {...field("km")} />
      </label>
      <label>
        Metres uphill
        <input type="number" min="0" max="5000" step="1" placeholder="250" {...field("climb")} />
      </label>
      <button>Add</button>
    </form>
  );
}
