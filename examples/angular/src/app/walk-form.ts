import { Component, inject, output } from "@angular/core";
import { FormBuilder, ReactiveFormsModule, Validators } from "@angular/forms";
import type { Walk } from "./walks";

@Component({
  selector: "app-walk-form",
  imports: [ReactiveFormsModule],
  template: `
    <form [formGroup]="form" (ngSubmit)="submit()">
      <h2>A walk of your own</h2>
      <label class="wide">
        Name
        <input type="text" formControlName="name" maxlength="60" placeholder="Castle and back" />
      </label>
      <label>
        Kilometres
        <input type="number" formControlName="km" step="0.1" placeholder="7.5" />
      </label>
      <label>
        Metres uphill
        <input type="number" formControlName="climb" placeholder="250" />
      </label>
      <button [disabled]="form.invalid">Add</button>
    </form>
  `,
})
export class WalkForm {
  readonly added = output<Walk>();

  private readonly builder = inject(FormBuilder);
  protected readonly form = this.builder.group({
    name: this.builder.nonNullable.control("", [Validators.required, Validators.pattern(/\S/)]),
    km: this.builder.control<number | null>(null, [
      Validators.required,
      Validators.min(0.1),
      Validators.max(100),
    ]),
    climb: this.builder.control<number | null>(null, [
      Validators.required,
      Validators.min(0),
      Validators.max(5000),
    ]),
  });

  protected submit(): void {
    const { name, km, climb } = this.form.getRawValue();
    if (this.form.invalid || km === null || climb === null) return;
    this.added.emit({ id: `own-${Date.now()}`, name: name.trim(), km, climb });
    this.form.reset();
  }
}
