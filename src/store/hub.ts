/**
 * The hub: which files a repository has, and under which address each lies.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { LookupAddress } from "node:dns";
import { lookup } from "node:dns/promises";
import { existsSync, readFileSync } from "node:fs";
import type { IncomingHttpHeaders } from "node:http";
import { join } from "node:path";
import process from "node:process";
import { hubHome } from "./cache.ts";
import { DownloadError } from "./download_error.ts";
import { isInnerPath } from "./reference.ts";
import { type Access, get } from "./request.ts";

/** Where models come from unless `HF_ENDPOINT` names another place. */
const DEFAULT_ENDPOINT = "https://huggingface.co";
/** The hub and the hosts that it keeps its files on. */
const HUB_HOSTS = ["huggingface.co", ".huggingface.co", "hf.co", ".hf.co"];
const IDLE_MS = 30_000;
/** Largest description of a repository. */
const DESCRIPTION_BYTES_MAX = 32 << 20;
/** Milliseconds before an overloaded hub is asked again, where it does not say. */
const BUSY_RETRY_MS = 1000;

/** One large file of a repository at one commit. */
export interface HubFile {
  /** `owner/repo`. */
  readonly repo: string;
  /** The commit, 40 hex digits. */
  readonly commit: string;
  /** Path inside the repository; it stays inside any folder that it is put into. */
  readonly path: string;
  /** Hash of the content, lower-case hex. */
  readonly sha256: string;
  readonly bytes: number;
}

/** The variables that a hub looks at. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** What a test says in place of the machine. */
export interface HubOptions {
  /** Default the process's. */
  readonly env?: Environment;
  /** All addresses of a name. Default the system's resolver. */
  readonly lookup?: (name: string) => Promise<LookupAddress[]>;
  /** Milliseconds without a byte after which a connection is given up. Default 30 s. */
  readonly idleMs?: number;
}

/**
 * A hub that speaks Hugging Face's API: the one at `HF_ENDPOINT`, with the token of `HF_TOKEN` or
 * of the file that Hugging Face's own tools write.
 */
export class Hub {
  /** Whom its downloads may talk to. */
  readonly access: Access;
  readonly #endpoint: URL;

  /** @throws {DownloadError} when `HF_ENDPOINT` or `SLUICE_HUB_ORIGINS` is malformed */
  constructor(options: HubOptions = {}) {
    const { env = process.env, idleMs = IDLE_MS } = options;
    const named = (env.SLUICE_HUB_ORIGINS ?? "").split(/[\s,]+/).filter((text) => text !== "")
      .map((text) => address(text, "SLUICE_HUB_ORIGINS").origin);
    this.#endpoint = address(env.HF_ENDPOINT || DEFAULT_ENDPOINT, "HF_ENDPOINT");
    const { origin } = this.#endpoint;
    const token = tokenOf(env);
    this.access = {
      named: new Set(env.HF_ENDPOINT ? [origin, ...named] : named),
      hosts: HUB_HOSTS,
      token: token === undefined ? undefined : { origin, value: token },
      lookup: options.lookup ?? ((name) => lookup(name, { all: true })),
      idleMs,
    };
  }

  /** The large files of a repository's newest commit. */
  async files(purpose: string, repo: string, signal: AbortSignal): Promise<HubFile[]> {
    const url = this.#url(`api/models/${repo}/revision/main?blobs=true`);
    const answer = await get(purpose, url, this.access, signal);
    if (answer.status !== 200) {
      answer.close();
      throw refusal(purpose, answer.status, answer.headers);
    }
    const pieces: Uint8Array[] = [];
    let bytes = 0;
    for await (const piece of answer.body) {
      bytes += piece.length;
      if (bytes > DESCRIPTION_BYTES_MAX) throw malformed(purpose, "it is endless");
      pieces.push(piece);
    }
    return readDescription(purpose, repo, Buffer.concat(pieces).toString("utf8"));
  }

