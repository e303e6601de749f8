/**
 * What makes a stream a thing of its own: found again, resumed, shared, stopped, in three framings.
 *
 * @module
 */
import { FrameParser } from "../../src/stream/frame.ts";
import type { Check } from "./check.ts";
import {
  type Ask,
  CHAT,
  COMPLETIONS,
  hold,
  jsonOf,
  member,
  messagesOf,
  MissingError,
  NATIVE,
  type Probe,
  type Route,
  textOf,
  type Transcript,
} from "./probe.ts";

const ALL = [CHAT, COMPLETIONS, NATIVE];
const RESUMED = [CHAT, NATIVE];

/** More than any server answers at once. */
const LONG = { max_tokens: 512, ignore_eos: true };
/** How soon a server must notice that a client has gone. */
const NOTICE_MS = 300;

const pathOf = (id: string): string => `/v1/streams/${id}`;
/** The messages byte for byte; pings come when they come. */
const rawOf = ({ messages }: Pick<Transcript, "messages">): string =>
  messages.map(({ raw }) => raw).join("\n\n");
/** Whether a stream said all that it was asked for. */
const isWhole = (text: string): boolean =>
  /"finish_reason":"length"|"completed_normally":true/.test(text);

async function ids(probe: Probe, route: Route): Promise<void> {
  const { messages, cursors } = await probe.resumable(route);
  hold(cursors.length === messages.length, `${cursors.length} of ${messages.length} have one`);
  hold(new Set(cursors).size === cursors.length, "an id comes twice");
}

async function streamId(probe: Probe, route: Route): Promise<void> {
  const { id, cursors } = await probe.resumable(route);
  hold(cursors.every((cursor) => cursor.startsWith(`${id}:`)), `${id} is not in ${cursors[0]}`);
}

async function resumes(probe: Probe, route: Route): Promise<void> {
  const { id, messages, cursors } = await probe.resumable(route);
  for (const [i, cursor] of cursors.slice(0, -1).entries()) {
    const rest = await probe.read(pathOf(id), { headers: { "last-event-id": cursor } });
    const wanted = messages.slice(i + 1).map(({ raw }) => raw).join("\n\n");
    hold(rawOf(rest) === wanted, `after ${cursor} comes ${rest.messages[0]?.raw.slice(0, 80)}`);
  }
}

async function resumesByUrl(probe: Probe, route: Route): Promise<void> {
  const { id, messages, cursors } = await probe.resumable(route);
  const wanted = messages.slice(1).map(({ raw }) => raw).join("\n\n");
  const place = cursors[0]!.slice(id.length + 1);
  for (const query of [`lastEventId=${cursors[0]}`, `from=${place}`]) {
    const rest = await probe.read(`${pathOf(id)}?${query}`);
    hold(rawOf(rest) === wanted, `?${query} gives ${rest.messages.length} messages`);
  }
}

async function resumesByPost(probe: Probe, route: Route): Promise<void> {
  const { messages, cursors } = await probe.resumable(route);
  const rest = await probe.make(route, {}, { "last-event-id": cursors[0]! });
  hold(rest.messages.length === messages.length - 1, `${rest.messages.length} messages come`);
}

async function readsAgain(probe: Probe, route: Route): Promise<void> {
  const stream = await probe.resumable(route);
  hold(rawOf(await probe.read(pathOf(stream.id))) === rawOf(stream), "the bytes differ");
}

async function nothingLeft(probe: Probe, route: Route): Promise<void> {
  const { id, cursors } = await probe.resumable(route);
  await expectStatus(probe, pathOf(id), 204, { headers: { "last-event-id": cursors.at(-1)! } });
}

async function expectStatus(probe: Probe, path: string, wanted: number, ask?: Ask): Promise<void> {
  const { status } = await probe.ask(path, ask);
  hold(status === wanted, `the status is ${status}`);
}

/** A rule on the status of a place of the short stream. */
function statusOf(wanted: number, query: string): Check["run"] {
  return async (probe, route) => {
    const { id } = await probe.resumable(route);
    await expectStatus(probe, `${pathOf(id)}?${query}`, wanted);
  };
}

async function unknownStream(probe: Probe, route: Route): Promise<void> {
  await probe.resumable(route);
  await expectStatus(probe, pathOf("0".repeat(32)), 404);
}

async function otherKey(probe: Probe, route: Route): Promise<void> {
  const { id } = await probe.resumable(route);
  const { status } = await probe.ask(pathOf(id), { headers: { authorization: "Bearer another" } });
  hold(status === 404 || status === 401, `the status is ${status}`);
}

/** A long stream that has said something; what is not read of it is not computed. */
async function begin(probe: Probe, route: Route, more: Record<string, unknown> = {}) {
  const response = await probe.open(route.path, {
    body: await probe.bodyOf(route, { ...LONG, ...more }),
  });
  const reader = response.body!.getReader();
  const id = response.headers.get("x-stream-id");
  if (response.status !== 200 || id === null) {
    await reader.cancel();
    throw new MissingError(response.status === 200 ? "no X-Stream-Id" : `${response.status}`);
  }
  let text = "";
  const decoder = new TextDecoder();
  const next = async (): Promise<boolean> => {
    const { value } = await reader.read();
    text += decoder.decode(value, { stream: true });
    return value !== undefined;
  };
  while (!text.includes("data: ") && await next());
  return {
    id,
    leave: () => reader.cancel(),
    rest: async (): Promise<string> => {
      while (await next());
      return text;
    },
  };
}

