/** The commands of docs/streaming.md, one after the other, against a server without a model. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { GenerateRequest } from "../../src/engine/generator.ts";
import type { Steering } from "../../src/engine/steering.ts";
import { createHandler } from "../../src/server/handler.ts";
import type { RunningServer } from "../../src/server/adapters/server.ts";
import type { StreamEvent } from "../../src/stream/event.ts";
import { complete, MockGenerator, START, token, usage } from "../support/mock_generator.ts";
import { serveHere } from "../support/serve_here.ts";

const text = readFileSync(new URL("../../docs/streaming.md", import.meta.url), "utf8");
const blocks = [...text.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block]) => block!);

const END = '"completed_normally":true';
const TOKENS = 40;

/** For each block: what it is known by, and what it must print. */
const EXPECTED: readonly (readonly [command: string, ...prints: (string | RegExp)[]])[] = [
  ["curl -N -d", "event: token", END],
  ["curl -N -H 'Accept: application/x-ndjson'", /^\{"id":"[0-9a-f]{32}:1","event":"token"/m, END],
  ["chat/stream?prompt=Name+three+rivers.'", '{"token":"t1 ","done":false}', "event: done"],
  ['"on_disconnect":"continue"', /^id: [0-9a-f]{32}:1$/m],
  ["Last-Event-ID: $id:2", /: ok\n\nid: [0-9a-f]{32}:3\n/, END],
  ["cmp one.txt two.txt", /^the same\n$/],
  ["dialect=openai", '"object":"chat.completion.chunk"', /data: \[DONE\]\n\n$/],
  ["application/octet-stream", /\S/],
  ["snapshot=true", "event: snapshot", END],
  ['%{http_code}\\n\' -H "Last-Event-ID: $last"', /^204\n$/],
  ["Idempotency-Key", /^([0-9a-f]{32})\n\1\n$/],
  ['"action":"extend"', '"action":"extend"', /\n204\n$/],
  ["ticket=$ticket", '{"token":"t1 ","done":false}', "event: done"],
];

/** Says as many tokens as it is asked for, and takes changes. */
class Speaker extends MockGenerator {
  constructor() {
    super(function* ({ maxTokens = TOKENS }) {
      yield START;
      for (let seq = 1; seq <= maxTokens; seq++) {
        // Slower than a command that looks at the first lines.
        yield new Promise((resolve) => setTimeout(resolve, 2));
        yield token(`t${seq} `, seq);
      }
      yield usage(maxTokens);
      yield complete(maxTokens);
    });
  }

  override async *generate(
    request: GenerateRequest,
    signal?: AbortSignal,
    steering?: Steering,
  ): AsyncGenerator<StreamEvent, void, undefined> {
    steering?.listen(() => undefined);
    yield* super.generate({ ...request, maxTokens: request.maxTokens ?? TOKENS }, signal, steering);
  }
}

/** Whether the curl here knows what the commands use, which is that of 2022. */
function hasCurl(): boolean {
  const { stdout, status } = spawnSync("curl", ["--version"], { encoding: "utf8" });
  const [, major = 0, minor = 0] = /^curl (\d+)\.(\d+)/.exec(stdout ?? "") ?? [];
  return status === 0 && (Number(major) > 7 || Number(minor) >= 84);
}

const isRunnable = hasCurl() && spawnSync("bash", ["--version"]).status === 0;
describe.skipIf(!isRunnable)("docs/streaming.md (needs bash and curl 7.84)", () => {
  const folder = mkdtempSync(join(tmpdir(), "sluice-docs-"));
  let server: RunningServer;
  let outputs: string[];

  beforeAll(async () => {
    server = await serveHere(createHandler(new Speaker()));
    // One shell runs all of them: what one keeps in a variable or a file another uses.
    const mark = "\u001f";
    const script = blocks.join(`printf '${mark}'\n`).replaceAll(
      /\blocalhost:8080\b/g,
      `127.0.0.1:${server.port}`,
    );
    const child = spawn("bash", ["-ec", script], {
      cwd: folder,
      stdio: ["ignore", "pipe", "ignore"],
    });
    const exit = once(child, "exit");
    let output = "";
    const decoder = new TextDecoder();
    for await (const bytes of child.stdout) output += decoder.decode(bytes, { stream: true });
    expect((await exit)[0]).toBe(0);
    outputs = output.split(mark);
  });
  afterAll(async () => {
    await server.stop();
    rmSync(folder, { recursive: true });
  });

  test("has no command that is not known here", () => {
    expect(blocks.length).toBe(EXPECTED.length);
  });

  test.each(EXPECTED.map((row, i) => [row[0], i] as const))("%s does what it says", (_, i) => {
    const [command, ...prints] = EXPECTED[i]!;
    expect(blocks[i]).toContain(command);
    for (const print of prints) expect(outputs[i]).toMatch(print);
  });
});
