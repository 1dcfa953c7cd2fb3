import assert from "node:assert/strict";
import { test } from "node:test";
import { LinkError, Links } from "../src/links.js";

test("a link is found by its code, and visits are counted", () => {
  const links = new Links();
  const { code } = links.add("https://example.org/a page");
  links.visit(code);
  assert.deepEqual(links.get(code), { code: "1", url: "https://example.org/a%20page", visits: 1 });
  assert.equal(links.visit("2"), undefined);
});

test("what is no address of a page is refused", () => {
  for (const url of [undefined, 7, "", "example.org", "file:///etc/passwd", "javascript:alert(1)"]) {
    assert.throws(() => new Links().add(url), LinkError);
  }
});
