/**
 * Probe: asks any server over HTTP and gives its answers as what a check wants to look at.
 *
 * @module
 */

/** A rule does not hold; the message says what was seen. */
export class UnmetError extends Error {
  override name = "UnmetError";
}

/** The server does not have what the rule is about. */
export class MissingError extends UnmetError {
  override name = "MissingError";
}

/** Says what was seen where it is not what the rule wants. */
export function hold(condition: boolean, seen: string): asserts condition {
  if (!condition) throw new UnmetError(seen);
}

/** One way to ask for a stream. */
export interface Route {
  readonly name: "chat" | "completions" | "native";
  readonly path: string;
  /** Body of a short stream that is the same each time. */
  readonly body: Readonly<Record<string, unknown>>;
  /** The text that one message brings. */
  textOf(data: unknown): string;
}

/** One block of an event stream. */
export interface Block {
  /** All of it, without the blank line. */
  readonly raw: string;
  readonly id: string | undefined;
  readonly event: string | undefined;
  readonly data: string | undefined;
}

/** An answer that was read to its end. */
export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly text: string;
}

/** A stream that was read to its end. */
export interface Transcript extends Reply {
  /** Stream, as `X-Stream-Id` names it; "" without. */
  readonly id: string;
  readonly blocks: readonly Block[];
  /** Blocks with data. */
  readonly messages: readonly Block[];
}

/** How to ask. */
export interface Ask {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** An object is sent as JSON, a string as it is. */
  readonly body?: unknown;
}

const PATIENCE_MS = 120_000;
const PROMPT = "Count from one to one hundred.";
const SHORT = { max_tokens: 8, temperature: 0, seed: 1 };

/** A member of a JSON value, or undefined. */
export function member(value: unknown, ...path: (string | number)[]): unknown {
  let at = value;
  for (const key of path) at = (at as Record<string | number, unknown> | null | undefined)?.[key];
  return at;
}

const string = (value: unknown): string => typeof value === "string" ? value : "";

/** `POST /v1/chat/completions`. */
export const CHAT: Route = {
  name: "chat",
  path: "/v1/chat/completions",
  body: { messages: [{ role: "user", content: PROMPT }], stream: true, ...SHORT },
  textOf: (data) => string(member(data, "choices", 0, "delta", "content")),
};

/** `POST /v1/completions`. */
export const COMPLETIONS: Route = {
  name: "completions",
  path: "/v1/completions",
  body: { prompt: PROMPT, stream: true, ...SHORT },
  textOf: (data) => string(member(data, "choices", 0, "text")),
};

/** `POST /v1/stream`. */
export const NATIVE: Route = {
  name: "native",
  path: "/v1/stream",
  body: { prompt: PROMPT, ...SHORT },
  textOf: (data) => string(member(data, "token")),
};

/** A value out of JSON; the text itself where it is none, such as `[DONE]`. */
export function jsonOf(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? "null");
  } catch (error) {
    if (error instanceof SyntaxError) return text;
    throw error;
  }
}

function blockOf(raw: string): Block {
  const field = (name: string): string | undefined =>
    new RegExp(`^${name}: ?(.*)$`, "m").exec(raw)?.[1];
  return { raw, id: field("id"), event: field("event"), data: field("data") };
}

/** The blocks of an event stream. */
export function blocksOf(text: string): Block[] {
  return text.split(/\r?\n\r?\n/).filter((raw) => raw !== "").map(blockOf);
}

/** The blocks with data. */
export function messagesOf(text: string): Block[] {
  return blocksOf(text).filter(({ data }) => data !== undefined);
}

/** What a stream said, as one text. */
export function textOf(route: Route, messages: readonly Block[]): string {
  return messages.map(({ data }) => route.textOf(jsonOf(data))).join("");
}

/** Asks one server. */
export class Probe {
  readonly #url: string;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #streams = new Map<Route, Promise<Transcript>>();
  /** Sent with every request that wants a stream; some servers insist on a model. */
  #model: Promise<string | undefined> | undefined;

  /**
   * @param url of the server, such as `http://127.0.0.1:8080`
   * @param key API key, where it wants one
   */
  constructor(url: string, key?: string) {
    this.#url = url.replace(/\/+$/, "");
    this.#headers = key === undefined ? {} : { authorization: `Bearer ${key}` };
  }

  /** An answer whose body is still to be read. */
  async open(path: string, { method, headers, body }: Ask = {}): Promise<Response> {
    const ask = (): Promise<Response> =>
      fetch(this.#url + path, {
        method: method ?? (body === undefined ? "GET" : "POST"),
        headers: {
          ...this.#headers,
          ...(body !== undefined && { "content-type": "application/json" }),
          ...headers,
        },
        signal: AbortSignal.timeout(PATIENCE_MS),
        ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) }),
      });
    try {
      return await ask();
    } catch (error) {
      if (error instanceof Error && error.name === "TimeoutError") throw error;
      // A server may close a connection that is not used; the client finds out by using it.
      return await ask();
    }
  }

  /** An answer with its whole body. */
  async ask(path: string, ask: Ask = {}): Promise<Reply> {
    const response = await this.open(path, ask);
    const bytes = new Uint8Array(await response.arrayBuffer());
    const { status, headers } = response;
    return { status, headers, bytes, text: new TextDecoder().decode(bytes) };
  }

  /**
   * A stream to its end.
   *
   * @throws MissingError where the route is not there
   */
  async read(path: string, ask: Ask = {}): Promise<Transcript> {
    const reply = await this.ask(path, ask);
    if (reply.status === 404 || reply.status === 405 || reply.status === 501) {
      throw new MissingError(`${path.split("?")[0]} answers ${reply.status}`);
    }
    hold(reply.status === 200, `${path} answers ${reply.status}: ${reply.text.slice(0, 120)}`);
    const blocks = blocksOf(reply.text);
    const messages = messagesOf(reply.text);
    return { ...reply, id: reply.headers.get("x-stream-id") ?? "", blocks, messages };
  }

  /** The body of a route's short stream with other fields. */
  async bodyOf(route: Route, more: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    this.#model ??= this.ask("/v1/models").then(({ text }) => {
      const id = member(jsonOf(text), "data", 0, "id");
      return typeof id === "string" ? id : undefined;
    });
    const model = route.name === "native" ? undefined : await this.#model;
    return { ...route.body, ...(model !== undefined && { model }), ...more };
  }

  /** A new stream of a route to its end. */
  async make(
    route: Route,
    more: Readonly<Record<string, unknown>> = {},
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Transcript> {
    return await this.read(route.path, { body: await this.bodyOf(route, more), headers });
  }

  /** The short stream of a route, made once. */
  stream(route: Route): Promise<Transcript> {
    const known = this.#streams.get(route) ?? this.make(route);
    this.#streams.set(route, known);
    return known;
  }

  /**
   * The short stream of a route, where it can be found again.
   *
   * @throws MissingError where it has no name or its messages have no ids
   */
  async resumable(route: Route): Promise<Transcript & { readonly cursors: readonly string[] }> {
    const stream = await this.stream(route);
    if (stream.id === "") throw new MissingError("no X-Stream-Id");
    const cursors = stream.messages.flatMap(({ id }) => id ?? []);
    if (cursors.length === 0) throw new MissingError("no ids");
    return { ...stream, cursors };
  }
}
