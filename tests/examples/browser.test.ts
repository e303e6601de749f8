/** The example's page in Chromium: tokens, reloads, stops, lost lines, other tabs. */
import { afterAll, beforeAll, describe, expect, it } from "bun:test";
import type { Browser, Page as Tab } from "playwright-core";
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { loadPage } from "../../examples/chat/page.ts";
import { resumeStream } from "../../src/client/mod.ts";
import { SqliteStore } from "../../src/stream/stores/sqlite.ts";
import { openLine } from "../support/cut_line.ts";
import { bundled, launch, Site } from "../support/browser.ts";
import { GatedScript } from "../support/gated_script.ts";
import { START, token } from "../support/mock_generator.ts";

/** What text can do to a page: code points in pieces, white space, markup. */
const TEXTS = ["Hello", "", " é", "\n\n", "<b>&amp;", "😀", " wor", "ld."];
const page = await bundled(loadPage);
let browser: Browser;

// Bun counts the hooks of a skipped group as tests.
beforeAll(async () => {
  if (page !== undefined) browser = await launch();
});
afterAll(async () => {
  if (page !== undefined) await browser.close();
});

/** A tab of its own browser context, as a person with the chat open. */
class ChatTab implements AsyncDisposable {
  readonly tab: Tab;
  readonly #failures: unknown[] = [];

  private constructor(tab: Tab) {
    this.tab = tab;
    tab.on("pageerror", (failure) => this.#failures.push(failure));
  }

  static async open(url: string): Promise<ChatTab> {
    const context = await browser.newContext();
    return await new ChatTab(await context.newPage()).#go(url);
  }

  async #go(url: string): Promise<this> {
    await this.tab.goto(url);
    await this.tab.getByLabel("Question").waitFor();
    return this;
  }

  /** Opens another tab in the same context. */
  async another(url: string): Promise<ChatTab> {
    return await new ChatTab(await this.tab.context().newPage()).#go(url);
  }

  /** Types a question and sends it; the answer is being read then. */
  async ask(question: string): Promise<void> {
    const asked = this.tab.locator(".user");
    const before = await asked.count();
    await this.tab.getByLabel("Question").fill(question);
    await this.tab.keyboard.press("Enter");
    await asked.nth(before).waitFor();
  }

  /** Waits until the newest answer is this text, to the letter. */
  async shows(text: string): Promise<void> {
    const answer = "[...document.querySelectorAll('.assistant')].at(-1)?.textContent";
    await this.tab.waitForFunction(`${answer} === ${JSON.stringify(text)}`);
  }

  /** Waits until no answer is coming. */
  async isIdle(): Promise<void> {
    await this.tab.getByText("Send").waitFor();
  }

  /** All messages that it shows. */
  messages(): Promise<string[]> {
    return this.tab.locator("section p").allTextContents();
  }

