/**
 * Live: the main side of one running sequence: what arrived from the core, and who waits for it.
 *
 * @module
 */
import type { SluiceError } from "../errors.ts";
import type { SamplingOptions } from "./generator.ts";
import type { FinishReason, NoticeEvent } from "../stream/event.ts";

/** What the next wait brings. */
export type Arrival =
  | { token: number; finish: FinishReason | undefined }
  | { cancelled: true }
  | { error: SluiceError }
  | NoticeEvent;

/** A queue with one reader; a cancellation or a failure overtakes what is queued. */
export class Live {
  readonly id: number;
  /** Cache stream that computes it, -1 while it waits. */
  stream = -1;
  /** `performance.now()` of admission and of the first prefill step. */
  readonly admittedAt: number = performance.now();
  startedAt = 0;
  /** The core has forgotten it. */
  ended = false;
  /** How its tokens are drawn. */
  sampling: SamplingOptions & { seed: number };
  /** Tokens to compute before one is sampled. */
  n_prompt = 0;
  readonly #asked: readonly NoticeEvent["type"][];
  /** The newest that the reader has not seen. */
  #notice: NoticeEvent | undefined;
  /** Of the last queue notice. */
  #position = 0;
  readonly #tokens: { token: number; finish: FinishReason | undefined }[] = [];
  #last: Arrival | undefined;
  #wake: (() => void) | undefined;

  /** @param asked the notices that its reader wants */
  constructor(
    id: number,
    sampling: SamplingOptions & { seed: number } = { seed: 0 },
    asked: readonly NoticeEvent["type"][] = [],
  ) {
    this.id = id;
    this.sampling = sampling;
    this.#asked = asked;
  }

  /** Whether its reader wants notices of this type. */
  wants(type: NoticeEvent["type"]): boolean {
    return this.#asked.includes(type);
  }

  /** Takes a notice where it is asked for and news; one that was not read yet is forgotten. */
  tell(notice: NoticeEvent): void {
    if (!this.wants(notice.type)) return;
    if (notice.type === "queue" && notice.position === this.#position) return;
    if (notice.type === "queue") this.#position = notice.position;
    this.#notice = notice;
    this.#wake?.();
  }

  /** Takes a sampled token. */
  push(token: number, finish: FinishReason | undefined): void {
    this.#tokens.push({ token, finish });
    this.#notice = undefined;
    if (finish) this.ended = true;
    this.#wake?.();
  }

  /** Ends the wait of the reader. The first end stays. */
  end(arrival: { cancelled: true } | { error: SluiceError }): void {
    this.#last ??= arrival;
    this.#wake?.();
  }

  /** The next arrival; waits for it. */
  async next(): Promise<Arrival> {
    for (;;) {
      if (this.#last) return this.#last;
      const token = this.#tokens.shift();
      if (token) return token;
      const notice = this.#notice;
      this.#notice = undefined;
      if (notice) return notice;
      await new Promise<void>((resolve) => this.#wake = resolve);
      this.#wake = undefined;
    }
  }
}
