import { describe, expect, test } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { type ChatToken, streamChat } from "../src/client/mod.ts";

const root = fileURLToPath(new URL("../", import.meta.url));
const deno = ["run", "-A", "--no-check", "--config", `${root}deno.offline.json`];

/** Runs the command line as its own process, on the runtime that runs the tests. */
class Cli {
  readonly child: ChildProcess;
  out = "";
  err = "";
  readonly code: Promise<number | null>;
  #wake: (() => void) | undefined;

  constructor(...args: string[]) {
    const command = ["src/cli.ts", ...args];
    this.child = spawn(process.execPath, "Deno" in globalThis ? [...deno, ...command] : command, {
      cwd: root,
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.child.stdout!.on("data", (piece) => {
      this.out += piece;
      this.#wake?.();
    });
    this.child.stderr!.on("data", (piece) => this.err += piece);
    this.code = new Promise((resolve) => {
      this.child.once("close", (code, signal) => {
        if (signal) this.err += `[${signal}]`;
        resolve(code);
        this.#wake?.();
      });
    });
  }

  async until(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this.out);
      if (match) return match;
      if (this.child.exitCode !== null) throw new Error(`It ended: ${this.out}${this.err}`);
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }
}

describe("serve --stream-store", () => {
  const chat = { prompt: "Explain quantum computing", maxTokens: 60, temperature: 0.9, seed: 7 };
  const args = ["serve", "--threads", "1", "--ctx-size", "512"];
  const portOf = async (cli: Cli): Promise<string> =>
    (await cli.until(/Listening on http:.*:(\d+)/))[1]!;

  test("goes on with an answer whose server was killed twice, token for token", async () => {
    const folder = await mkdtemp(join(tmpdir(), "sluice-store-"));
    const store = `sqlite:${join(folder, "streams.db")}`;
    let cli = new Cli(...args, "--port", "0", "--stream-store", store);
    const port = await portOf(cli);
    try {
      const url = `http://127.0.0.1:${port}`;
      const whole = await Array.fromAsync(streamChat({ url, ...chat }));
      const seen: ChatToken[] = [];
      for await (const token of streamChat({ url, ...chat })) {
        seen.push(token);
        if (token.position !== 10 && token.position !== 30) continue;
        cli.child.kill("SIGKILL");
        await cli.code;
        cli = new Cli(...args, "--port", port, "--stream-store", store);
        await portOf(cli);
      }
      const said = (tokens: ChatToken[]) => tokens.map(({ tokenId, text }) => [tokenId, text]);
      expect(said(seen)).toEqual(said(whole));
      expect(seen.map(({ position }) => position)).toEqual(whole.map((_, i) => i + 1));
    } finally {
      cli.child.kill("SIGKILL");
      await rm(folder, { recursive: true });
    }
  }, 120_000);

  test("says what is wrong with a store", async () => {
    const cli = new Cli("serve", "--stream-store", "disk");
    expect(await cli.code).toBe(1);
    expect(cli.err).toContain("expected memory, sqlite:PATH or redis://HOST:PORT");
  });
});

describe("serve", () => {
  test("says what the cache may be kept as", async () => {
    const cli = new Cli("serve", "--cache-type", "q4_1");
    expect(await cli.code).toBe(1);
    expect(cli.err).toContain("Cannot use --cache-type q4_1: expected f16, q8_0, f32");
  });

  test.each(["SIGINT", "SIGTERM"] as const)(
    "says what was loaded and where it listens, streams, and ends with 0 on %s",
    async (signal) => {
      const cli = new Cli(
        "serve",
        "--port",
        "0",
        "--threads",
        "1",
        "--ctx-size",
        "512",
        "--parallel",
        "2",
        "--route",
        "/chat=openai",
        "--route",
        "/say=now=native",
      );
      const [, url] = await cli.until(/Listening on (http:\S+)\n/);
      expect(cli.out).toMatch(/^smollm2: 2 x 512 tokens, 1 threads \(.+\), loaded in [\d.]+ s\n/);
      const response = await fetch(`${url}/v1/stream`, {
        method: "POST",
        body: JSON.stringify({ prompt: "Explain quantum computing", max_tokens: 4 }),
      });
      const text = await response.text();
      expect(text.match(/^event: token$/gm)?.length).toBe(4);
      expect(text.match(/^event: complete$/gm)?.length).toBe(1);
      const refused = await Promise.all(
        ["/chat", "/say=now"].map((path) => fetch(url + path, { method: "POST", body: "{}" })),
      );
      expect(await Promise.all(refused.map((each) => each.json()))).toMatchObject([
        { error: { type: "invalid_request_error" } },
        { error_type: "validation" },
      ]);
      // child.kill() of Deno 2.9 reports the signal that it sent as the end of the child.
      process.kill(cli.child.pid!, signal);
      expect(await cli.code).toBe(0);
      const record = /level=(\w+) .*(?:msg="(model loaded)"|route="?([^" ]+)"? status=(\d+))/;
      const lines = cli.err.trimEnd().split("\n");
      const logged = lines.map((line) => record.exec(line)?.slice(1).join(" "));
      expect(logged).toEqual([
        "info model loaded  ",
        "info  /v1/stream 200",
        "info  /chat 400",
        "info  /say=now 400",
      ]);
    },
    60_000,
  );

  test("refuses an address that other machines reach unless it is told to", async () => {
    const cli = new Cli("serve", "--host", "0.0.0.0", "--port", "0");
    expect(await cli.code).toBe(1);
    expect(cli.err).toContain('Cannot listen on "0.0.0.0"');
  }, 30_000);

  test.each(
    [
      ["/chat=klingon", "the dialect is unknown, expected one of "],
      ["chat=native", "the path is malformed"],
      ["/chat", "expected PATH=DIALECT"],
    ] as const,
  )("ends with 1 and one sentence for --route %s", async (route, sentence) => {
    const cli = new Cli("serve", "--port", "0", "--route", route);
    expect(await cli.code).toBe(1);
    expect(cli.err).toMatch(/^sluice: .+\n$/);
    expect(cli.err).toContain(sentence);
  }, 30_000);

  test("ends with 1 and one sentence when the model is not there", async () => {
    const cli = new Cli("serve", "--port", "0", "--model", "/no/such/model.gguf");
    expect(await cli.code).toBe(1);
    const [logged, sentence, ...more] = cli.err.trimEnd().split("\n");
    expect(logged).toMatch(/level=error .*code=model_error/);
    expect(logged).not.toContain("/no/such");
    expect(sentence).toMatch(/^sluice: .*\/no\/such\/model.gguf/);
    expect(more).toEqual([]);
  }, 30_000);
});

