// The back's API. Every function rejects with an Error whose message can be shown.

async function ask(path, method = "GET", body) {
  const response = await fetch(`/api/todos${path}`, {
    method,
    headers: body && { "Content-Type": "application/json" },
    body: body && JSON.stringify(body),
  });
  if (response.ok) {
    return response.status === 204 ? null : response.json();
  }
  const told = await response.json().catch(() => ({}));
  throw new Error(told.error ?? `the server answers ${response.status}`);
}

export const list = () => ask("");
export const add = (title) => ask("", "POST", { title });
export const setDone = (id, done) => ask(`/${id}`, "PATCH", { done });
export const remove = (id) => ask(`/${id}`, "DELETE");
