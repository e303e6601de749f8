/** The command line's part of who is let in: exposure, files, and the verb `keys`. */
import { afterAll, beforeAll, describe, expect, it } from "bun:test";
import { execFile, spawn } from "node:child_process";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { accessOptions, isLoopback, tlsOf } from "../../src/cli/access.ts";
import { createKey, KEY_PATTERN, parseKeys } from "../../src/server/keys.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const deno = ["run", "-A", "--no-check", "--config", `${root}deno.offline.json`];
const command = (args: string[]): string[] => [
  ...("Deno" in globalThis ? deno : []),
  join(root, "src/cli.ts"),
  ...args,
];

let folder: string;
let file: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "sluice-keys-"));
  file = join(folder, "keys.jsonl");
  await writeFile(file, `${JSON.stringify((await createKey({ name: "ada" })).key)}\n`);
});
afterAll(() => rm(folder, { recursive: true }));

/** Runs the command line in the folder. */
function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, command(args), { cwd: folder }, (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), out, err });
    });
  });
}

describe("accessOptions()", () => {
  it.each(["0.0.0.0", "::", "192.168.1.5", "model.example"])(
    "refuses to listen on %s without keys, unless it is told to",
    async (host) => {
      await expect(accessOptions(host, {})).rejects.toThrow(
        `Cannot listen on "${host}": other machines reach it and no key protects it`,
      );
      expect(await accessOptions(host, { "no-auth": true })).toEqual({
        hosts: "*",
        corsOrigins: [],
      });
      expect((await accessOptions(host, { "api-keys": file })).keys?.[0]?.name).toBe("ada");
    },
  );

  it("asks for no key on an address of this machine alone", async () => {
    for (const host of ["localhost", "127.0.0.1", "127.9.9.9", "::1"]) {
      expect(isLoopback(host)).toBe(true);
      expect(await accessOptions(host, {})).toEqual({ hosts: [], corsOrigins: [] });
    }
  });

  it("answers to the hosts that are named, and to no others", async () => {
    const values = { "no-auth": true, "allow-host": ["model.example"] };
    expect((await accessOptions("0.0.0.0", values)).hosts).toEqual(["model.example"]);
  });

  it("takes origins, and * for every one", async () => {
    const origin = "https://chat.example";
    const cors = async (...origins: string[]) =>
      (await accessOptions("localhost", { "cors-origin": origins })).corsOrigins;
    expect(await cors(origin)).toEqual([origin]);
    expect(await cors(origin, "*")).toBe("*");
  });

  it("says why a file of keys is not taken", async () => {
    const empty = join(folder, "empty.jsonl");
    await writeFile(empty, "\n");
    const broken = join(folder, "broken.jsonl");
    await writeFile(broken, "sk-canary\n");
    const ask = (path: string) => accessOptions("localhost", { "api-keys": path });
    await expect(ask(join(folder, "none.jsonl"))).rejects.toThrow(
      /Cannot read the keys in .*ENOENT/,
    );
    await expect(ask(empty)).rejects.toThrow(/has no key, add one with keys add NAME/);
    await expect(ask(broken)).rejects.toThrow(
      /^Cannot use line 1 of the keys: it is not valid JSON$/,
    );
  });

  it("takes the secret of tickets from the environment, where it is long enough", async () => {
    const name = "SLUICE_TICKET_SECRET";
    try {
      process.env[name] = "x".repeat(32);
      expect((await accessOptions("localhost", {})).ticketSecret).toBe("x".repeat(32));
      process.env[name] = "canary";
      await expect(accessOptions("localhost", {})).rejects.toThrow(/^Cannot use [^c]*6 characters/);
    } finally {
      delete process.env[name];
    }
  });
});

