import { HttpClient } from "@angular/common/http";
import { computed, inject, Injectable, signal } from "@angular/core";
import { map } from "rxjs";
import { readWalks, type Walk } from "./walks";

/** The walks of the server and the visitor's own, and those that are chosen. */
@Injectable({ providedIn: "root" })
export class WalkStore {
  private readonly all = signal<Walk[] | undefined>(undefined);
  private readonly failure = signal<string | undefined>(undefined);
  private readonly chosen = signal<ReadonlySet<string>>(new Set());

  /** Undefined until the server has answered. */
  readonly walks = this.all.asReadonly();
  readonly error = this.failure.asReadonly();
  readonly plan = computed(() => (this.all() ?? []).filter((walk) => this.isChosen(walk.id)));

  constructor() {
    inject(HttpClient)
      .get<unknown>("/walks.json")
      .pipe(map(readWalks))
      .subscribe({
        next: (walks) => this.all.set(walks),
        error: (reason: Error) => this.failure.set(reason.message),
      });
  }

  isChosen(id: string): boolean {
    return this.chosen().has(id);
  }

  toggle(id: string): void {
    this.chosen.update((before) => {
      const after = new Set(before);
      if (!after.delete(id)) after.add(id);
      return after;
    });
  }

  add(walk: Walk): void {
    this.all.update((walks) => [...(walks ?? []), walk]);
    this.toggle(walk.id);
  }
}