  /** The address of a file's content. */
  urlOf({ repo, commit, path }: HubFile): URL {
    return this.#url(
      `${repo}/resolve/${commit}/${path.split("/").map(encodeURIComponent).join("/")}`,
    );
  }

  #url(path: string): URL {
    return new URL(`${this.#endpoint.href.replace(/\/$/, "")}/${path}`);
  }
}

function address(text: string, variable: string): URL {
  const url = URL.parse(text);
  if (url !== null && /^https?:$/.test(url.protocol) && url.username === "" && url.search === "") {
    return url;
  }
  throw new DownloadError(
    `Cannot use ${variable} ${JSON.stringify(text)}: expected an address such as ` +
      DEFAULT_ENDPOINT,
  );
}

function tokenOf(env: Environment): string | undefined {
  const file = env.HF_TOKEN_PATH || join(hubHome(env), "token");
  const token = env.HF_TOKEN || (existsSync(file) ? readFileSync(file, "utf8") : "");
  // What is no token cannot be a header either.
  return /^[\x21-\x7e]+$/.test(token.trim()) ? token.trim() : undefined;
}

/** What an answer other than a success means. */
export function refusal(
  purpose: string,
  status: number,
  headers: IncomingHttpHeaders,
): DownloadError {
  if (status === 401 || status === 403) {
    return new DownloadError(
      `Cannot ${purpose}: the hub refuses it (${status}), it does not exist or is not for ` +
        "everybody; check its name, or set HF_TOKEN to a token that may read it",
    );
  }
  if (status === 404) {
    return new DownloadError(`Cannot ${purpose}: the hub has none of that name (404), check it`);
  }
  const seconds = Number(headers["retry-after"]);
  const waitMs = seconds >= 0 ? seconds * 1000 : BUSY_RETRY_MS;
  if (status === 429) {
    return new DownloadError(
      `Cannot ${purpose}: the hub says that there were too many requests (429), try again in ` +
        `${Math.ceil(waitMs / 1000)} s, or set HF_TOKEN for a higher limit`,
      { retryAfterMs: waitMs },
    );
  }
  const passes = status >= 500 || status === 408;
  return new DownloadError(
    `Cannot ${purpose}: the hub answers with status ${status}, expected 200; try again later`,
    passes ? { retryAfterMs: waitMs } : {},
  );
}

function malformed(purpose: string, what: string): DownloadError {
  return new DownloadError(
    `Cannot ${purpose}: what the hub says of it is not understood, ${what}; check HF_ENDPOINT`,
  );
}

/** The fields of the hub's description that are read; nothing in it is trusted. */
interface Description {
  readonly sha?: unknown;
  readonly siblings?: unknown;
}
interface Sibling {
  readonly rfilename?: unknown;
  readonly lfs?: { readonly sha256?: unknown; readonly size?: unknown } | null;
}

function readDescription(purpose: string, repo: string, text: string): HubFile[] {
  let description: Description | null;
  try {
    description = JSON.parse(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw malformed(purpose, "it is no JSON");
  }
  const { sha: commit, siblings } = description ?? {};
  if (typeof commit !== "string" || !/^[0-9a-f]{40}$/.test(commit)) {
    throw malformed(purpose, "it names no commit");
  }
  if (!Array.isArray(siblings)) throw malformed(purpose, "it lists no files");
  return siblings.flatMap((sibling: Sibling | null): HubFile[] => {
    const { rfilename: path, lfs } = sibling ?? {};
    const { sha256, size: bytes } = lfs ?? {};
    const isUsable = typeof path === "string" && isInnerPath(path) &&
      typeof sha256 === "string" && /^[0-9a-f]{64}$/.test(sha256) &&
      typeof bytes === "number" && Number.isSafeInteger(bytes) && bytes > 0;
    return isUsable ? [{ repo, commit, path, sha256, bytes }] : [];
  });
}
