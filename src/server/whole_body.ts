/**
 * The body of an answer in one piece: JSON, once the run has ended.
 *
 * It is a stream all the same: only a body tells on every runtime that its reader has gone, and
 * white space before the JSON keeps a long silence from being taken for a dead connection. So the
 * status is sent before the run has ended; where it then fails, the body is cut, which no client
 * takes for an answer.
 *
 * @module
 */
import { SluiceError } from "../errors.ts";
import type { ErrorEvent } from "../stream/event.ts";
import type { StreamReader } from "../stream/reader.ts";
import type { Completion } from "./dialect.ts";
import { Ending } from "./ending.ts";
import { failure, publicError } from "./public_error.ts";
import { collect } from "./run.ts";
import { SILENCE, Silence } from "./silence.ts";

/** Headers of every JSON answer. */
export const JSON_HEADERS: Readonly<Record<string, string>> = {
  "content-type": "application/json",
  "cache-control": "no-store",
};

function cut({ code, hints }: { code: string; hints: readonly string[] }): SluiceError {
  const { message, status } = failure(code);
  return new SluiceError(message, code, status, { hints });
}

/** The completion, or the error that cuts the body. */
function settle(end: Completion | ErrorEvent | undefined): Completion | SluiceError {
  if (end === undefined) return cut({ code: "cancelled", hints: [] });
  if ("type" in end) return cut(end);
  const isWhole = end.finishReason !== "cancelled" && end.finishReason !== "error";
  return isWhole ? end : cut({ code: "cancelled", hints: [] });
}

/**
 * A reader of a stream as one JSON body.
 *
 * @param answer the body's value
 * @param keepAliveMs a space after so much silence; 0 is never
 * @param ending whom to tell that the body ends
 */
export function wholeBody(
  reader: StreamReader,
  answer: (completion: Completion) => unknown,
  keepAliveMs: number,
  ending: Ending = new Ending(),
): ReadableStream<Uint8Array> {
  const silence = new Silence(keepAliveMs);
  const encoder = new TextEncoder();
  const encode = (text: string): Uint8Array => {
    const chunk = encoder.encode(text);
    ending.bytes += chunk.length;
    return chunk;
  };
  let wanted: Promise<Completion | ErrorEvent | undefined> | undefined;
  let isGone = false;
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      // It may not reject, see Silence.
      wanted ??= collect(reader).catch((thrown) => {
        const { code, message, hints } = publicError(thrown);
        return { type: "error", code, message, hints: [...hints] } as const;
      });
      const end = await silence.wait(wanted);
      if (isGone) return;
      if (end === SILENCE) return controller.enqueue(encode(" "));
      silence.stop();
      void reader.close();
      ending.onEnd?.(false);
      const settled = settle(end);
      if (settled instanceof SluiceError) {
        ending.over("cut");
        return controller.error(settled);
      }
      controller.enqueue(encode(JSON.stringify(answer(settled))));
      ending.over("whole");
      controller.close();
    },
    cancel() {
      isGone = true;
      ending.over("gone");
      silence.stop();
      return reader.close();
    },
  }, { highWaterMark: 0 });
}
