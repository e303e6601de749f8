/**
 * Nginx: a real nginx of a test in front of servers, with the documented configuration, over TLS.
 *
 * @module
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

/** Outside the search path of most users. */
const PROGRAM = ["nginx", "/usr/sbin/nginx"].find((name) => spawnSync(name, ["-v"]).status === 0);
const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;

/** There is an nginx on this machine, and what makes a certificate for it. */
export const HAS_NGINX: boolean = PROGRAM !== undefined && hasOpenssl;

/** The configuration that docs/deploy.md prints. */
export const DOCUMENTED: string = readFileSync(
  new URL("../../examples/nginx.conf", import.meta.url),
  "utf8",
);

/** A text with each of some parts, which must stand there once, in other words. */
export function edited(text: string, edits: Readonly<Record<string, string>>): string {
  let changed = text;
  for (const [from, to] of Object.entries(edits)) {
    const parts = changed.split(from);
    if (parts.length !== 2) {
      throw new RangeError(`"${from}" stands ${parts.length - 1} times there, expected once`);
    }
    changed = parts.join(to);
  }
  return changed;
}

/** One request, as the documented log tells it. */
export interface LoggedRequest {
  readonly method: string;
  readonly path: string;
  readonly status: number;
  /** The servers that were asked, the one that answered last. */
  readonly upstreams: readonly string[];
}

/** An nginx whose files are in a folder of its own. */
export class Nginx implements AsyncDisposable {
  readonly #folder = mkdtempSync(join(tmpdir(), "sluice-nginx-"));
  readonly #trust: object;
  readonly #close: () => void;
  #process: ChildProcess | undefined;
  /** Where it listens for TLS. */
  readonly port: number;
  /** Where it listens without. */
  readonly plainPort: number;

  private constructor(port: number, plainPort: number) {
    this.port = port;
    this.plainPort = plainPort;
    const cert = this.#certify();
    if ("Deno" in globalThis) {
      const client = Deno.createHttpClient({ caCerts: [cert] });
      this.#trust = { client };
      this.#close = () => client.close();
    } else {
      this.#trust = { tls: { ca: cert } };
      this.#close = () => undefined;
    }
  }

  /**
   * Starts one before two servers, and waits until it listens.
   *
   * @param configuration what stands in a file of `conf.d`; its ports and paths are replaced
   */
  static async start(configuration: string, servers: readonly [string, string]): Promise<Nginx> {
    const [port, plainPort] = await Promise.all([freePort(), freePort()]);
    const nginx = new Nginx(port, plainPort);
    await nginx.#start(configuration, servers);
    return nginx;
  }

  get url(): string {
    return `https://127.0.0.1:${this.port}`;
  }

  /** As the global one, of a path of this server, whose certificate is checked. */
  fetch(path: string, init: RequestInit = {}): Promise<Response> {
    return fetch(`${this.url}${path}`, { ...init, ...this.#trust });
  }

  /** A WebSocket of a path of this server. */
  socket(path: string): WebSocket {
    const url = `${this.url.replace("https", "wss")}${path}`;
    return new WebSocket(url, this.#trust as unknown as string[]);
  }

  /** What it logged of requests for a path, once these are `count`: it logs them at their end. */
  async logged(path: string, count: number): Promise<LoggedRequest[]> {
    for (;;) {
      const requests = this.logText().trimEnd().split("\n").map(parsed);
      const found = requests.filter((request) => request?.path === path) as LoggedRequest[];
      if (found.length >= count) return found;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  /** The log of requests. */
  logText(): string {
    return readFileSync(join(this.#folder, "sluice.log"), "utf8");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const child = this.#process;
    if (child !== undefined && child.exitCode === null && child.signalCode === null) {
      const gone = once(child, "exit");
      process.kill(child.pid!, "SIGTERM");
      await gone;
    }
    this.#close();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Makes a certificate for this machine, which is no authority, and gives it. */
  #certify(): string {
    const [cert, key] = [join(this.#folder, "cert.pem"), join(this.#folder, "key.pem")];
    const names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"];
    const limits = ["-addext", "basicConstraints=critical,CA:FALSE", "-days", "2"];
    const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    const args = ["req", "-x509", ...curve, ...names, ...limits, "-keyout", key, "-out", cert];
    execFileSync("openssl", args, { stdio: "ignore" });
    return readFileSync(cert, "utf8");
  }

  async #start(configuration: string, [first, second]: readonly [string, string]): Promise<void> {
    const folder = this.#folder;
    const site = edited(configuration, {
      "listen 80;": `listen 127.0.0.1:${this.plainPort};`,
      "listen 443 ssl http2;": `listen 127.0.0.1:${this.port} ssl http2;`,
      "server 127.0.0.1:8081": `server ${first}`,
      "server 127.0.0.1:8082": `server ${second}`,
      "/etc/nginx/tls/chat.example.crt": join(folder, "cert.pem"),
      "/etc/nginx/tls/chat.example.key": join(folder, "key.pem"),
      "/var/log/nginx/sluice.log": join(folder, "sluice.log"),
    });
    writeFileSync(join(folder, "sluice.conf"), site);
    const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
      .map((name) => `  ${name}_temp_path ${folder}/${name};\n`).join("");
    const main = `worker_processes 2;\npid ${folder}/pid;\nerror_log ${folder}/error.log info;\n` +
      `events { worker_connections 256; }\nhttp {\n${temporary}  include ${folder}/sluice.conf;\n}\n`;
    writeFileSync(join(folder, "nginx.conf"), main);
    // A folder of root's is closed to the user whose workers nginx would start.
    const user = process.getuid?.() === 0 ? " user root;" : "";
    const flags = ["-e", join(folder, "error.log"), "-g", `daemon off;${user}`];
    const args = ["-p", folder, "-c", join(folder, "nginx.conf"), ...flags];
    const child = spawn(PROGRAM!, args, { stdio: ["ignore", "ignore", "inherit"] });
    this.#process = child;
    while (!await listens(this.port)) {
      if (child.exitCode === null) continue;
      throw new Error(`nginx did not start: ${readFileSync(join(folder, "error.log"), "utf8")}`);
    }
  }
}

/** A line of the documented log; undefined of an empty one. */
function parsed(line: string): LoggedRequest | undefined {
  const [, , method, path, status, , , ...upstreams] = line.split(/,? /);
  if (method === undefined || path === undefined) return undefined;
  return { method, path, status: Number(status), upstreams };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => setTimeout(resolve, 10, false));
  });
}
