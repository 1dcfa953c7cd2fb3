import { useEffect, useState } from "react";
import * as api from "./api.js";

export default function App() {
  const [todos, setTodos] = useState(null);
  const [title, setTitle] = useState("");
  const [error, setError] = useState("");

  useEffect(() => {
    attempt(async () => setTodos(await api.list()));
  }, []);

  async function attempt(action) {
    try {
      await action();
      setError("");
    } catch (failure) {
      setError(failure.message);
    }
  }

  function add(event) {
    event.preventDefault();
    attempt(async () => {
      const added = await api.add(title);
      setTodos((before) => [...(before ?? []), added]);
      setTitle("");
    });
  }

  const tick = (todo) =>
    attempt(async () => {
      const changed = await api.setDone(todo.id, !todo.done);
      setTodos((before) => before.map((one) => (one.id === changed.id ? changed : one)));
    });

  const remove = (todo) =>
    attempt(async () => {
      await api.remove(todo.id);
      setTodos((before) => before.filter((one) => one.id !== todo.id));
    });

  return (
    <main>
      <h1>To do</h1>
      <form onSubmit={add}>
        <input
          aria-label="What is to be done"
          name="title"
          value={title}
          maxLength={200}
          onChange={(event) => setTitle(event.target.value)}
        />
        <button disabled={!title.trim()}>Add</button>
      </form>
      {error && <p role="alert">{error}</p>}
      {todos?.length === 0 && <p>Nothing is left to do.</p>}
      <ul>
        {todos?.map((todo) => (
          <li key={todo.id}>
            <label className={todo.done ? "done" : ""}>
              <input type="checkbox" checked={todo.done} onChange={() => tick(todo)} />
              {todo.title}
            </label>
            <button aria-label={`Remove ${todo.title}`} onClick={() => remove(todo)}>
              ×
            </button>
          </li>
        ))}
      </ul>
    </main>
  );
}
