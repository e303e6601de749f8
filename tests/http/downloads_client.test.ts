/** The client of downloads as people print it, word for word, and mended; against a real port. */
import { describe, expect, it } from "bun:test";
import { readFile } from "node:fs/promises";
import { createHandler } from "../../src/server/handler.ts";
import { ModelStore } from "../../src/store/store.ts";
import { DownloadTracker } from "../../src/store/tracker.ts";
import { MockHub, Place, REF } from "../store/mock_hub.ts";
import { EventSourceHere } from "../support/event_source.ts";
import { MockGenerator } from "../support/mock_generator.ts";
import { serveHere } from "../support/serve_here.ts";

const OTHER = "hf:owner/other";

/** What a client shows, line by line. */
class Console {
  readonly lines: string[] = [];
  #wake: () => void = () => undefined;

  log(line: string): void {
    this.lines.push(line);
    this.#wake();
  }

  /** Resolves once there are so many lines. */
  async has(lines: number): Promise<void> {
    while (this.lines.length < lines) await new Promise<void>((resolve) => this.#wake = resolve);
  }
}

/** The page that a client is in. */
interface Shown {
  readonly console: Console;
  readonly source: InstanceType<typeof EventSourceHere>;
  /** Resolves once the client closes its source. */
  readonly closed: Promise<void>;
}

/** Opens a page with a client in it, once its EventSource is connected. */
async function show(url: string, file: string, modelRef?: string): Promise<Shown> {
  const closed = Promise.withResolvers<void>();
  const sources: Shown["source"][] = [];
  class PageEventSource extends EventSourceHere {
    constructor(path: string) {
      super(url + path);
      sources.push(this);
    }

    override close(): void {
      super.close();
      closed.resolve();
    }
  }
  const page = { EventSource: PageEventSource, console: new Console(), modelRef };
  const script = await readFile(new URL(`fixtures/${file}.txt`, import.meta.url), "utf8");
  new Function(...Object.keys(page), script)(...Object.values(page));
  const [source] = sources;
  await new Promise((resolve) => source!.addEventListener("open", resolve, { once: true }));
  return { console: page.console, source: source!, closed: closed.promise };
}

/** Runs against a server whose downloads the test tells of by itself. */
async function withTracker(
  run: (tracker: DownloadTracker, url: string) => Promise<void>,
): Promise<void> {
  const tracker = new DownloadTracker();
  const downloads = new ModelStore({ tracker, env: { HOME: "/nowhere" } });
  const server = await serveHere(createHandler(new MockGenerator(), { downloads }));
  try {
    await run(tracker, server.url);
  } finally {
    await server.stop();
  }
}

describe("a client that opens an EventSource on /v1/models/download/progress", () => {
  it("logs how far the download is, and closes when it is complete", async () => {
    await withTracker(async (tracker, url) => {
      const { console, closed } = await show(url, "downloads_client");
      tracker.started("TinyLlama");
      tracker.progress("TinyLlama", 1048576, 10485760);
      await console.has(1);
      tracker.progress("TinyLlama", 10485760, 10485760);
      tracker.complete("TinyLlama");
      await closed;
      expect(console.lines).toEqual([
        "Progress: 1048576/10485760",
        "Progress: 10485760/10485760",
        "Download complete!",
      ]);
      while (tracker.counts.readers > 0) await new Promise((resolve) => setTimeout(resolve, 1));
    });
  });

  it("follows a pull from a hub to its end", async () => {
    await using hub = await MockHub.open();
    using place = new Place(hub);
    const bytes = hub.content.length;
    hub.faults.push({ pieces: Math.ceil(bytes / 4) });
    const downloads = place.store();
    const server = await serveHere(createHandler(new MockGenerator(), { downloads }));
    try {
      const { console, closed } = await show(server.url, "downloads_client");
      const body = JSON.stringify({ model_ref: REF });
      const pulled = await fetch(`${server.url}/v1/models/pull`, { method: "POST", body });
      expect([pulled.status, await pulled.text()]).toEqual([202, expect.any(String)]);
      await closed;
      expect(console.lines.at(-1)).toBe("Download complete!");
      const told = console.lines.slice(0, -1).map((line) => /^Progress: (\d+)\/(.*)$/.exec(line)!);
      expect(told.at(-1)!.slice(1)).toEqual([`${bytes}`, `${bytes}`]);
      const far = told.map(([, there]) => Number(there));
      expect(far).toEqual(far.toSorted((a, b) => a - b));
    } finally {
      await server.stop();
    }
  });

  it("takes the end of any download for its own", async () => {
    await withTracker(async (tracker, url) => {
      const { console, closed } = await show(url, "downloads_client");
      tracker.started(REF);
      tracker.complete(OTHER);
      await closed;
      expect(console.lines).toEqual(["Download complete!"]);
    });
  });
});

describe("the same client, mended", () => {
  it("hears of its own download alone, whose size may be unknown", async () => {
    await withTracker(async (tracker, url) => {
      const { console, closed } = await show(url, "downloads_client_mended", REF);
      tracker.started(REF);
      tracker.progress(OTHER, 3, 4);
      tracker.complete(OTHER);
      tracker.progress(REF, 5, null);
      await console.has(1);
      tracker.complete(REF);
      await closed;
      expect(console.lines).toEqual(["Progress: 5/unknown", "Download complete!"]);
    });
  });

  it("closes where the download fails, and says why", async () => {
    await withTracker(async (tracker, url) => {
      const { console, source, closed } = await show(url, "downloads_client_mended", REF);
      // What the browser itself has to say about a connection is no failure of the download.
      source.dispatchEvent(new Event("error"));
      tracker.started(REF);
      tracker.failed(REF, "Cannot fetch it: the disk is full");
      await closed;
      expect(console.lines).toEqual(["Download failed: Cannot fetch it: the disk is full"]);
    });
  });
});
