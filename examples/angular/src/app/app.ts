import { Component, inject } from "@angular/core";
import { RouterOutlet } from "@angular/router";
import { WalkStore } from "./walk-store";

@Component({
  selector: "app-root",
  imports: [RouterOutlet],
  template: `
    <header>
      <img src="mountain.svg" alt="" width="48" height="48" />
      <div>
        <h1>Weekend walks</h1>
        <p>Choose some, add your own, see how long they take.</p>
      </div>
    </header>
    <main>
      @if (store.error(); as error) {
        <p role="alert">The walks could not be loaded: {{ error }}.</p>
      } @else if (store.walks()) {
        <router-outlet />
      } @else {
        <p role="status">Loading …</p>
      }
    </main>
  `,
})
export class App {
  protected readonly store = inject(WalkStore);
}
