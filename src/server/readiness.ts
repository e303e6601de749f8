/**
 * Readiness: whether a server has its model, and takes new generations.
 *
 * @module
 */
import type { Generator } from "../engine/generator.ts";
import { OverloadedError } from "../errors.ts";
import type { Telemetry } from "./telemetry.ts";

/** How a server is, as health says it. */
export interface Health {
  /** `ok`, `loading`, `failed` or `stopping`. */
  readonly status: string;
  /** Id of the model, where it is loaded and answers. */
  readonly model?: string;
}

/** Seconds after which a client of a loading or ending server may ask again. */
const RETRY_AFTER_S = 1;

function refusal(why: string): OverloadedError {
  return new OverloadedError(`Cannot start the generation: ${why}`, RETRY_AFTER_S);
}

/** A generator that may still be loading, may have failed, or may be let go. */
export class Readiness {
  /** Settles when the model is loaded. */
  readonly loaded: Promise<Generator>;
  #generator: Generator | undefined;
  #failure: { readonly thrown: unknown } | undefined;
  #isDraining = false;

  /** @param telemetry told of the end of a load, once */
  constructor(
    generator: Generator | Promise<Generator>,
    telemetry: Pick<Telemetry, "loaded" | "failed">,
  ) {
    this.loaded = Promise.resolve(generator);
    if (!(generator instanceof Promise)) {
      this.#generator = generator;
      return;
    }
    const begunAt = performance.now();
    generator.then(
      (loaded) => {
        this.#generator = loaded;
        telemetry.loaded(loaded.model.id, performance.now() - begunAt);
      },
      (thrown) => {
        this.#failure = { thrown };
        telemetry.failed(thrown, "engine");
      },
    );
  }

  /** New generations are refused because the server stops. */
  get isDraining(): boolean {
    return this.#isDraining;
  }

  /** The model, also while the server stops; undefined where it is not loaded. */
  get generator(): Generator | undefined {
    return this.#generator;
  }

  /** Refuses new generations from now on. */
  drain(): void {
    this.#isDraining = true;
  }

  /** Whether that is the failed load, which was told when it failed. */
  isLoadFailure(thrown: unknown): boolean {
    return this.#failure !== undefined && this.#failure.thrown === thrown;
  }

  /**
   * The generator, if it is there and takes requests.
   *
   * @throws OverloadedError, or why the model could not be loaded
   */
  ready(): Generator {
    if (this.#failure !== undefined) throw this.#failure.thrown;
    // 429 and not 503, which some clients answer with retries without end or pause.
    if (this.#isDraining) throw refusal("the server is stopping");
    if (this.#generator !== undefined) return this.#generator;
    throw refusal("the model is still loading, try again in a moment");
  }

  /** What health says; a server takes requests where the status is `ok`. */
  get health(): Health {
    if (this.#failure !== undefined) return { status: "failed" };
    if (this.#isDraining) return { status: "stopping" };
    if (this.#generator === undefined) return { status: "loading" };
    return { status: "ok", model: this.#generator.model.id };
  }
}
