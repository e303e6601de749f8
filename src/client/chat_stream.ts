/**
 * ChatStream: one answer, token by token and exactly once, however often its connection is cut.
 *
 * Pull, never push: what is not read is not fetched, and so not computed.
 *
 * @module
 */
import { Connection, type Message } from "./connection.ts";
import { Patience, type PatienceOptions } from "./patience.ts";
import { isAfter, type Place, placeOf } from "./place.ts";
import { StreamError } from "./stream_error.ts";
import type { Wire } from "./wire.ts";

/** One token of the answer. */
export interface ChatToken {
  /** Whole code points; empty while one is not complete yet. */
  text: string;
  /** Id in the model's vocabulary; null where the server does not know it. */
  tokenId: number | null;
  /** 1 for the first token. */
  position: number;
  /** Milliseconds since the request was admitted. */
  timeMs: number;
}

/** How the answer ended. */
export interface ChatCompletion {
  /** Tokens that were sampled, the end token too. */
  totalTokens: number;
  /** Milliseconds from admission to the end. */
  totalTimeMs: number;
  /** Over the whole time. */
  tokensPerSecond: number;
  /** False where it was stopped early. */
  completedNormally: boolean;
  /** One sentence. */
  completionReason: string;
}

/** What a stream is read from. */
export interface ChatStreamParts extends PatienceOptions {
  readonly wire: Wire;
  /** The request for a new stream, with its idempotency key; absent where `id` is known. */
  readonly create?: { readonly key: string; readonly body: string };
  readonly id?: string;
  /** Id of the last message that the caller has. */
  readonly lastEventId?: string | undefined;
  readonly silenceMs: number;
  readonly signal?: AbortSignal | undefined;
}

type Fields = Readonly<Record<string, unknown>>;

/** For promises that nobody may be waiting for. */
function ignore(): void {}

function fieldsOf({ event, data = "" }: Message): Fields {
  try {
    return JSON.parse(data) as Fields;
  } catch (cause) {
    throw new StreamError(
      `Cannot read the stream: the data of an event "${event}" is not JSON, check the url`,
      "unexpected_answer",
      { cause },
    );
  }
}

function tokenOf(fields: Fields): ChatToken {
  return {
    text: fields["token"] as string,
    tokenId: fields["token_id"] as number | null,
    position: fields["position"] as number,
    timeMs: fields["cumulative_time_ms"] as number,
  };
}

function completionOf(fields: Fields): ChatCompletion {
  return {
    totalTokens: fields["total_tokens"] as number,
    totalTimeMs: fields["total_time_ms"] as number,
    tokensPerSecond: fields["tokens_per_second"] as number,
    completedNormally: fields["completed_normally"] as boolean,
    completionReason: fields["completion_reason"] as string,
  };
}

function errorOf(fields: Fields): StreamError {
  return new StreamError(`The generation failed: ${fields["message"]}`, "generation_failed", {
    errorType: fields["error_type"] as string,
    hints: (fields["recovery_hints"] ?? []) as string[],
  });
}

/**
 * One answer; see the module. The request is sent at once, its events are read on demand, by one
 * reader: a loop over the stream, or `text()`.
 */
export class ChatStream implements AsyncIterable<ChatToken> {
  /** Id of the stream, known when the server has answered. Rejects where it never does. */
  readonly id: Promise<string>;
  /**
   * How the answer ended; settles when the stream has been read to its end. Rejects with whatever
   * the loop throws.
   */
  readonly completion: Promise<ChatCompletion>;
  readonly #parts: ChatStreamParts;
  readonly #patience: Patience;
  readonly #left = new AbortController();
  readonly #signal: AbortSignal;
  readonly #named = Promise.withResolvers<string>();
  readonly #completed = Promise.withResolvers<ChatCompletion>();
  readonly #tokens: AsyncGenerator<ChatToken, void, undefined>;
  #id: string | undefined;
  #lastEventId: string | undefined;
  #place: Place | undefined;
  #position = 0;
  #text = "";
  #isOver = false;
  #failure: { readonly thrown: unknown } | undefined;
  #connection: Connection | undefined;
  /** The connection that is being made; undefined where there is nothing left to read. */
  #opening: Promise<Connection | undefined>;

  /**
   * A stream whose first request is on its way.
   *
   * @param parts what it is read from
   */
  constructor(parts: ChatStreamParts) {
    this.#parts = parts;
    this.#patience = new Patience(parts);
    const { signal } = this.#left;
    this.#signal = parts.signal === undefined ? signal : AbortSignal.any([signal, parts.signal]);
    this.id = this.#named.promise;
    this.completion = this.#completed.promise;
    this.id.catch(ignore);
    this.completion.catch(ignore);
    if (parts.id !== undefined) this.#setId(parts.id);
    this.#lastEventId = parts.lastEventId;
    this.#place = placeOf(parts.lastEventId ?? "");
    this.#opening = this.#open();
    this.#opening.catch((thrown) => this.#fail(thrown));
    this.#signal.addEventListener("abort", () => this.#fail(this.#signal.reason), { once: true });
    this.#tokens = this.#read();
  }

  /**
   * Id of the last message that was read: with it `resumeStream()` goes on, even in another
   * process.
   */
  get lastEventId(): string | undefined {
    return this.#lastEventId;
  }

