/**
 * What happens to streams, beside their events: for whoever counts it or writes it into a log.
 *
 * @module
 */

/** One thing that has happened; `id` is the stream's. */
export type StreamNote =
  /** A new stream, or one that was found in the store. */
  | { readonly type: "begun" | "found"; readonly id: string }
  /** A reader came that has everything before `seq`; `isResumed` where it came with a cursor. */
  | {
    readonly type: "joined";
    readonly id: string;
    readonly seq: number;
    readonly isResumed: boolean;
    readonly readers: number;
  }
  /** A reader went, or was put out; `readers` are left. */
  | { readonly type: "left"; readonly id: string; readonly readers: number }
  /** A reader is put out: it did not read for too long, or it was there for too long. */
  | { readonly type: "evicted"; readonly id: string; readonly why: "stalled" | "expired" }
  /** Somebody reads on, after the stream has waited for that. */
  | { readonly type: "continued"; readonly id: string; readonly seq: number; readonly ms: number }
  /** It goes on here after its process was lost. */
  | { readonly type: "revived"; readonly id: string }
  /** Its terminal event is published. */
  | { readonly type: "ended"; readonly id: string; readonly events: number };
