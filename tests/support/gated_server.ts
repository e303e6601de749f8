/**
 * A server in a process of its own whose generator says a token only when it is told to.
 *
 * Its argument is the JSON of `GatedSettings`. It takes commands as lines: `open N` lets token N
 * and all before it pass, `idle` waits until nothing is generated, `state` asks, `stop` ends it. It
 * says its state as lines of JSON: once when it listens, and after each command.
 *
 * @module
 */
import process from "node:process";
import { createInterface } from "node:readline";
import { createHandler } from "../../src/server/handler.ts";
import { openStreamStore } from "../../src/stream/stores/open.ts";
import type { GatedSettings, GatedState } from "./gated_replica.ts";
import { complete, MockGenerator, type Script, START, token, usage } from "./mock_generator.ts";
import { serveHere } from "./serve_here.ts";

const settings = JSON.parse(process.argv[2] ?? "{}") as GatedSettings;
let open = 0;
let made = 0;
let waiting: { seq: number; resolve: () => void }[] = [];

function passed(seq: number): Promise<void> {
  return new Promise((resolve) => {
    if (seq <= open) resolve();
    else waiting.push({ seq, resolve });
  });
}

function openTo(seq: number): void {
  open = seq;
  const passing = waiting.filter((one) => one.seq <= open);
  waiting = waiting.filter((one) => one.seq > open);
  for (const { resolve } of passing) resolve();
}

const script: Script = function* ({ resume }) {
  const { tokens } = settings;
  yield START;
  for (let seq = (resume?.seq ?? 0) + 1; seq <= tokens; seq++) {
    yield passed(seq);
    made = seq;
    yield token(`${process.pid}:${seq} `, seq);
  }
  yield usage(tokens);
  yield complete(tokens);
};

const mock = new MockGenerator(script);
const store = await openStreamStore(settings.store);
const handler = createHandler(mock, {
  keepAliveMs: settings.keepAliveMs,
  hosts: settings.hosts,
  streams: { leaseMs: 500, streamsMax: settings.streamsMax },
  ...(store === undefined ? {} : { store }),
});
const server = await serveHere(handler);

function tell(): void {
  const { readers } = handler.streams;
  const state: GatedState = { port: server.port, made, active: mock.active, readers };
  process.stdout.write(`${JSON.stringify(state)}\n`);
}

tell();
for await (const line of createInterface(process.stdin)) {
  const [command, argument] = line.split(" ");
  if (command === "open") openTo(Number(argument));
  if (command === "idle") await mock.until(() => mock.active === 0);
  if (command === "stop") {
    await server.stop();
    break;
  }
  tell();
}
// It was told to stop, or whoever started it is gone.
process.exit(0);
