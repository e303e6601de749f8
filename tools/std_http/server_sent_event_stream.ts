/**
 * Stand-in for `@std/http/server-sent-event-stream`: messages to bytes, no space after the colon.
 *
 * @module
 */

/** One message of an event stream. */
export interface ServerSentEventMessage {
  comment?: string;
  event?: string;
  data?: string;
  id?: string | number;
  retry?: number;
}

const LINE_BREAK = /\r\n|\r|\n/;

function oneLine(field: string, value: string | number): string {
  if (LINE_BREAK.test(String(value))) {
    throw new SyntaxError(`Cannot write the field "${field}": its value has a line break`);
  }
  return `${field}:${value}\n`;
}

const lines = (field: string, value: string): string =>
  value.split(LINE_BREAK).map((line) => `${field}:${line}\n`).join("");

function stringify({ comment, event, data, id, retry }: ServerSentEventMessage): string {
  return (comment === undefined ? "" : lines("", comment)) +
    (event === undefined ? "" : oneLine("event", event)) +
    (data === undefined ? "" : lines("data", data)) +
    (id === undefined ? "" : oneLine("id", id)) +
    (retry === undefined ? "" : `retry:${retry}\n`) + "\n";
}

/** Turns messages into the bytes of an event stream. */
export class ServerSentEventStream extends TransformStream<ServerSentEventMessage, Uint8Array> {
  /** A message with a line break in `event` or `id` errors the stream with a SyntaxError. */
  constructor() {
    const encoder = new TextEncoder();
    super({
      transform: (message, controller) => controller.enqueue(encoder.encode(stringify(message))),
    });
  }
}
