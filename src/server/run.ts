/**
 * Run: one generation that a request has started, from its first event to its one terminal event.
 *
 * Knows no dialect and no HTTP. Whatever the generator does, `next()` never throws, gives exactly
 * one terminal event, and the generator is returned when nobody wants it any more.
 *
 * @module
 */
import type { GenerateRequest, Generator } from "../engine/generator.ts";
import { type ErrorEvent, isNotice, type StartEvent, type StreamEvent } from "../stream/event.ts";
import { type Change, Steering } from "../engine/steering.ts";
import { isTerminal } from "../stream/log.ts";
import type { StreamReader } from "../stream/reader.ts";
import type { StreamSource } from "../stream/source.ts";
import type { Completion } from "./dialect.ts";
import type { GenerationWatch } from "./generation_watch.ts";
import { usageOf } from "./dialect.ts";
import type { Progress } from "./progress.ts";
import { publicError, publicEvent } from "./public_error.ts";
import { EngineError, SluiceError } from "../errors.ts";

/** Told of every failure that clients hear little about; must not throw. */
export type Report = (failure: unknown) => void;

/** One generation in progress. */
export class Run implements StreamSource {
  readonly #events: AsyncGenerator<StreamEvent, void, undefined>;
  readonly #abort: AbortController;
  readonly #report: Report;
  readonly #steering: Steering;
  readonly #watch: GenerationWatch | undefined;
  #progress: Progress | undefined;
  #isOver = false;
  /** The start event. */
  readonly start: StartEvent;
  /** Settles once the generator has given back what it held; never rejects. */
  readonly over: Promise<void>;
  #settle: () => void = () => undefined;

  private constructor(
    start: StartEvent,
    events: AsyncGenerator<StreamEvent, void, undefined>,
    abort: AbortController,
    report: Report,
    steering: Steering,
    progress: Progress | undefined,
    watch: GenerationWatch | undefined,
  ) {
    this.#watch = watch;
    this.start = start;
    this.#events = events;
    this.#abort = abort;
    this.#report = report;
    this.#steering = steering;
    this.#progress = progress;
    this.over = new Promise((resolve) => this.#settle = resolve);
  }

  /**
   * Starts a generation and waits for its start event, so that a refusal still has a status code.
   *
   * @param progress gets the notices, which are no events of a stream
   * @param watch measures it
   * @throws what the generator throws before it starts
   */
  static async begin(
    generator: Generator,
    request: GenerateRequest,
    report: Report,
    progress?: Progress,
    watch?: GenerationWatch,
  ): Promise<Run> {
    try {
      return await Run.#begin(generator, request, report, progress, watch);
    } catch (refusal) {
      watch?.refused(refusal);
      throw refusal;
    }
  }

  static async #begin(
    generator: Generator,
    request: GenerateRequest,
    report: Report,
    progress: Progress | undefined,
    watch: GenerationWatch | undefined,
  ): Promise<Run> {
    const abort = new AbortController();
    const steering = new Steering();
    const events = generator.generate(request, abort.signal, steering);
    const first = await (watch?.within(() => events.next()) ?? events.next());
    if (first.done === true || first.value.type !== "start") {
      abort.abort();
      await events.return();
      if (first.value?.type !== "error") throw new EngineError("The generation did not start");
      const { message, code, hints } = first.value;
      throw new SluiceError(message, code, 500, { hints });
    }
    watch?.begun(first.value.promptTokens);
    return new Run(first.value, events, abort, report, steering, progress, watch);
  }

  /**
   * The next event; after a cancel an error event. One call at a time, none after the terminal
   * event.
   */
  async next(): Promise<StreamEvent> {
    if (this.#isOver) {
      return publicEvent({ type: "error", code: "cancelled", message: "", hints: [] });
    }
    this.#watch?.asked();
    const event = await this.#take();
    this.#watch?.event(event);
    if (isTerminal(event)) void this.#finish();
    return event;
  }

  /** The same run with its start event still to come. */
  withStart(): StreamSource {
    let start: StartEvent | undefined = this.start;
    return {
      next: () => {
        const first = start;
        start = undefined;
        return first === undefined ? this.next() : Promise.resolve(first);
      },
      stop: () => this.stop(),
      steer: (change) => this.steer(change as Change),
      over: this.over,
    };
  }

  /** Ends the generation. A `next()` that waits is woken with a terminal event. */
  async cancel(): Promise<void> {
    // Abort first: return() alone would wait for the next() that waits for a token.
    this.#abort.abort();
    await this.#finish();
  }

  /** Asks for an early end and leaves the terminal event to whoever reads. */
  stop(): void {
    this.#abort.abort();
  }

  /**
   * Changes how it goes on; false where its generator takes no changes.
   *
   * @throws RequestError where a value is not acceptable
   */
  steer(change: Change): boolean {
    return !this.#isOver && this.#steering.change(change);
  }

  async #take(): Promise<StreamEvent> {
    try {
      let step = await this.#events.next();
      while (step.done !== true && isNotice(step.value)) {
        this.#progress?.tell(step.value);
        step = await this.#events.next();
      }
      this.#progress?.tell(undefined);
      this.#progress = undefined;
      if (step.done === true) throw new EngineError("The generation ended without saying how");
      if (step.value.type !== "error") return step.value;
      this.#report(step.value);
      return publicEvent(step.value);
    } catch (thrown) {
      this.#report(thrown);
      const { code, message, hints } = publicError(thrown);
      return { type: "error", code, message, hints: [...hints] };
    }
  }

  async #finish(): Promise<void> {
    if (this.#isOver) return this.over;
    this.#isOver = true;
    this.#watch?.over();
    try {
      await this.#events.return();
    } catch (thrown) {
      this.#report(thrown);
    }
    this.#settle();
  }
}

/**
 * Reads a stream to its end and puts the pieces together; the error event where it failed,
 * undefined where the server stopped before the end.
 */
export async function collect(reader: StreamReader): Promise<Completion | ErrorEvent | undefined> {
  let text = "";
  let reasoning = "";
  const ids: number[] = [];
  const tokens: Completion["tokens"][number][] = [];
  let usage: Parameters<typeof usageOf>[1];
  for (;;) {
    const event = (await reader.next())?.event;
    if (event === undefined) return undefined;
    if (event.type === "token") {
      ids.push(...event.ids);
      tokens.push({ ids: event.ids, text: event.text });
      if (event.channel === "reasoning") reasoning += event.text;
      else text += event.text;
    } else if (event.type === "usage") usage = event;
    else if (event.type === "error") return event;
    else if (event.type === "complete") {
      const { finishReason, stats } = event;
      return { text, reasoning, ids, tokens, finishReason, usage: usageOf(stats, usage), stats };
    }
  }
}
