/**
 * A server to be killed: streams of paced tokens that say which process made them, in a store.
 *
 * Arguments: port, store (`sqlite:PATH` or `redis://...`), tokens of a stream, pause between two in
 * milliseconds.
 *
 * @module
 */
import process from "node:process";
import { createHandler } from "../../src/server/handler.ts";
import { SqliteStore } from "../../src/stream/stores/sqlite.ts";
import type { StreamStore } from "../../src/stream/store.ts";
import { complete, MockGenerator, type Script, START, token, usage } from "./mock_generator.ts";
import { serveHere } from "./serve_here.ts";

async function openStore(name: string): Promise<StreamStore> {
  if (name.startsWith("sqlite:")) return new SqliteStore(name.slice("sqlite:".length));
  const { RedisStore } = await import("../../src/stream/stores/redis.ts");
  return await RedisStore.connect(name);
}

function paced(n: number, pauseMs: number): Script {
  return function* ({ resume }) {
    yield START;
    for (let seq = (resume?.seq ?? 0) + 1; seq <= n; seq++) {
      yield new Promise((resolve) => setTimeout(resolve, pauseMs));
      yield token(`${process.pid}:${seq} `, seq);
    }
    yield usage(n);
    yield complete(n);
  };
}

const [port = "0", store = "", tokens = "100", pauseMs = "1"] = process.argv.slice(2);
const handler = createHandler(new MockGenerator(paced(Number(tokens), Number(pauseMs))), {
  store: await openStore(store),
  streams: { leaseMs: 500 },
});
const server = await serveHere(handler, Number(port));
process.stdout.write(`${server.port}\n`);
