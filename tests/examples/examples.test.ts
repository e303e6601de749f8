import { describe, expect, test } from "bun:test";
import { spawn } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));
const onDeno = "Deno" in globalThis;

/** Runs an example as its own process, on the runtime that runs the tests. */
function start(args: string[], port?: number) {
  const config = ["-A", "--no-check", "--config", `${root}deno.offline.json`];
  const command = port === undefined
    ? onDeno ? ["run", ...config, ...args] : args
    : onDeno
    ? ["serve", "--port", String(port), "--host", "127.0.0.1", ...config, ...args]
    : args;
  const env = { ...process.env, ...(port !== undefined && { PORT: String(port) }) };
  return spawn(process.execPath, command, { cwd: root, env, stdio: ["ignore", "pipe", "inherit"] });
}

async function output(args: string[]): Promise<string> {
  const child = start(args);
  let text = "";
  for await (const piece of child.stdout) text += piece;
  const code = child.exitCode ?? await new Promise((resolve) => child.once("exit", resolve));
  expect(code).toBe(0);
  return text;
}

/** Asks until the server answers, then gives its answer. */
async function ask(url: string, init?: RequestInit): Promise<Response> {
  const deadline = performance.now() + 30_000;
  for (;;) {
    const response = await fetch(url, init).catch(() => undefined);
    if (response && response.status !== 429) return response;
    await response?.body?.cancel();
    if (performance.now() > deadline) throw new Error(`No answer from ${url}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

describe("examples/generate.ts", () => {
  test("prints an answer and how it ended", async () => {
    const text = await output(["examples/generate.ts", "What is the capital of France?"]);
    expect(text).toMatch(/\p{L}{3}.*\n\[(eos|length)\] \d+ tokens/su);
  }, 60_000);
});

describe("examples/streaming_sse.ts", () => {
  test("prints one line for each token and the end", async () => {
    const lines = (await output(["examples/streaming_sse.ts"])).trimEnd().split("\n");
    expect(lines[0]).toMatch(/^1 \d+ /);
    expect(lines.at(-1)).toMatch(/: \d+ tokens$/);
  }, 60_000);
});

describe("examples/streaming_generation.ts", () => {
  /** The ids of each line, and all of the text. */
  async function groups(interval: string): Promise<{ ids: string[][]; text: string }> {
    const flags = ["--buffer-size", "5", "--flush-interval", interval];
    const lines = (await output(["examples/streaming_generation.ts", ...flags])).trimEnd();
    const rows = lines.split("\n").map((line) => /^(\d+(?: \d+)*)\t(".*")$/.exec(line)!);
    return {
      ids: rows.map(([, ids]) => ids!.split(" ")),
      text: rows.map(([, , text]) => JSON.parse(text!)).join(""),
    };
  }

  test("prints ids and text in groups as it is told, the same in all of them", async () => {
    const full = await groups("60000ms");
    expect(full.text).toMatch(/\p{L}{3}/u);
    expect(full.ids.length).toBeGreaterThan(1);
    for (const ids of full.ids.slice(0, -1)) expect(ids.length).toBe(5);
    const quick = await groups("25ms");
    expect(quick.text).toBe(full.text);
    expect(quick.ids.flat()).toEqual(full.ids.flat());
    for (const ids of quick.ids) expect(ids.length).toBeLessThanOrEqual(5);
  }, 60_000);
});

describe("examples/resume.ts", () => {
  test("prints the whole answer though its connection was cut", async () => {
    const text = await output(["examples/resume.ts"]);
    expect(text).toMatch(/\p{L}{3}.*\n\[\d+ tokens over 2 connections\]\n$/su);
  }, 60_000);
});

describe("examples/observability.ts", () => {
  test("prints a line of the log, the spans and the metrics of its request", async () => {
    const text = await output(["examples/observability.ts"]);
    expect(text).toContain('"message":"request","logger":"sluice.server"');
    expect(text).toMatch(/name: ['"]text_completion smollm2/i);
    expect(text).toMatch(/name: ['"]POST \/v1\/stream/);
    expect(text).toContain("sluice_generated_tokens_total 8");
  }, 60_000);
});

const servers = [["serve", 18_431], ["hono", 18_432]] as const;
describe.each(servers)("examples/%s.ts", (name, port) => {
  test("answers a chat over HTTP", async () => {
    const child = start([`examples/${name}.ts`], port);
    try {
      const response = await ask(`http://127.0.0.1:${port}/v1/chat/completions`, {
        method: "POST",
        body: JSON.stringify({
          messages: [{ role: "user", content: "What is the capital of France?" }],
          temperature: 0,
          max_tokens: 30,
        }),
      });
      expect(response.status).toBe(200);
      const body = await response.json() as { choices: { message: { content: string } }[] };
      expect(body.choices[0]?.message.content).toMatch(/\p{L}{3}/u);
    } finally {
      child.kill("SIGKILL");
    }
  }, 60_000);
});