describe("generate", () => {
  test("writes the answer to standard output and the figures to standard error", async () => {
    const cli = new Cli("generate", "Say hello.", "--max-tokens", "4", "--temperature", "0");
    expect(await cli.code).toBe(0);
    expect(cli.out.trim()).not.toBe("");
    expect(cli.err).toMatch(/^(length|eos): \d+ \+ \d+ tokens, first after \d+ ms, then/);
  }, 60_000);

  test("writes the same for the same seed", async () => {
    const run = async (): Promise<string> => {
      const cli = new Cli("generate", "--raw", "Once", "--max-tokens", "8", "--seed", "7");
      expect(await cli.code).toBe(0);
      return cli.out;
    };
    expect(await run()).toBe(await run());
  }, 60_000);

  test("needs a prompt", async () => {
    const cli = new Cli("generate");
    expect(await cli.code).toBe(1);
    expect(cli.err).toContain("the prompt is missing");
  }, 30_000);
});

describe("The command line", () => {
  test("prints every option with --help", async () => {
    const cli = new Cli("--help");
    expect(await cli.code).toBe(0);
    for (const option of ["--port", "--host", "--route", "--model", "--threads", "--ctx-size"]) {
      expect(cli.out).toContain(option);
    }
  }, 30_000);

  test("refuses unknown commands and options and numbers that are none", async () => {
    for (
      const args of [["dance"], ["serve", "--dance"], ["serve", "--port", "x"], [
        "serve",
        "--threads",
        "0",
      ]]
    ) {
      const cli = new Cli(...args);
      expect([args, await cli.code]).toEqual([args, 1]);
      expect(cli.err).toMatch(/^sluice: .+\n$/);
    }
  }, 60_000);
});
