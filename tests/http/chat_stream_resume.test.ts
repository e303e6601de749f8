/** `/chat/stream` on a port: an EventSource that is cut off resumes by itself, each token once. */
import { describe, expect, it } from "bun:test";
import { createHandler } from "../../src/server/handler.ts";
import { openLine } from "../support/cut_line.ts";
import { EventSourceHere, type EventSourceLike } from "../support/event_source.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { complete, MockGenerator, type Script, START, token } from "../support/mock_generator.ts";
import { serveHere } from "../support/serve_here.ts";

const CLOSED = 2;
const TEXTS = Array.from({ length: 8 }, (_, i) => ["é", "\n", "😀 ", ` word${i}`][i % 4]!);

/** Says half of the texts, waits, and says the rest. */
const halves = (gate: Promise<void>): Script => () => {
  const tokens = TEXTS.map((text, i) => token(text, i + 1));
  return [START, ...tokens.slice(0, 4), gate, ...tokens.slice(4), complete(TEXTS.length)];
};

/** What an EventSource has heard, in the order in which it came. */
class Ear {
  readonly source: EventSourceLike;
  readonly texts: string[] = [];
  readonly ids: string[] = [];
  isDone = false;
  errors = 0;
  #wake: () => void = () => undefined;

  constructor(url: string) {
    this.source = new EventSourceHere(`${url}/chat/stream?prompt=Hi`);
    this.source.addEventListener("message", (event) => this.#take(event as MessageEvent));
    this.source.addEventListener("done", () => this.isDone = true);
    this.source.addEventListener("error", () => this.errors++);
    for (const name of ["message", "done", "error"]) {
      this.source.addEventListener(name, () => this.#wake());
    }
  }

  #take({ data, lastEventId }: MessageEvent): void {
    this.texts.push(JSON.parse(data).token);
    this.ids.push(lastEventId);
  }

  /** Resolves once the condition holds. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#wake = resolve);
  }
}

describe("an EventSource of /chat/stream", () => {
  it("goes on after a lost line, and stays away once it has everything", async () => {
    const gate = Promise.withResolvers<void>();
    const mock = new MockGenerator(halves(gate.promise));
    const statuses: number[] = [];
    const handler = createHandler(mock);
    const server = await serveHere(Object.assign(async (request: Request) => {
      const response = await handler(request);
      statuses.push(response.status);
      return response;
    }, handler));
    const line = await openLine(server.port);
    const ear = new Ear(line.url);
    try {
      await ear.until(() => ear.texts.length === 4);
      line.cut();
      await ear.until(() => ear.errors === 1);
      gate.resolve();
      await ear.until(() => ear.isDone);
      expect(ear.texts).toEqual(TEXTS);
      const [id = ""] = ear.ids[0]!.split(":");
      expect(ear.ids).toEqual(TEXTS.map((_, i) => `${id}:${i + 1}`));
      // Nobody closes it: the end makes it ask once more, and 204 makes it stop.
      await ear.until(() => ear.source.readyState === CLOSED);
      expect(statuses).toEqual([200, 200, 204]);
      expect(mock.requests.length).toBe(1);
      expect(ear.texts).toEqual(TEXTS);
    } finally {
      ear.source.close();
      await line.close();
      await server.stop();
    }
  }, 20_000);

  it("goes on with the next process, which samples nothing again", async () => {
    const store = new MemoryStore();
    const first = new MockGenerator(halves(new Promise(() => undefined)));
    const next = new MockGenerator(halves(Promise.resolve()));
    let server = await serveHere(createHandler(first, { store }));
    const ear = new Ear(server.url);
    try {
      await ear.until(() => ear.texts.length === 4);
      await server.stop();
      server = await serveHere(createHandler(next, { store }), server.port);
      await ear.until(() => ear.isDone);
      expect(ear.texts).toEqual(TEXTS);
      expect(next.requests).toMatchObject([{ resume: { seq: 4, ids: [101, 102, 103, 104] } }]);
    } finally {
      ear.source.close();
      await server.stop();
    }
  });
});
