/**
 * Recordings: whole answers as they were on the wire, one file each, made by a server without a
 * model: `bun bench/conformance/recording.ts FOLDER` writes them.
 *
 * A file is the line of the request, the status, the headers, an empty line, and the bytes of the
 * body. The id of its stream and the time are the same in every run.
 *
 * @module
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createHandler } from "../../src/server/handler.ts";
import { MockGenerator } from "../../tests/support/mock_generator.ts";
import { runBench, UsageError } from "../options.ts";
import { CHAT, COMPLETIONS, NATIVE, type Route } from "./probe.ts";
import { conformingScript, FAILING_PROMPT } from "./script.ts";

/** One answer. */
export interface Recording {
  readonly name: string;
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array<ArrayBuffer>;
}

/** How a recorded answer was asked for. */
interface Subject {
  readonly name: string;
  readonly route: Route;
  readonly more?: Readonly<Record<string, unknown>>;
  readonly accept?: string;
}

const failing = { prompt: FAILING_PROMPT };
const SUBJECTS: readonly Subject[] = [
  { name: "chat", route: CHAT },
  { name: "chat_usage", route: CHAT, more: { stream_options: { include_usage: true } } },
  { name: "chat_whole", route: CHAT, more: { stream: false } },
  {
    name: "chat_error",
    route: CHAT,
    more: { messages: [{ role: "user", content: FAILING_PROMPT }] },
  },
  { name: "chat_refused", route: CHAT, more: { temperature: "hot", top_p: 7 } },
  { name: "completions", route: COMPLETIONS },
  { name: "native", route: NATIVE },
  { name: "native_error", route: NATIVE, more: failing },
  { name: "native_refused", route: NATIVE, more: { temperature: "hot", top_p: 7 } },
  { name: "native_ndjson", route: NATIVE, accept: "application/x-ndjson" },
  { name: "native_binary", route: NATIVE, accept: "application/octet-stream" },
];

/** Headers that no recording keeps. */
const DIFFERENT_EACH_TIME = ["x-request-id", "server-timing"];
const STREAM_ID = "5".repeat(32);
/** Stands for the time at which an answer was made, in Unix seconds. */
const CREATED = "1700000000";

/** Bytes as characters and back, so that a binary body survives. */
const charactersOf = (bytes: Uint8Array): string => {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
};
const bytesOf = (characters: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(characters, (character) => character.charCodeAt(0));

async function record({ name, route, more, accept }: Subject): Promise<Recording> {
  // One of them is a failure on purpose.
  const options = { keepAliveMs: 0, onError: () => undefined };
  const handler = createHandler(new MockGenerator(conformingScript), options);
  const response = await handler(
    new Request(`http://localhost${route.path}`, {
      method: "POST",
      headers: accept === undefined ? {} : { accept },
      body: JSON.stringify({ ...route.body, ...more }),
    }),
  );
  const id = response.headers.get("x-stream-id") ?? STREAM_ID;
  const characters = charactersOf(new Uint8Array(await response.arrayBuffer()))
    .replaceAll(id, STREAM_ID)
    .replaceAll(/"created":[0-9]{10}/g, `"created":${CREATED}`);
  const headers = Object.fromEntries(
    [...response.headers]
      .filter(([key]) => !DIFFERENT_EACH_TIME.includes(key))
      .map(([key, value]) => [key, value.replace(id, STREAM_ID)])
      .sort(),
  );
  const { status } = response;
  return { name, method: "POST", path: route.path, status, headers, body: bytesOf(characters) };
}

/** Makes all recordings anew. */
export function recordAll(): Promise<Recording[]> {
  return Promise.all(SUBJECTS.map(record));
}

/** The bytes of a file. */
export function writeRecording(recording: Recording): Uint8Array<ArrayBuffer> {
  const { method, path, status, headers, body } = recording;
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\n`).join("");
  return bytesOf(`${method} ${path}\n${status}\n${lines}\n${charactersOf(body)}`);
}

/**
 * Reads the file of one recording.
 *
 * @throws UsageError where there is none of that name
 */
export async function readRecording(folder: string, name: string): Promise<Recording> {
  if (!/^[a-z_]+$/.test(name) || !SUBJECTS.some((subject) => subject.name === name)) {
    const names = SUBJECTS.map((subject) => subject.name).join(", ");
    throw new UsageError(`Cannot replay "${name}": expected one of ${names}`);
  }
  const file = charactersOf(await readFile(join(folder, `${name}.http`)));
  const end = file.indexOf("\n\n");
  const [request = "", status, ...lines] = file.slice(0, end).split("\n");
  const [method = "", path = ""] = request.split(" ");
  const headers = Object.fromEntries(
    lines.map((line) => [line.slice(0, line.indexOf(": ")), line.slice(line.indexOf(": ") + 2)]),
  );
  const body = bytesOf(file.slice(end + 2));
  return { name, method, path, status: Number(status), headers, body };
}

async function main([folder, ...more]: string[]): Promise<number> {
  if (folder === undefined || more.length > 0) {
    throw new UsageError("Cannot write recordings: expected one argument, a folder");
  }
  await mkdir(folder, { recursive: true });
  for (const recording of await recordAll()) {
    await writeFile(join(folder, `${recording.name}.http`), writeRecording(recording));
  }
  return 0;
}

if (import.meta.main) await runBench(main);
