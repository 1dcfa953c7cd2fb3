import { Component, computed, inject, input } from "@angular/core";
import { RouterLink } from "@angular/router";
import { DurationPipe } from "./duration-pipe";
import { WalkStore } from "./walk-store";

@Component({
  selector: "app-walk-page",
  imports: [DurationPipe, RouterLink],
  template: `
    <article>
      @if (walk(); as walk) {
        <h2>{{ walk.name }}</h2>
        <dl>
          <dt>Length</dt>
          <dd>{{ walk.km }} km</dd>
          <dt>Uphill</dt>
          <dd>{{ walk.climb }} m</dd>
          <dt>Time</dt>
          <dd>{{ walk | duration }}</dd>
        </dl>
        @if (walk.note) {
          <p>{{ walk.note }}</p>
        }
      } @else {
        <h2>There is no such walk</h2>
      }
      <a routerLink="/">← All walks</a>
    </article>
  `,
})
export class WalkPage {
  private readonly store = inject(WalkStore);

  /** From the route. */
  readonly id = input.required<string>();
  protected readonly walk = computed(() => this.store.walks()?.find((walk) => walk.id === this.id()));
}
