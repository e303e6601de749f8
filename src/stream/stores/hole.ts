/**
 * StreamHoleError: what a store says to an append that would leave a hole before it.
 *
 * @module
 */
import { SluiceError } from "../../errors.ts";

/** The store does not have what comes before, such as after it was emptied. */
export class StreamHoleError extends SluiceError {
  /**
   * The error of one append.
   *
   * @param id the stream
   * @param seq where it was to append
   */
  constructor(id: string, seq: number) {
    super(
      `Cannot append to the stream "${id}" at ${seq}: its store has lost the stream or the events ` +
        "before, expected both, append everything anew",
      "store_error",
      500,
    );
  }
}
