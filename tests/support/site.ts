/**
 * Site: two servers behind an nginx, and how their streams are read.
 *
 * @module
 */
import { type SseMessage, SseParser } from "../../src/stream/sse.ts";
import { GatedReplica, type GatedSettings } from "./gated_replica.ts";
import { DOCUMENTED, Nginx } from "./nginx.ts";

/** Tokens of every stream. */
export const TOKENS = 20;
/** A request for a stream. */
export const PROMPT = { prompt: "Hi", max_tokens: TOKENS };
/** The same for one that waits for its reader. */
export const PAUSED = { ...PROMPT, on_disconnect: "pause" };

/** A POST of a JSON body. */
export function postOf(body: unknown, headers: Record<string, string> = {}): RequestInit {
  return { method: "POST", body: JSON.stringify(body), headers };
}

/** One answer, message by message. */
export class Reading {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #parser = new SseParser();
  readonly #waiting: SseMessage[] = [];
  readonly #decoder = new TextDecoder();
  #text = "";
  readonly stream: string;
  /** Ids of the messages that were read. */
  readonly ids: string[] = [];
  /** The messages that were read, without those that say nothing. */
  readonly said: string[] = [];
  pings = 0;

  constructor(response: Response) {
    if (response.status !== 200) throw new RangeError(`status ${response.status}`);
    this.stream = response.headers.get("x-stream-id") ?? "";
    this.#reader = response.body!.getReader();
  }

  /** All that was received, without what differs between two readers: the preamble and pings. */
  get text(): string {
    return this.#text.replace(/^retry: 3000\n(id: .*\n)?: ok\n\n/, "").replaceAll(": ping\n\n", "");
  }

  /** The next message with data; undefined at the end. */
  async next(): Promise<SseMessage | undefined> {
    for (;;) {
      const message = this.#waiting.shift() ?? await this.#receive();
      if (message === undefined) return undefined;
      if (message.comment === "ping") this.pings++;
      if (message.data === undefined) continue;
      if (message.id !== undefined) this.ids.push(message.id);
      this.said.push(`${message.id} ${message.event} ${message.data}`);
      return message;
    }
  }

  /** The position of the next token. */
  async position(): Promise<number> {
    return JSON.parse((await this.next())?.data ?? "{}").position;
  }

  /** Reads to the end. */
  async rest(): Promise<void> {
    while (await this.next() !== undefined);
  }

  /** Reads pings until there are so many. */
  async pinged(count: number): Promise<void> {
    while (this.pings < count) {
      const message = await this.#receive();
      if (message === undefined || message.data !== undefined) throw new RangeError("no ping");
      if (message.comment === "ping") this.pings++;
    }
  }

  leave(): Promise<void> {
    return this.#reader.cancel();
  }

  async #receive(): Promise<SseMessage | undefined> {
    while (this.#waiting.length === 0) {
      const { done, value } = await this.#reader.read();
      if (done) return undefined;
      this.#text += this.#decoder.decode(value, { stream: true });
      this.#waiting.push(...this.#parser.push(value));
    }
    return this.#waiting.shift();
  }
}

/** Two servers behind an nginx. */
export class Site implements AsyncDisposable {
  readonly replicas: readonly [GatedReplica, GatedReplica];
  readonly nginx: Nginx;

  private constructor(replicas: readonly [GatedReplica, GatedReplica], nginx: Nginx) {
    this.replicas = replicas;
    this.nginx = nginx;
  }

  static async start(
    settings: Partial<GatedSettings> = {},
    configuration = DOCUMENTED,
  ): Promise<Site> {
    const start = () => GatedReplica.start({ tokens: TOKENS, ...settings });
    const [first, second] = [await start(), await start()];
    const nginx = await Nginx.start(configuration, [first.address, second.address]);
    return new Site([first, second], nginx);
  }

  /** Lets both make tokens up to `seq`; gives the last that either made. */
  async open(seq: number): Promise<number> {
    const states = await Promise.all(this.replicas.map((replica) => replica.open(seq)));
    return Math.max(...states.map(({ made }) => made));
  }

  /** The last token that either made. */
  async made(): Promise<number> {
    const states = await Promise.all(this.replicas.map((replica) => replica.state()));
    return Math.max(...states.map(({ made }) => made));
  }

  async start(path = "/v1/stream", body: unknown = PROMPT): Promise<Reading> {
    return new Reading(await this.nginx.fetch(path, postOf(body)));
  }

  resume(reading: Reading, headers: Record<string, string> = {}): Promise<Response> {
    const last = reading.ids.at(-1)!;
    return this.nginx.fetch(`/v1/streams/${reading.stream}`, {
      headers: { "last-event-id": last, ...headers },
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.nginx[Symbol.asyncDispose]();
    await Promise.all(this.replicas.map((replica) => replica.kill()));
  }
}
