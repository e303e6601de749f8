/** EventSource as Chromium has it: printed clients, lost lines, other origins, tickets. */
import { afterAll, beforeAll, describe, expect, it } from "bun:test";
import type { Browser, Page as Tab } from "playwright-core";
import { readFile } from "node:fs/promises";
import { createKey } from "../../src/server/keys.ts";
import { ModelStore } from "../../src/store/store.ts";
import { DownloadTracker } from "../../src/store/tracker.ts";
import { bundled, bundleText, CHROMIUM, launch, pageOf, Site } from "../support/browser.ts";
import { openLine } from "../support/cut_line.ts";
import { GatedScript } from "../support/gated_script.ts";
import { saying, START, token } from "../support/mock_generator.ts";

const TEXTS = ["Hello", " é", "\n\n", "<b>&amp;", "😀", " wor", "ld."];
const EMPTY = pageOf("");
/** Keeps every EventSource that a page opens and what it logs, for the test to look at. */
const WATCHED = `globalThis.sources = [];
  globalThis.logged = [];
  console.log = (line) => logged.push(line);
  globalThis.EventSource = class extends EventSource {
    constructor(url) {
      super(url);
      sources.push(this);
    }
  };`;
/** What an EventSource of a test hears, in the order in which it comes. */
const HEARING = `((url) => {
    const heard = globalThis.heard = { texts: [], ids: [], isDone: false };
    const source = globalThis.source = new EventSource(url);
    source.addEventListener("message", ({ data, lastEventId }) => {
      heard.texts.push(JSON.parse(data).token);
      heard.ids.push(lastEventId);
    });
    source.addEventListener("done", () => heard.isDone = true);
  })`;
const CLOSED = "source.readyState === EventSource.CLOSED";
const ENDED = "heard.isDone && " + CLOSED;
/** The one EventSource of a page, as its own script left it. */
const LEFT = "sources.length === 1 && sources[0].readyState === EventSource.CLOSED";
const BODY = { messages: [{ role: "user", content: "Hi" }] };

let browser: Browser;

// Bun counts the hooks of a skipped group as tests.
beforeAll(async () => {
  if (CHROMIUM !== undefined) browser = await launch();
});
afterAll(async () => {
  if (CHROMIUM !== undefined) await browser.close();
});

/** Runs with a tab that shows a page. */
async function withTab<T>(url: string, run: (tab: Tab) => Promise<T>): Promise<T> {
  const context = await browser.newContext();
  try {
    const tab = await context.newPage();
    await tab.addInitScript(WATCHED);
    await tab.goto(url);
    return await run(tab);
  } finally {
    await context.close();
  }
}

/** Sends a request from within a page: its status, or `refused` where the page may not know. */
async function sent(tab: Tab, url: string, init: RequestInit): Promise<number | "refused"> {
  const call = `fetch(${JSON.stringify(url)}, ${JSON.stringify(init)})`;
  const read = ".then(async (response) => (await response.text(), response.status))";
  return await tab.evaluate(`${call}${read}.catch(() => "refused")`);
}

/** A client as people print it. */
function fixture(name: string): Promise<string> {
  return readFile(new URL(`../http/fixtures/${name}.txt`, import.meta.url), "utf8");
}

/** The hook and its component as their document has them, made to be shown. */
async function printedPage(): Promise<string> {
  const printed = ["chat_stream_hook", "chat_stream_component"].map(fixture);
  return await bundleText([
    "/** @jsxRuntime automatic */",
    "/** @jsxImportSource react */",
    ...await Promise.all(printed),
    'import { createRoot } from "react-dom/client";',
    'createRoot(document.getElementById("root")!).render(<ChatComponent />);',
  ].join("\n"));
}

const printed = await bundled(printedPage);