describe("tlsOf()", () => {
  it("reads both files, or wants neither", async () => {
    expect(await tlsOf({})).toBe(undefined);
    expect(await tlsOf({ "tls-cert": file, "tls-key": file })).toEqual({
      cert: await readFile(file, "utf8"),
      key: await readFile(file, "utf8"),
    });
    await expect(tlsOf({ "tls-cert": file })).rejects.toThrow(/belong together/);
    await expect(tlsOf({ "tls-key": file })).rejects.toThrow(/belong together/);
    await expect(tlsOf({ "tls-cert": folder, "tls-key": file })).rejects.toThrow(/EISDIR/);
  });
});

describe("keys", () => {
  it("adds a key, prints it once, lists it and removes it", async () => {
    const first = await run("keys", "add", "bob");
    expect([first.code, first.out.trim()]).toEqual([0, KEY_PATTERN.exec(first.out)?.[0] ?? ""]);
    expect(first.err).toContain("it is not shown again");
    const second = await run(
      ...["keys", "add", "cy", "--scope", "read", "--scope", "metrics"],
      ...["--requests-per-minute", "60", "--tokens-per-minute", "9000", "--api-keys", "keys.jsonl"],
    );
    expect(second.code).toBe(0);
    const text = await readFile(file, "utf8");
    expect(text).not.toMatch(KEY_PATTERN);
    expect(parseKeys(text).map(({ name }) => name)).toEqual(["ada", "bob", "cy"]);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await run("keys", "list")).toEqual({
      code: 0,
      out: "ada, generate read\nbob, generate read\n" +
        "cy, read metrics, 60 requests/min, 9000 tokens/min\n",
      err: "",
    });
    expect((await run("keys", "remove", "ada")).code).toBe(0);
    expect(parseKeys(await readFile(file, "utf8")).map(({ name }) => name)).toEqual(["bob", "cy"]);
  }, 60_000);

  it("says what is wrong, and leaves the file as it is", async () => {
    const before = await readFile(file, "utf8");
    const wrong: [args: string[], sentence: string][] = [
      [["add", "bob"], 'has one of the name "bob", remove it first'],
      [["add"], "expected keys add NAME, keys list or keys remove NAME"],
      [["turn", "x"], "expected keys add NAME, keys list or keys remove NAME"],
      [["remove", "dan"], 'has none of the name "dan"'],
      [["add", "dan", "--scope", "all"], "expected generate, read, pull, metrics"],
      [["add", "dan", "--tokens-per-minute", "0"], "expected an integer from 1 up"],
      [["add", ""], "its name is not 1 to 64 printable characters"],
    ];
    const results = await Promise.all(wrong.map(([args]) => run("keys", ...args)));
    for (const [i, { code, out, err }] of results.entries()) {
      expect([code, out]).toEqual([1, ""]);
      expect(err).toMatch(/^sluice: .+\n$/);
      expect(err).toContain(wrong[i]![1]);
    }
    expect(await readFile(file, "utf8")).toBe(before);
  }, 60_000);
});

describe("serve --api-keys", () => {
  it("lets in who has a key, and nobody else", async () => {
    const { secret, key } = await createKey({ name: "eve" });
    const own = join(folder, "own.jsonl");
    await writeFile(own, JSON.stringify(key));
    const args = ["serve", "--port", "0", "--threads", "1", "--ctx-size", "256"];
    const child = spawn(process.execPath, command([...args, "--api-keys", own]), { cwd: root });
    try {
      let out = "";
      const url = await new Promise<string>((resolve, reject) => {
        child.stdout.on("data", (piece) => {
          out += piece;
          const match = /Listening on (http:\S+)\n/.exec(out);
          if (match?.[1] !== undefined) resolve(match[1]);
        });
        child.once("close", () => reject(new Error(`It ended: ${out}`)));
      });
      const ask = (headers: Record<string, string>) => fetch(`${url}/v1/models`, { headers });
      expect((await ask({})).status).toBe(401);
      expect((await ask({ authorization: `Bearer ${secret}` })).status).toBe(200);
      expect((await fetch(`${url}/health`)).status).toBe(200);
    } finally {
      child.kill("SIGKILL");
    }
  }, 60_000);
});