  /** Id of the stream that it reads. */
  async streamId(): Promise<string> {
    const href = await this.tab.getByText("Follow in another tab").getAttribute("href");
    return href!.slice(1);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.tab.context().close();
    expect(this.#failures).toEqual([]);
  }
}

describe.skipIf(page === undefined)("examples/chat (needs chromium, and esbuild on Deno)", () => {
  it("shows each token as it comes, and keeps the conversation", async () => {
    const gated = new GatedScript(...TEXTS);
    await using site = await Site.open(page!, gated.script);
    await using chat = await ChatTab.open(site.url);
    await chat.ask("Hi");
    for (let n = 1; n <= TEXTS.length; n++) {
      gated.release(n);
      await chat.shows(gated.text(n));
    }
    await chat.isIdle();
    await chat.ask("And?");
    await chat.isIdle();
    expect(await chat.messages()).toEqual(["Hi", gated.text(), "And?", gated.text()]);
    expect(site.mock.requests.at(-1)?.messages).toEqual([
      { role: "user", content: "Hi" },
      { role: "assistant", content: gated.text() },
      { role: "user", content: "And?" },
    ]);
  });

  it("goes on after reloads in mid-answer, with no token twice and none lost", async () => {
    const gated = new GatedScript(...TEXTS);
    await using site = await Site.open(page!, gated.script);
    await using chat = await ChatTab.open(site.url);
    await chat.ask("Hi");
    gated.release(1);
    await chat.shows(gated.text(1));
    const id = await chat.streamId();
    for (const n of [3, 5, 7]) {
      // Nobody waits for these: they come before the reload, during it or after it.
      gated.release(n);
      const resumed = chat.tab.waitForResponse(/\/v1\/streams\//);
      await chat.tab.reload();
      await resumed;
    }
    await chat.shows(gated.text(7));
    gated.release();
    await chat.isIdle();
    expect(await chat.messages()).toEqual(["Hi", gated.text()]);
    expect(site.mock.requests.length).toBe(1);
    const resumed = site.visits.slice(1);
    expect(resumed.length).toBe(3);
    for (const { path, lastEventId } of resumed) {
      expect([path, lastEventId?.split(":")[0]]).toEqual([`/v1/streams/${id}`, id]);
    }
    await chat.tab.reload();
    await chat.isIdle();
    expect(await chat.messages()).toEqual(["Hi", gated.text()]);
  });

  it("stops the generation on the server, and keeps what was said", async () => {
    const gated = new GatedScript(...TEXTS);
    await using site = await Site.open(page!, gated.script);
    await using chat = await ChatTab.open(site.url);
    await chat.ask("Hi");
    gated.release(3);
    await chat.shows(gated.text(3));
    const id = await chat.streamId();
    await chat.tab.getByText("Stop").click();
    await chat.isIdle();
    await site.mock.until(() => site.mock.active === 0);
    expect(site.mock.aborted).toBe(1);
    const { completedNormally, completionReason } = await ending(site.url, id);
    expect([completedNormally, completionReason]).toEqual([false, "Generation cancelled"]);
    expect(await chat.messages()).toEqual(["Hi", gated.text(3)]);
  });

  it("goes on when the network is back", async () => {
    const gated = new GatedScript(...TEXTS);
    await using site = await Site.open(page!, gated.script);
    const line = await openLine(site.port);
    try {
      await using chat = await ChatTab.open(line.url);
      const network = chat.tab.context();
      await chat.ask("Hi");
      gated.release(4);
      await chat.shows(gated.text(4));
      const lost = chat.tab.waitForEvent("requestfailed");
      // Offline, Chromium lets no new request out; what is open it keeps until the line is gone.
      await network.setOffline(true);
      line.cut();
      await lost;
      gated.release();
      await network.setOffline(false);
      await chat.isIdle();
      expect(await chat.messages()).toEqual(["Hi", gated.text()]);
      const [first, ...later] = site.visits;
      expect([first?.path, later.length]).toEqual(["/v1/stream", 1]);
      expect(later[0]?.lastEventId).toMatch(/:4$/);
      expect(site.mock.requests.length).toBe(1);
    } finally {
      await line.close();
    }
  });

  it("goes on with the next process of the server", async () => {
    const folder = await mkdtemp(join(tmpdir(), "sluice-chat-"));
    try {
      const [first, next] = [new GatedScript(...TEXTS), new GatedScript(...TEXTS)];
      next.release();
      const store = () => new SqliteStore(join(folder, "streams.db"));
      const lost = await Site.open(page!, first.script, { store: store() });
      await using chat = await ChatTab.open(lost.url);
      await chat.ask("Hi");
      first.release(4);
      await chat.shows(first.text(4));
      await lost[Symbol.asyncDispose]();
      await using site = await Site.open(page!, next.script, { store: store(), port: lost.port });
      await chat.isIdle();
      expect(await chat.messages()).toEqual(["Hi", next.text()]);
      expect(site.mock.requests).toMatchObject([{ resume: { seq: 4 } }]);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it("follows one stream in two tabs", async () => {
    const gated = new GatedScript(...TEXTS);
    await using site = await Site.open(page!, gated.script);
    await using chat = await ChatTab.open(site.url);
    await chat.ask("Hi");
    gated.release(2);
    await chat.shows(gated.text(2));
    await using second = await chat.another(`${site.url}/#${await chat.streamId()}`);
    for (const n of [2, 5, TEXTS.length]) {
      gated.release(n);
      await Promise.all([chat.shows(gated.text(n)), second.shows(gated.text(n))]);
    }
    await second.isIdle();
    expect(await second.messages()).toEqual([gated.text()]);
    expect(site.mock.requests.length).toBe(1);
  });

  it("shows why an answer is not whole, and what there is of it", async () => {
    await using site = await Site.open(page!, () => [
      START,
      token("Half an", 1),
      { type: "error", code: "engine_error", message: "", hints: [] },
    ]);
    await using chat = await ChatTab.open(site.url);
    await chat.ask("Hi");
    const sentence = "The generation failed: Cannot finish the generation: the engine failed";
    expect(await chat.tab.getByRole("alert").textContent()).toBe(sentence);
    await chat.isIdle();
    expect(await chat.messages()).toEqual(["Hi", "Half an"]);
  });

  it(
    "is served with a model by serve.ts, and an answer of that is the same after a reload",
    async () => {
      const port = 18_433;
      const server = serveExample(port);
      try {
        await using chat = await ChatTab.open(await listening(port));
        await chat.ask("Write a long story about a river.");
        const length = "document.querySelector('.assistant')?.textContent.length";
        await chat.tab.waitForFunction(`${length} > 20`);
        const id = await chat.streamId();
        await chat.tab.reload();
        const before = (await chat.messages())[1]!.length;
        await chat.tab.waitForFunction(`${length} > ${before + 20}`);
        await chat.tab.getByText("Stop").click();
        await chat.isIdle();
        const said = await resumeStream({ url: `http://127.0.0.1:${port}`, id }).text();
        expect(await chat.messages()).toEqual(["Write a long story about a river.", said]);
      } finally {
        server.kill("SIGKILL");
      }
    },
    60_000,
  );
});

/** How a stream ended, by the server's own log. */
async function ending(url: string, id: string) {
  const stream = resumeStream({ url, id });
  await stream.text();
  return await stream.completion;
}

/** Starts the example as its own process, on the runtime that runs the tests. */
function serveExample(port: number) {
  const root = fileURLToPath(new URL("../../", import.meta.url));
  const config = ["-A", "--no-check", "--config", `${root}deno.offline.json`];
  const command = "Deno" in globalThis
    ? ["serve", "--port", String(port), "--host", "127.0.0.1", ...config]
    : [];
  const args = [...command, "examples/chat/serve.ts", "smollm2"];
  const env = { ...process.env, PORT: String(port) };
  return spawn(process.execPath, args, { cwd: root, env, stdio: ["ignore", "ignore", "inherit"] });
}

/** Address of a server on a port, once it answers. */
async function listening(port: number): Promise<string> {
  const url = `http://127.0.0.1:${port}`;
  const deadline = performance.now() + 30_000;
  while (!await fetch(url).then((response) => response.ok, () => false)) {
    if (performance.now() > deadline) throw new Error(`No answer from ${url}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return url;
}
