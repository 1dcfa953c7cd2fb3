import { Component, computed, inject } from "@angular/core";
import { RouterLink } from "@angular/router";
import { DurationPipe } from "./duration-pipe";
import { WalkForm } from "./walk-form";
import { WalkStore } from "./walk-store";
import { summary } from "./walks";

@Component({
  selector: "app-walk-list",
  imports: [DurationPipe, RouterLink, WalkForm],
  template: `
    <section aria-label="Walks">
      <ul class="walks">
        @for (walk of store.walks(); track walk.id) {
          <li [class.chosen]="store.isChosen(walk.id)">
            <input
              type="checkbox"
              [attr.aria-label]="'Plan ' + walk.name"
              [checked]="store.isChosen(walk.id)"
              (change)="store.toggle(walk.id)"
            />
            <a [routerLink]="['/walks', walk.id]">{{ walk.name }}</a>
            <span class="facts">{{ walk.km }} km · {{ walk.climb }} m up · {{ walk | duration }}</span>
          </li>
        }
      </ul>
      <output class="plan">{{ plan() }}</output>
    </section>
    <app-walk-form (added)="store.add($event)" />
  `,
})
export class WalkList {
  protected readonly store = inject(WalkStore);
  protected readonly plan = computed(() => {
    const plan = this.store.plan();
    return plan.length ? summary(plan) : "Nothing planned yet.";
  });
}
