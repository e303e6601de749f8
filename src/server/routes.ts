/**
 * Routes: the wire languages by their names, and which of them each path speaks.
 *
 * @module
 */
import { RequestError, SluiceError } from "../errors.ts";
import type { Dialect, Speech } from "./dialect.ts";
import { chatStream } from "./dialects/chat_stream.ts";
import { content } from "./dialects/content.ts";
import { infer } from "./dialects/infer.ts";
import { native } from "./dialects/native.ts";
import { openai } from "./dialects/openai.ts";
import { tgi } from "./dialects/tgi.ts";

/** A route with the language that it belongs to. */
export interface SpokenRoute {
  readonly dialect: Dialect;
  readonly route: Speech;
}

/** Every language; a new one is a row here. */
export const DIALECTS: readonly Dialect[] = [openai, native, content, chatStream, infer, tgi];

/** Whether a request can have this path: as a URL writes it, and without a wildcard. */
function isPath(path: string): boolean {
  if (!path.startsWith("/") || path.includes("*")) return false;
  return URL.parse(path, "http://localhost")?.pathname === path;
}

/** All paths that generate; see the module. */
export class Routes {
  readonly #byName = new Map<string, SpokenRoute>();
  readonly #byPath = new Map<string, SpokenRoute>();

  /**
   * @param rebound names of languages by path, beside or instead of the paths of their own
   * @throws SluiceError `invalid_option` where a path is malformed or a language unknown
   */
  constructor(rebound: Readonly<Record<string, string>> = {}) {
    for (const dialect of DIALECTS) {
      for (const route of dialect.generates) this.#byPath.set(route.path, { dialect, route });
      for (const route of [...dialect.generates, ...dialect.speaks ?? []]) {
        this.#byName.set(route.name, { dialect, route });
      }
    }
    for (const [path, name] of Object.entries(rebound)) this.#bind(path, name);
  }

  /** Each path with what it speaks. */
  get paths(): Iterable<[path: string, spoken: SpokenRoute]> {
    return this.#byPath;
  }

  /**
   * A language by its name.
   *
   * @throws RequestError that lists the known ones
   */
  named(name: string): SpokenRoute {
    const spoken = this.#byName.get(name);
    if (spoken !== undefined) return spoken;
    const expected = `expected one of ${this.#names}`;
    throw new RequestError(
      `Cannot read the stream: the dialect ${JSON.stringify(name.slice(0, 64))} is unknown, ` +
        expected,
      [{ field: "dialect", message: expected }],
      { code: "unknown_dialect" },
    );
  }

  get #names(): string {
    return [...this.#byName.keys()].sort().join(", ");
  }

  #bind(path: string, name: string): void {
    const spoken = this.#byName.get(name);
    if (spoken !== undefined && isPath(path)) {
      this.#byPath.set(path, spoken);
      return;
    }
    const wrong = spoken === undefined
      ? `the dialect is unknown, expected one of ${this.#names}`
      : "the path is malformed, expected one such as /chat/completions, without * ? # or spaces";
    throw new SluiceError(
      `Cannot bind the route ${JSON.stringify(path)} to ${JSON.stringify(name)}: ${wrong}`,
      "invalid_option",
      500,
    );
  }
}
