import { provideHttpClient } from "@angular/common/http";
import { bootstrapApplication } from "@angular/platform-browser";
import { provideRouter, withComponentInputBinding } from "@angular/router";
import { App } from "./app/app";
import { WalkList } from "./app/walk-list";
import { WalkPage } from "./app/walk-page";

bootstrapApplication(App, {
  providers: [
    provideHttpClient(),
    provideRouter(
      [
        { path: "", component: WalkList },
        { path: "walks/:id", component: WalkPage },
        { path: "**", redirectTo: "" },
      ],
      withComponentInputBinding(),
    ),
  ],
}).catch((error) => console.error(error));
