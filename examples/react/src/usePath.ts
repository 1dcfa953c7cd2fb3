import { useEffect, useState } from "react";

/** The path of the page's address, and a function that goes to another one without loading the page again. */
export function usePath(): [string, (path: string) => void] {
  const [path, setPath] = useState(location.pathname);

  useEffect(() => {
    const follow = () => setPath(location.pathname);
    addEventListener("popstate", follow);
    return () => removeEventListener("popstate", follow);
  }, []);

  const goTo = (next: string) => {
    history.pushState(null, "", next);
    setPath(next);
  };
  return [path, goTo];
}
