/**
 * Finds what answers a path: literal paths first, then prefixes, then nothing.
 *
 * @module
 */

/** What a path led to. */
export interface Match<T> {
  readonly target: T;
  /** Percent-decoded rest of the path after a prefix; "" for a literal path. */
  readonly rest: string;
}

/**
 * Paths and their targets; a path that ends in `/*` takes every longer path with the same start.
 */
export class Router<T> {
  readonly #literals = new Map<string, T>();
  readonly #prefixes = new Map<string, T>();

  /** The target of `path`, made by `create` where there is none yet. */
  at(path: string, create: () => T): T {
    const isPrefix = path.endsWith("/*");
    const table = isPrefix ? this.#prefixes : this.#literals;
    const key = isPrefix ? path.slice(0, -1) : path;
    const target = table.get(key) ?? create();
    table.set(key, target);
    return target;
  }

  /** The target of a URL's path, or undefined. The longest prefix wins. */
  match(pathname: string): Match<T> | undefined {
    const literal = this.#literals.get(pathname);
    if (literal !== undefined) return { target: literal, rest: "" };
    for (let end = pathname.lastIndexOf("/"); end >= 0; end = pathname.lastIndexOf("/", end - 1)) {
      const target = this.#prefixes.get(pathname.slice(0, end + 1));
      const rest = target === undefined ? undefined : decode(pathname.slice(end + 1));
      if (target !== undefined && rest !== undefined && rest !== "") return { target, rest };
      if (end === 0) break;
    }
    return undefined;
  }
}

/** Undefined where the percent signs are not an encoding of anything. */
function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    if (error instanceof URIError) return undefined;
    throw error;
  }
}
