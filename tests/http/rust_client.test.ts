/** The Rust client of the rbee document, as printed and with the names that its library has. */
import { afterAll, beforeAll, describe, expect, it } from "bun:test";
import { join } from "node:path";
import type { RunningServer } from "../../src/server/adapters/server.ts";
import { createHandler } from "../../src/server/handler.ts";
import { ModelStore } from "../../src/store/store.ts";
import { DownloadTracker } from "../../src/store/tracker.ts";
import { MockGenerator, saying, START, token } from "../support/mock_generator.ts";
import { buildRustClient, HAS_RUST, RustProgram } from "../support/rust_client.ts";
import { serveHere } from "../support/serve_here.ts";
import { until } from "../tools/setup/workplace.ts";

const REF = "TinyLlama";
const PATH = "/v1/models/download/progress";

describe.skipIf(!HAS_RUST)("the Rust client (needs cargo and rustc 1.82, and cc)", () => {
  const tracker = new DownloadTracker({ readers: 1 });
  const mock = new MockGenerator();
  let server: RunningServer;
  let programs: string;

  beforeAll(async () => {
    programs = await buildRustClient();
    const downloads = new ModelStore({ tracker, env: { HOME: "/nowhere" } });
    server = await serveHere(createHandler(mock, { downloads, onError: () => undefined }));
  }, 300_000);
  afterAll(() => server?.stop());

  const printed = () => new RustProgram(join(programs, "printed"), [], server.url);
  const mended = (path: string, ...more: string[]) =>
    new RustProgram(join(programs, "mended"), [server.url + path, ...more]);

  /** A whole download, told once somebody listens. */
  async function download(): Promise<void> {
    await until(() => tracker.counts.readers > 0);
    tracker.started(REF);
    tracker.progress(REF, 1048576, 10485760);
    tracker.complete(REF);
  }

  /** Nobody listens any more. */
  const quiet = (): Promise<void> => until(() => tracker.counts.readers === 0);

  it("as printed shows the data of every event, and goes on listening", async () => {
    await using client = printed();
    for (let time = 0; time < 2; time++) {
      await download();
      for (const data of [{}, { bytes: 1048576, total: 10485760 }, {}]) {
        const { value } = await client.lines.next();
        expect(value).toBe(`Event: ${JSON.stringify({ model_ref: REF, ...data })}`);
      }
    }
    await client[Symbol.asyncDispose]();
    await quiet();
  }, 30_000);

  it("as printed shows an error where it is refused", async () => {
    await using first = printed();
    await download();
    await first.lines.next();
    await using second = printed();
    expect((await second.errors.next()).value).toMatch(/^Error: .*429/);
    // It would ask again, and be taken for the next test's client.
    await second[Symbol.asyncDispose]();
    await first[Symbol.asyncDispose]();
    await quiet();
  }, 30_000);

  it("mended ends when the download does", async () => {
    await using client = mended(PATH);
    await download();
    expect(await client.rest()).toEqual([
      `started: {"model_ref":"${REF}"}`,
      `progress: {"model_ref":"${REF}","bytes":1048576,"total":10485760}`,
      `complete: {"model_ref":"${REF}"}`,
    ]);
    await quiet();
  }, 30_000);

  it("mended reads tokens until [DONE], an error before it too", async () => {
    const infer = JSON.stringify({ prompt: "Hello", stream: true });
    mock.script = saying("Hello", " wörld", "!");
    await using whole = mended("/v1/infer", infer);
    expect(await whole.rest()).toEqual([
      'message: {"token":"Hello"}',
      'message: {"token":" wörld"}',
      'message: {"token":"!"}',
      "message: [DONE]",
    ]);
    mock.script = () => [
      START,
      token("Hello", 1),
      { type: "error", code: "engine_error", message: "", hints: [] },
    ];
    await using broken = mended("/v1/infer", infer);
    const lines = await broken.rest();
    expect(lines.length).toBe(3);
    expect(lines[1]).toContain('message: {"error":"Cannot finish the generation');
    expect(lines[2]).toBe("message: [DONE]");
  }, 30_000);
});
