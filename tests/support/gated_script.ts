/**
 * A script whose tokens wait until a test lets them out.
 *
 * @module
 */
import { complete, type Script, START, token, usage } from "./mock_generator.ts";

/** Says its texts one by one, each when it is let out; see the module. */
export class GatedScript {
  readonly #texts: readonly string[];
  readonly #gates: readonly PromiseWithResolvers<void>[];

  constructor(...texts: string[]) {
    this.#texts = texts;
    this.#gates = texts.map(() => Promise.withResolvers<void>());
  }

  /** Lets the first `n` tokens out. Default all. */
  release(n: number = this.#texts.length): void {
    for (const { resolve } of this.#gates.slice(0, n)) resolve();
  }

  /** The text of the first `n` tokens. Default all. */
  text(n: number = this.#texts.length): string {
    return this.#texts.slice(0, n).join("");
  }

  /** What a MockGenerator plays. */
  get script(): Script {
    const gates = this.#gates;
    const texts = this.#texts;
    return function* () {
      yield START;
      for (const [i, text] of texts.entries()) {
        yield gates[i]!.promise;
        yield token(text, i + 1);
      }
      yield usage(texts.length);
      yield complete(texts.length);
    };
  }
}