  /** The tokens; leaving the loop early is `abort()`. */
  [Symbol.asyncIterator](): AsyncIterator<ChatToken, void, undefined> {
    return {
      next: () => this.#tokens.next(),
      return: async () => {
        this.abort();
        return await this.#tokens.return();
      },
    };
  }

  /** Reads to the end and gives the text of all tokens, those that a loop has taken too. */
  async text(): Promise<string> {
    for (let each = await this.#tokens.next(); !each.done;) each = await this.#tokens.next();
    if (this.#failure !== undefined) throw this.#failure.thrown;
    return this.#text;
  }

  /**
   * Leaves: the connection closes and the loop ends with an AbortError. What becomes of the stream
   * is what `onDisconnect` says.
   */
  abort(): void {
    if (this.#isOver) return;
    this.#left.abort(new DOMException("The stream was left by abort()", "AbortError"));
  }

  /**
   * Ends the generation on the server. The loop goes on to the tokens that there are, and
   * `completion` says that it did not complete normally. Stopping what has ended is fine.
   *
   * @throws StreamError where the server does not do it
   */
  async stop(): Promise<void> {
    if (this.#isOver) return;
    const path = `/v1/streams/${encodeURIComponent(await this.id)}`;
    const ask = { method: "DELETE", path, headers: {} } as const;
    await this.#parts.wire.send(ask, new Patience(this.#parts), this.#signal);
  }

  async *#read(): AsyncGenerator<ChatToken, void, undefined> {
    try {
      for (;;) {
        const connection = await this.#opening;
        if (connection === undefined) return;
        for (;;) {
          const message = await connection.next();
          this.#signal.throwIfAborted();
          if (message === undefined || message.event === "shutdown") break;
          const token = this.#take(message);
          if (token !== undefined) yield token;
          this.#signal.throwIfAborted();
          if (this.#isOver) return;
        }
        connection.close();
        await this.#patience.pause({ cause: connection.failure }, this.#signal);
        this.#opening = this.#open();
      }
    } catch (thrown) {
      this.#fail(thrown);
      throw thrown;
    } finally {
      this.#connection?.close();
    }
  }

  /** Connects to where the last message was; asks for the stream itself where it has no id yet. */
  async #open(): Promise<Connection | undefined> {
    const { wire, create, silenceMs } = this.#parts;
    const headers: Record<string, string> = { accept: "text/event-stream" };
    const isNew = this.#id === undefined;
    if (isNew) {
      headers["content-type"] = "application/json";
      headers["idempotency-key"] = create!.key;
    } else if (this.#lastEventId !== undefined) headers["last-event-id"] = this.#lastEventId;
    const ask = isNew
      ? { method: "POST", path: "/v1/stream", headers, body: create!.body } as const
      : { method: "GET", path: `/v1/streams/${encodeURIComponent(this.#id!)}`, headers } as const;
    const response = await wire.send(ask, this.#patience, this.#signal);
    if (response.status === 204) {
      this.#fail(
        new StreamError(
          "Cannot say how the stream ended: all of it was delivered before, read it from its start",
          "already_delivered",
          { status: 204 },
        ),
      );
      return undefined;
    }
    const type = response.headers.get("content-type") ?? "nothing";
    if (response.body === null || !type.startsWith("text/event-stream")) {
      // A body that broke cannot be cancelled, which is fine.
      response.body?.cancel().catch(ignore);
      throw new StreamError(
        `Cannot read the stream: the server sent ${type}, expected text/event-stream, check the url`,
        "unexpected_answer",
        { status: response.status },
      );
    }
    const id = response.headers.get("x-stream-id");
    if (id !== null) this.#setId(id);
    this.#connection = new Connection(response.body, silenceMs, {
      onRetry: (ms) => this.#patience.retryMs = ms,
      onPing: () => this.#patience.progress(),
    });
    return this.#connection;
  }

  /** Takes a message; gives the token in it, unless it came before. */
  #take(message: Message): ChatToken | undefined {
    const { id, event } = message;
    if (id !== undefined && !this.#advance(id)) return undefined;
    if (event === "token") {
      const token = tokenOf(fieldsOf(message));
      if (id === undefined && token.position <= this.#position) return undefined;
      this.#patience.progress();
      this.#position = token.position;
      this.#text += token.text;
      return token;
    }
    if (event === "complete") {
      this.#completed.resolve(completionOf(fieldsOf(message)));
      this.#isOver = true;
    }
    if (event === "error") throw errorOf(fieldsOf(message));
    return undefined;
  }

  /** Moves on to a message; false where it is not after the last one. */
  #advance(id: string): boolean {
    const place = placeOf(id);
    this.#setId(place?.stream);
    if (place === undefined || place.stream !== this.#id) {
      throw new StreamError(
        `Cannot read the stream "${this.#id}": it sent a message "${id}" that is not its own`,
        "unexpected_answer",
      );
    }
    if (this.#place !== undefined && !isAfter(place, this.#place)) return false;
    this.#place = place;
    this.#lastEventId = id;
    return true;
  }

  #setId(id: string | undefined): void {
    if (id === undefined || this.#id !== undefined) return;
    this.#id = id;
    this.#named.resolve(id);
  }

  #fail(thrown: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const isComplete = thrown instanceof StreamError && thrown.code === "already_delivered";
    if (!isComplete) this.#failure = { thrown };
    this.#named.reject(thrown);
    this.#completed.reject(thrown);
    this.#connection?.close();
  }
}
