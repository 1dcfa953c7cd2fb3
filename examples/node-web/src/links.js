// Short codes for links, kept in memory.

/** A link that cannot be shortened; its message is meant for whoever sent it. */
export class LinkError extends Error {}

export class Links {
  #targets = new Map();

  /** Gives the link a code: "1", "2", ... "z", "10". */
  add(text) {
    const url = typeof text === "string" && URL.canParse(text) ? new URL(text) : null;
    if (!url || !["http:", "https:"].includes(url.protocol)) {
      throw new LinkError("`url` must be an address that begins with http:// or https://");
    }
    const code = (this.#targets.size + 1).toString(36);
    const link = { code, url: url.href, visits: 0 };
    this.#targets.set(code, link);
    return link;
  }

  /** The link with this code, or undefined. */
  get(code) {
    return this.#targets.get(code);
  }

  /** Counts one visit and returns the link with this code, or undefined. */
  visit(code) {
    const link = this.#targets.get(code);
    if (link) link.visits += 1;
    return link;
  }
}
