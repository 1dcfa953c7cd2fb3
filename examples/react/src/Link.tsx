import type { MouseEvent, ReactNode } from "react";

interface Props {
  to: string;
  goTo: (path: string) => void;
  children: ReactNode;
}

/** A link within the page; with a modifier key it opens a tab or window as any other link does. */
export function Link({ to, goTo, children }: Props) {
  const follow = (event: MouseEvent) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    goTo(to);
  };
  return (
    <a href={to} onClick={follow}>
      {children}
    </a>
  );
}
