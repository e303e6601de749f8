/**
 * DownloadError: why a model could not be fetched, in a sentence that anybody may read.
 *
 * @module
 */
import { SluiceError } from "../errors.ts";

/** What is known of a failed download beside its sentence. */
export interface DownloadErrorOptions {
  /** As in `Error`. */
  readonly cause?: unknown;
  /** Milliseconds after which the same request may work; undefined where it will not. */
  readonly retryAfterMs?: number;
  /** The folder or file of this machine that it is about; only its user may see it. */
  readonly place?: string;
}

/** A model could not be fetched. Its message names no path, so remote clients may read it too. */
export class DownloadError extends SluiceError {
  /** Milliseconds after which the same request may work; undefined where it will not. */
  readonly retryAfterMs: number | undefined;
  /** The folder or file of this machine that it is about. */
  readonly place: string | undefined;

  /**
   * An error of one download.
   *
   * @param message one sentence: what failed, the value, what was expected, what to do
   */
  constructor(message: string, options: DownloadErrorOptions = {}) {
    super(message, "download_error", 502, options);
    this.retryAfterMs = options.retryAfterMs;
    this.place = options.place;
  }
}
