/**
 * EventSource: the runtime's own, or where it has none one of the same behaviour over
 * eventsource-parser.
 *
 * @module
 */
import { createParser, type EventSourceMessage } from "eventsource-parser";

const RECONNECT_MS = 3000;
const CONNECTING = 0;
const OPEN = 1;
const CLOSED = 2;

/** What tests use of the standard's interface. */
export interface EventSourceLike extends EventTarget {
  readonly readyState: number;
  onmessage: ((event: MessageEvent) => unknown) | null;
  onerror: ((event: Event) => unknown) | null;
  close(): void;
}

/** By the WHATWG rules: anything but 200 and an event stream is the end, a lost stream is not. */
class ParsedEventSource extends EventTarget implements EventSourceLike {
  readonly url: string;
  readyState = CONNECTING;
  onmessage: ((event: MessageEvent) => unknown) | null = null;
  onerror: ((event: Event) => unknown) | null = null;
  #lastEventId = "";
  #retryMs = RECONNECT_MS;
  readonly #abort = new AbortController();

  constructor(url: string) {
    super();
    this.url = url;
    this.addEventListener("message", (event) => this.onmessage?.(event as MessageEvent));
    this.addEventListener("error", (event) => this.onerror?.(event as Event));
    void this.#run();
  }

  close(): void {
    this.readyState = CLOSED;
    this.#abort.abort();
  }

  async #run(): Promise<void> {
    while (this.readyState !== CLOSED) {
      // Whatever the connection died of, the standard tells no more than that it did.
      const isFinal = await this.#connect().catch(() => false);
      if (this.readyState === CLOSED) return;
      this.readyState = isFinal ? CLOSED : CONNECTING;
      this.dispatchEvent(new Event("error"));
      if (!isFinal) await new Promise((resolve) => setTimeout(resolve, this.#retryMs));
    }
  }

  /** Reads one connection to its end; true where none may follow. */
  async #connect(): Promise<boolean> {
    const headers: Record<string, string> = { accept: "text/event-stream" };
    if (this.#lastEventId !== "") headers["last-event-id"] = this.#lastEventId;
    const response = await fetch(this.url, { headers, signal: this.#abort.signal });
    const type = response.headers.get("content-type") ?? "";
    if (response.status !== 200 || !type.startsWith("text/event-stream")) return true;
    this.readyState = OPEN;
    this.dispatchEvent(new Event("open"));
    const parser = createParser({
      onEvent: (message) => this.#dispatch(message),
      onId: (id) => this.#lastEventId = id,
      onRetry: (ms) => this.#retryMs = ms,
    });
    const decoder = new TextDecoder();
    for await (const bytes of response.body!) parser.feed(decoder.decode(bytes, { stream: true }));
    return false;
  }

  #dispatch({ event = "message", data }: EventSourceMessage): void {
    if (this.readyState === CLOSED) return;
    const lastEventId = this.#lastEventId;
    this.dispatchEvent(new MessageEvent(event, { data, lastEventId }));
  }
}

/** The runtime's EventSource, or the one above. */
export const EventSourceHere: new (url: string) => EventSourceLike =
  (globalThis as { EventSource?: new (url: string) => EventSourceLike }).EventSource ??
    ParsedEventSource;
