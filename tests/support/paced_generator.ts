/**
 * A Generator without a model that has an engine's slots, queue and admission, and takes the time
 * that it is told.
 *
 * @module
 */
import { Admission } from "../../src/engine/admission.ts";
import type { GenerateRequest, Generator } from "../../src/engine/generator.ts";
import { OverloadedError } from "../../src/errors.ts";
import type { StreamEvent } from "../../src/stream/event.ts";
import { pause } from "../../src/stream/within.ts";
import { complete, MODEL, START, token } from "./mock_generator.ts";

/** How long the parts of an answer take, in milliseconds, and how many there are. */
export interface Pace {
  readonly slots: number;
  readonly queueMax: number;
  readonly firstMs: number;
  readonly tokenMs: number;
  readonly tokens: number;
}

/** See the module. */
export class PacedGenerator implements Generator {
  readonly model = MODEL;
  readonly #pace: Pace;
  readonly #admission: Admission;
  readonly #waiting: (() => void)[] = [];
  #active = 0;
  #free: number;

  constructor(pace: Pace) {
    this.#pace = pace;
    this.#free = pace.slots;
    this.#admission = new Admission(pace.slots, pace.queueMax);
  }

  async *generate(
    _request: GenerateRequest,
    signal?: AbortSignal,
  ): AsyncGenerator<StreamEvent, void, undefined> {
    if (!this.#admission.takes(this.#active, performance.now())) {
      throw new OverloadedError("Cannot start the generation: it is full", 1);
    }
    this.#active++;
    let hasSlot = false;
    try {
      yield START;
      if (this.#free > 0) this.#free--;
      else await new Promise<void>((resolve) => this.#waiting.push(resolve));
      hasSlot = true;
      await pause(this.#pace.firstMs);
      for (let seq = 1; seq <= this.#pace.tokens && !signal?.aborted; seq++) {
        if (seq > 1) await pause(this.#pace.tokenMs);
        yield token("x", seq);
      }
      yield complete(this.#pace.tokens);
    } finally {
      this.#active--;
      if (hasSlot) this.#leave();
    }
  }

  /** The slot goes to the one that has waited longest. */
  #leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free++;
    else next();
  }
}