describe.skipIf(CHROMIUM === undefined)("Chromium (needs chromium)", () => {
  describe("an EventSource", () => {
    it("comes back by itself with its last id, and stays away once it has everything", async () => {
      const gated = new GatedScript(...TEXTS);
      await using site = await Site.open(EMPTY, gated.script);
      const line = await openLine(site.port);
      try {
        await withTab(line.url, async (tab) => {
          await tab.evaluate(`${HEARING}("/chat/stream?prompt=Hi")`);
          gated.release(4);
          await tab.waitForFunction("heard.texts.length === 4");
          line.cut();
          await tab.waitForFunction("source.readyState === EventSource.CONNECTING");
          gated.release();
          await tab.waitForFunction(ENDED);
          const { texts, ids } = await tab.evaluate<{ texts: string[]; ids: string[] }>("heard");
          expect(texts).toEqual(TEXTS);
          const [id] = ids[0]!.split(":");
          expect(ids).toEqual(TEXTS.map((_, i) => `${id}:${i + 1}`));
          const lastIds = site.visits.map(({ lastEventId, status }) => [lastEventId, status]);
          expect(lastIds.slice(0, 2)).toEqual([[null, 200], [`${id}:4`, 200]]);
          // The end of the body makes it ask once more.
          expect(lastIds[2]?.[1]).toBe(204);
          expect(site.mock.requests.length).toBe(1);
        });
      } finally {
        await line.close();
      }
    });
  });

  describe.skipIf(printed === undefined)("the printed hook (needs esbuild on Deno)", () => {
    const answer = "document.querySelector('#root div > div')?.textContent";
    const isStreaming = "document.querySelector('#root span')?.textContent === '...'";

    it("shows tokens as they come, and closes when it is told that all are there", async () => {
      const gated = new GatedScript(...TEXTS);
      await using site = await Site.open(pageOf(printed!), gated.script);
      await withTab(site.url, async (tab) => {
        await tab.getByText("Send").click();
        for (let n = 1; n < TEXTS.length; n++) {
          gated.release(n);
          const text = JSON.stringify(gated.text(n));
          await tab.waitForFunction(`${answer} === ${text} && ${isStreaming}`);
        }
        gated.release();
        await tab.waitForFunction(`${LEFT} && !(${isStreaming})`);
        expect(await tab.evaluate<string>(answer)).toBe(gated.text());
        expect(site.mock.requests.map(({ messages }) => messages)).toEqual([
          [{ role: "user", content: "Hello AI!" }],
        ]);
      });
    });

    it("stops where the generation fails, with what it has", async () => {
      await using site = await Site.open(pageOf(printed!), () => [
        START,
        token("Half an", 1),
        { type: "error", code: "engine_error", message: "", hints: [] },
      ]);
      await withTab(site.url, async (tab) => {
        await tab.getByText("Send").click();
        await tab.waitForFunction(`${LEFT} && !(${isStreaming})`);
        expect(await tab.evaluate<string>(answer)).toBe("Half an");
      });
    });
  });

  describe("a client that people print", () => {
    it("logs every token of /v1/infer, and closes at [DONE]", async () => {
      await using site = await Site.open(EMPTY, saying(...TEXTS));
      await withTab(site.url, async (tab) => {
        await tab.addScriptTag({ content: await fixture("infer_client") });
        await tab.waitForFunction(LEFT);
        expect(await tab.evaluate("logged")).toEqual(TEXTS);
      });
    });

    it("logs how far a download is, and closes when it is complete", async () => {
      const tracker = new DownloadTracker();
      const downloads = new ModelStore({ tracker, env: { HOME: "/nowhere" } });
      await using site = await Site.open(EMPTY, saying("no"), { downloads });
      await withTab(site.url, async (tab) => {
        await tab.addScriptTag({ content: await fixture("downloads_client") });
        await tab.waitForFunction("sources[0].readyState === EventSource.OPEN");
        tracker.started("TinyLlama");
        tracker.progress("TinyLlama", 1048576, 10485760);
        tracker.complete("TinyLlama");
        await tab.waitForFunction(LEFT);
        const lines = ["Progress: 1048576/10485760", "Download complete!"];
        expect(await tab.evaluate("logged")).toEqual(lines);
      });
    });
  });

  describe("a page of another origin", () => {
    const post = { method: "POST", body: JSON.stringify(BODY) };
    const json = { ...post, headers: { "content-type": "application/json" } };

    /** A page of `localhost`, which is another site than 127.0.0.1. */
    const withForeignTab = async (port: number, run: (tab: Tab) => Promise<void>): Promise<void> =>
      await withTab(`http://localhost:${port}`, run);

    it("is refused without the allow-list", async () => {
      await using home = await Site.open(EMPTY, saying("no"));
      await using site = await Site.open(EMPTY, saying(...TEXTS));
      await withForeignTab(home.port, async (tab) => {
        expect(await sent(tab, `${site.url}/v1/stream`, post)).toBe("refused");
        expect(await sent(tab, `${site.url}/v1/stream`, json)).toBe("refused");
        await tab.evaluate(`${HEARING}("${site.url}/chat/stream?prompt=Hi")`);
        await tab.waitForFunction(CLOSED);
        expect(await tab.evaluate("heard.texts")).toEqual([]);
      });
      expect(site.mock.requests).toEqual([]);
    });

    it("may use the server where the allow-list has its origin", async () => {
      await using home = await Site.open(EMPTY, saying("no"));
      const corsOrigins = [`http://localhost:${home.port}`];
      await using site = await Site.open(EMPTY, saying(...TEXTS), { corsOrigins });
      await withForeignTab(home.port, async (tab) => {
        expect(await sent(tab, `${site.url}/v1/stream`, json)).toBe(200);
        await tab.evaluate(`${HEARING}("${site.url}/chat/stream?prompt=Hi")`);
        await tab.waitForFunction("heard.isDone");
        expect(await tab.evaluate("heard.texts")).toEqual(TEXTS);
      });
      expect(site.mock.requests.length).toBe(2);
    });

    it("gets a ticket with its key, and its EventSource gets in with the ticket alone", async () => {
      await using home = await Site.open(EMPTY, saying("no"));
      const { secret, key } = await createKey({ name: "page" });
      const corsOrigins = [`http://localhost:${home.port}`];
      await using site = await Site.open(EMPTY, saying(...TEXTS), { corsOrigins, keys: [key] });
      await withForeignTab(home.port, async (tab) => {
        const address = `${site.url}/chat/stream?prompt=Hi`;
        await tab.evaluate(`${HEARING}("${address}")`);
        await tab.waitForFunction(CLOSED);
        const asking = {
          method: "POST",
          headers: { "content-type": "application/json", authorization: `Bearer ${secret}` },
          body: JSON.stringify({ path: "/chat/stream" }),
        };
        const ticket = await tab.evaluate<string>(
          `fetch("${site.url}/v1/tickets", ${JSON.stringify(asking)})
            .then((response) => response.json()).then(({ ticket }) => ticket)`,
        );
        await tab.evaluate(`${HEARING}("${address}&ticket=${ticket}")`);
        await tab.waitForFunction("heard.isDone");
        expect(await tab.evaluate("heard.texts")).toEqual(TEXTS);
      });
      expect(site.visits.map(({ status }) => status)).toContain(401);
      expect(site.mock.requests.length).toBe(1);
    });
  });
});
