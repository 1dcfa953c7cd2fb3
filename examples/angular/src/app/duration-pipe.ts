import { Pipe, type PipeTransform } from "@angular/core";
import { duration, minutes, type Walk } from "./walks";

@Pipe({ name: "duration" })
export class DurationPipe implements PipeTransform {
  transform(walk: Walk): string {
    return duration(minutes(walk));
  }
}