async function oneGeneration(probe: Probe, route: Route): Promise<void> {
  const stream = await begin(probe, route, { max_tokens: 48 });
  const readers = await Promise.all([probe.read(pathOf(stream.id)), probe.read(pathOf(stream.id))]);
  const first = await stream.rest();
  const wanted = rawOf({ messages: messagesOf(first) });
  hold(readers.every((reader) => rawOf(reader) === wanted), "the bytes differ");
}

async function stops(probe: Probe, route: Route): Promise<void> {
  const stream = await begin(probe, route);
  const { status } = await probe.ask(pathOf(stream.id), { method: "DELETE" });
  const text = await stream.rest();
  hold(status === 204, `the status is ${status}`);
  hold(/event: (complete|error)|"error"/.test(text), "no terminal event follows");
  hold(!isWhole(text), "all of it comes all the same");
}

async function disconnects(probe: Probe, route: Route): Promise<void> {
  const stream = await begin(probe, route);
  await stream.leave();
  // A reader that came at once would keep it alive.
  await new Promise((resolve) => setTimeout(resolve, NOTICE_MS));
  const { text } = await probe.read(pathOf(stream.id));
  hold(!isWhole(text), "all of it was computed all the same");
}

async function continues(probe: Probe, route: Route): Promise<void> {
  const stream = await begin(probe, route, { max_tokens: 24, on_disconnect: "continue" });
  await stream.leave();
  const { messages } = await probe.read(pathOf(stream.id));
  const whole = await probe.make(route, { ...LONG, max_tokens: 24 });
  hold(textOf(route, messages) === textOf(route, whole.messages), "the text is another one");
}

async function attaches(probe: Probe, route: Route): Promise<void> {
  const key = { "idempotency-key": crypto.randomUUID() };
  const [first, second] = await Promise.all([
    probe.make(route, {}, key),
    probe.make(route, {}, key),
  ]);
  if (first.id === "") throw new MissingError("no X-Stream-Id");
  hold(first.id === second.id, "two streams are made");
  hold(rawOf(first) === rawOf(second), "the bytes differ");
  const other = await probe.bodyOf(route, { max_tokens: 3 });
  await expectStatus(probe, route.path, 422, { body: other, headers: key });
}

async function ndjson(probe: Probe, route: Route): Promise<void> {
  const { id, messages } = await probe.resumable(route);
  const { headers, text } = await probe.ask(pathOf(id), {
    headers: { accept: "application/x-ndjson" },
  });
  const type = headers.get("content-type") ?? "";
  if (!type.startsWith("application/x-ndjson")) throw new MissingError(`content-type is ${type}`);
  const lines = text.split("\n").filter((line) => line !== "").map(jsonOf);
  const wanted = messages.map(({ id, event, data }) => ({
    id,
    ...(event !== undefined && { event }),
    data: jsonOf(data),
  }));
  hold(JSON.stringify(lines) === JSON.stringify(wanted), `line 1 is ${JSON.stringify(lines[0])}`);
}

async function binary(probe: Probe, route: Route): Promise<void> {
  const { id, messages } = await probe.resumable(route);
  const { headers, bytes } = await probe.ask(pathOf(id), {
    headers: { accept: "application/octet-stream" },
  });
  const type = headers.get("content-type") ?? "";
  if (type !== "application/octet-stream") throw new MissingError(`content-type is ${type}`);
  const frames = new FrameParser().push(bytes).filter(({ event }) => event !== null);
  hold(frames.every(({ seq }, i) => seq === i), "the seqs are not 0, 1, 2 ...");
  const said = frames.map(({ event }) => event?.type === "token" ? event.text : "").join("");
  hold(said === textOf(route, messages), `the text is ${JSON.stringify(said)}`);
  hold(member(frames.at(-1), "event", "type") === "complete", "the last frame is no end");
}

const badCursor = statusOf(400, "from=x");
const pastEnd = statusOf(409, "from=99999");

/** The order is that of the print. */
export const STREAM_CHECKS: readonly Check[] = [
  { name: "puts an id of its own on every message", routes: ALL, run: ids },
  { name: "names its stream in X-Stream-Id and in every id", routes: ALL, run: streamId },
  { name: "can be read again, the same bytes", routes: RESUMED, run: readsAgain },
  { name: "goes on from every id, byte for byte", routes: RESUMED, run: resumes },
  { name: "goes on from ?lastEventId= and ?from=", routes: RESUMED, run: resumesByUrl },
  { name: "goes on at its own route by Last-Event-ID", routes: RESUMED, run: resumesByPost },
  { name: "answers 204 where nothing is left", routes: RESUMED, run: nothingLeft },
  { name: "answers 400 to a malformed cursor", routes: [NATIVE], run: badCursor },
  { name: "answers 404 for an unknown stream", routes: [NATIVE], run: unknownStream },
  { name: "answers 409 to a cursor past the end", routes: [NATIVE], run: pastEnd },
  { name: "shows no stream to another key", routes: [NATIVE], run: otherKey },
  { name: "gives three readers the same bytes", routes: RESUMED, run: oneGeneration },
  { name: "ends by DELETE, with a terminal event", routes: RESUMED, run: stops },
  { name: "ends when its only reader goes", routes: RESUMED, run: disconnects },
  { name: "continues without a reader where asked to", routes: RESUMED, run: continues },
  { name: "attaches by Idempotency-Key, one body only", routes: RESUMED, run: attaches },
  { name: "says the same as application/x-ndjson", routes: RESUMED, run: ndjson },
  { name: "says the same as application/octet-stream", routes: RESUMED, run: binary },
];
