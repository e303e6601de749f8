/**
 * API keys: what each may do and how much, known by their hashes alone.
 *
 * A key is 256 random bits, so one SHA-256 is enough at rest: there is no list of likely keys that
 * somebody with the hashes could try.
 *
 * @module
 */
import { SluiceError } from "../errors.ts";

/**
 * What a key can be allowed to do: `generate` starts, steers and stops streams; `read` reads
 * streams and what there is to know of models; `pull` fetches models; `metrics` reads the figures
 * of the server.
 */
export type Scope = "generate" | "read" | "pull" | "metrics";

/** All of them. */
export const SCOPES: readonly Scope[] = ["generate", "read", "pull", "metrics"];

/** One key, as it is kept. */
export interface ApiKey {
  /** Whose it is, for people; 1 to 64 characters. */
  name: string;
  /** SHA-256 of the key, 64 hexadecimal digits. */
  hash: string;
  /** What it may do. Default `generate` and `read`. */
  scopes?: readonly Scope[];
  /** Generations that it may start in a minute. Default no limit. */
  requestsPerMinute?: number;
  /** Tokens of prompts and answers in a minute. Default no limit. */
  tokensPerMinute?: number;
}

/** What a key may do where nothing else is said. */
export const SCOPES_DEFAULT: readonly Scope[] = ["generate", "read"];

/** How a key looks, to find one where none may be. */
export const KEY_PATTERN = /sk-sluice-[0-9a-f]{64}/;

const FIELDS = ["name", "hash", "scopes", "requestsPerMinute", "tokensPerMinute"];
const LIMIT_MAX = 2 ** 31 - 1;

/** Bytes as hexadecimal digits. */
export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function sha256(text: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
}

/**
 * Draws a key.
 *
 * @param key all but its hash
 * @returns the secret, which nothing can tell again, and what is kept
 * @throws SluiceError `invalid_keys` where a field is not as it has to be
 */
export async function createKey(
  key: Omit<ApiKey, "hash">,
): Promise<{ secret: string; key: ApiKey }> {
  const secret = `sk-sluice-${hex(crypto.getRandomValues(new Uint8Array(32)))}`;
  const { name, ...rest } = key;
  const kept = { name, hash: hex(await sha256(secret)), scopes: SCOPES_DEFAULT, ...rest };
  return { secret, key: checked(kept, "the key") };
}

/** Says what is wrong, and never the text: it may be a secret that stands in the wrong place. */
function invalid(where: string, wrong: string): SluiceError {
  return new SluiceError(`Cannot use ${where}: ${wrong}`, "invalid_keys", 500);
}

function isScopes(value: unknown): value is readonly Scope[] {
  const known: readonly unknown[] = SCOPES;
  return Array.isArray(value) && value.every((scope) => known.includes(scope));
}

function isLimit(value: unknown): boolean {
  return value === undefined || (Number.isInteger(value) && Number(value) >= 1 &&
    Number(value) <= LIMIT_MAX);
}

function checked(value: unknown, where: string): ApiKey {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw invalid(where, "it is no JSON object");
  }
  const key = value as Record<string, unknown>;
  const { name, hash, scopes = SCOPES_DEFAULT } = key;
  // A limit that is misspelt would be none.
  if (Object.keys(key).some((field) => !FIELDS.includes(field))) {
    throw invalid(where, `it has a field that is none of ${FIELDS.join(", ")}`);
  }
  if (typeof name !== "string" || !/^[^\p{C}]{1,64}$/u.test(name)) {
    throw invalid(where, "its name is not 1 to 64 printable characters");
  }
  if (typeof hash !== "string" || !/^[0-9a-f]{64}$/.test(hash)) {
    throw invalid(where, "its hash is not 64 hexadecimal digits in lower case");
  }
  if (!isScopes(scopes)) throw invalid(where, `its scopes are none of ${SCOPES.join(", ")}`);
  for (const field of ["requestsPerMinute", "tokensPerMinute"]) {
    if (!isLimit(key[field])) throw invalid(where, `its ${field} is no whole number from 1`);
  }
  return { ...key, name, hash, scopes };
}

function parseLine(line: string, where: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    // The parser's own sentence shows the text.
    throw invalid(where, "it is not valid JSON");
  }
}

/**
 * Keys as a file has them: one JSON object a line, or one array of them.
 *
 * @throws SluiceError `invalid_keys` that names the line and shows nothing of it
 */
export function parseKeys(text: string): ApiKey[] {
  if (text.trimStart().startsWith("[")) {
    const rows = parseLine(text, "the keys") as unknown[];
    return rows.map((row, i) => checked(row, `key ${i + 1}`));
  }
  return text.split("\n").flatMap((line, i) => {
    const where = `line ${i + 1} of the keys`;
    return line.trim() === "" ? [] : [checked(parseLine(line, where), where)];
  });
}

/** A key that is known, by what its streams belong to. */
export interface KnownKey extends ApiKey {
  readonly scopes: readonly Scope[];
  readonly owner: string;
}

/** Whose streams are whose: the first half of a key's hash, so that no key is kept with them. */
export async function ownerOfSecret(secret: string): Promise<string> {
  return hex(await sha256(secret)).slice(0, 32);
}

/** The keys that are let in. */
export class KeyRing {
  readonly #keys: readonly { key: KnownKey; hash: Uint8Array }[];
  readonly #byOwner: ReadonlyMap<string, KnownKey>;

  /** @throws SluiceError `invalid_keys` where one is malformed or there twice */
  constructor(keys: readonly ApiKey[]) {
    this.#keys = keys.map((given, i) => {
      const key = checked(given, `key ${i + 1}`);
      const hash = Uint8Array.from(key.hash.match(/../g) ?? [], (digits) => parseInt(digits, 16));
      const known = { ...key, scopes: key.scopes ?? SCOPES_DEFAULT, owner: key.hash.slice(0, 32) };
      return { key: known, hash };
    });
    this.#byOwner = new Map(this.#keys.map(({ key }) => [key.owner, key]));
    const names = new Set(keys.map(({ name }) => name));
    if (names.size < keys.length || this.#byOwner.size < keys.length) {
      throw invalid("the keys", "two of them have the same name or hash");
    }
  }

  /**
   * The key with this secret. Every key is looked at to its last byte, so that the time it takes
   * tells nothing of how near a guess is.
   */
  async find(secret: string): Promise<KnownKey | undefined> {
    const asked = await sha256(secret);
    let found: KnownKey | undefined;
    for (const { key, hash } of this.#keys) {
      let difference = 0;
      for (let i = 0; i < asked.length; i++) difference |= asked[i]! ^ hash[i]!;
      if (difference === 0) found = key;
    }
    return found;
  }

  /** The key whose streams these are. */
  byOwner(owner: string): KnownKey | undefined {
    return this.#byOwner.get(owner);
  }
}
