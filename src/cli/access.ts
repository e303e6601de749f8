/**
 * The command line's part of who is let in: its options, the file of keys, and the verb `keys`.
 *
 * @module
 */
import { open, readFile, rename } from "node:fs/promises";
import process from "node:process";
import { SluiceError } from "../errors.ts";
import type { AccessOptions } from "../server/access.ts";
import type { Tls } from "../server/adapters/server.ts";
import { type ApiKey, createKey, parseKeys, type Scope, SCOPES } from "../server/keys.ts";

/** What `--help` says of `serve`. */
export const ACCESS_USAGE =
  `  --api-keys FILE           lets in only who has a key of this file, see keys
  --no-auth                 allow an address that other machines reach, without any key
  --allow-host NAME         a host name that is answered; may be given several times (on 127.0.0.1
                            the local ones, else every one)
  --cors-origin ORIGIN      whose pages may use the server, such as https://chat.example, * is
                            everybody's; may be given several times (none)
  --tls-cert FILE, --tls-key FILE
                            listen for HTTPS, with these two as PEM (HTTP)
`;

/** What `--help` says of `keys`. */
export const KEYS_USAGE = `keys:
  keys add NAME             draws a key, prints it once, and keeps its hash
  keys list                 names, scopes and limits
  keys remove NAME          from the next start on it is not let in any more

  --api-keys FILE           where hashes are kept (keys.jsonl)
  --scope SCOPE             generate, read, pull or metrics; may be given several times (generate
                            and read)
  --requests-per-minute N, --tokens-per-minute N
                            most generations, and most tokens of prompts and answers (no limit)
`;

/** The options, as parseArgs takes them. */
export const ACCESS_OPTIONS = {
  "api-keys": { type: "string" },
  "no-auth": { type: "boolean" },
  "allow-host": { type: "string", multiple: true },
  "cors-origin": { type: "string", multiple: true },
  "tls-cert": { type: "string" },
  "tls-key": { type: "string" },
  scope: { type: "string", multiple: true },
  "requests-per-minute": { type: "string" },
  "tokens-per-minute": { type: "string" },
} as const;

/** What parseArgs makes of them. */
export type AccessValues = {
  readonly [Name in keyof typeof ACCESS_OPTIONS]?:
    | (typeof ACCESS_OPTIONS[Name] extends { multiple: true } ? string[]
      : typeof ACCESS_OPTIONS[Name]["type"] extends "boolean" ? boolean
      : string)
    | undefined;
};

const KEY_FILE = "keys.jsonl";
const SECRET_VARIABLE = "SLUICE_TICKET_SECRET";
const SECRET_CHARS_MIN = 32;

function usageError(message: string, cause?: unknown): SluiceError {
  return new SluiceError(message, "usage", 400, { cause });
}

/** Whether only this machine reaches an address. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);
}

async function textOf(path: string, what: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    const { code = "unreadable" } = cause as { code?: string };
    throw usageError(`Cannot read ${what} ${JSON.stringify(path)}: ${code}`, cause);
  }
}

/**
 * Who is let in, as the handler takes it.
 *
 * @throws SluiceError where others could reach the address without a key, or a file is not right
 */
export async function accessOptions(host: string, values: AccessValues): Promise<AccessOptions> {
  const file = values["api-keys"];
  if (file === undefined && !isLoopback(host) && !values["no-auth"]) {
    throw usageError(
      `Cannot listen on "${host}": other machines reach it and no key protects it, use ` +
        "--api-keys FILE, or --host 127.0.0.1 behind a proxy, or --no-auth to allow it",
    );
  }
  const keys = file === undefined ? undefined : parseKeys(await textOf(file, "the keys in"));
  if (keys?.length === 0) {
    throw usageError(`Cannot let anybody in: ${file} has no key, add one with keys add NAME`);
  }
  const hosts = values["allow-host"] ?? (isLoopback(host) ? [] : "*");
  const origins = values["cors-origin"] ?? [];
  const ticketSecret = process.env[SECRET_VARIABLE];
  if (ticketSecret !== undefined && ticketSecret.length < SECRET_CHARS_MIN) {
    throw usageError(
      `Cannot use ${SECRET_VARIABLE}: it has ${ticketSecret.length} characters, expected at ` +
        `least ${SECRET_CHARS_MIN} that nobody can guess`,
    );
  }
  return {
    hosts,
    corsOrigins: origins.includes("*") ? "*" : origins,
    ...(keys === undefined ? {} : { keys }),
    ...(ticketSecret === undefined ? {} : { ticketSecret }),
  };
}

/**
 * The certificate and its key; undefined where neither is named.
 *
 * @throws SluiceError where one is missing or cannot be read
 */
export async function tlsOf(values: AccessValues): Promise<Tls | undefined> {
  const { "tls-cert": cert, "tls-key": key } = values;
  if (cert === undefined && key === undefined) return undefined;
  if (cert === undefined || key === undefined) {
    throw usageError("Cannot listen for HTTPS: --tls-cert and --tls-key belong together");
  }
  return {
    cert: await textOf(cert, "the certificate"),
    key: await textOf(key, "the private key"),
  };
}

async function keysIn(file: string, mayBeMissing: boolean): Promise<ApiKey[]> {
  try {
    return parseKeys(await textOf(file, "the keys in"));
  } catch (error) {
    const { code } = ((error as Error).cause ?? {}) as { code?: string };
    if (mayBeMissing && code === "ENOENT") return [];
    throw error;
  }
}

/** Whole or not at all; and by one process at a time, because nobody may read what is half done. */
async function writeKeys(file: string, keys: readonly ApiKey[]): Promise<void> {
  const draft = `${file}.new`;
  const handle = await open(draft, "wx", 0o600).catch((cause) => {
    const { code = "failed" } = cause as { code?: string };
    throw usageError(`Cannot write the keys to ${JSON.stringify(draft)}: ${code}`, cause);
  });
  try {
    await handle.writeFile(keys.map((key) => `${JSON.stringify(key)}\n`).join(""));
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(draft, file);
}

function limitOf(values: AccessValues, name: "requests-per-minute" | "tokens-per-minute") {
  const text = values[name];
  if (text === undefined) return undefined;
  const limit = Number(text);
  if (/^\d+$/.test(text) && limit >= 1 && limit < 2 ** 31) return limit;
  throw usageError(`Cannot use --${name} ${text}: expected an integer from 1 up`);
}

function scopesOf({ scope: scopes }: AccessValues): { scopes?: readonly Scope[] } {
  if (scopes === undefined) return {};
  const known: readonly string[] = SCOPES;
  const wrong = scopes.find((scope) => !known.includes(scope));
  if (wrong === undefined) return { scopes: scopes as Scope[] };
  throw usageError(`Cannot use --scope ${wrong}: expected ${SCOPES.join(", ")}`);
}

async function addKey(file: string, name: string, values: AccessValues): Promise<void> {
  const keys = await keysIn(file, true);
  const requestsPerMinute = limitOf(values, "requests-per-minute");
  const tokensPerMinute = limitOf(values, "tokens-per-minute");
  const { secret, key } = await createKey({
    name,
    ...scopesOf(values),
    ...(requestsPerMinute === undefined ? {} : { requestsPerMinute }),
    ...(tokensPerMinute === undefined ? {} : { tokensPerMinute }),
  });
  if (keys.some((known) => known.name === name)) {
    throw usageError(`Cannot add a key: ${file} has one of the name "${name}", remove it first`);
  }
  await writeKeys(file, [...keys, key]);
  process.stdout.write(`${secret}\n`);
  process.stderr.write(
    `This is the key of ${name}; it is not shown again. Its hash is in ${file}, for ` +
      `--api-keys ${file}.\n`,
  );
}

function lineOf({ name, scopes = [], requestsPerMinute, tokensPerMinute }: ApiKey): string {
  const limits = [[requestsPerMinute, "requests"], [tokensPerMinute, "tokens"]] as const;
  const told = limits.flatMap(([limit, unit]) => limit === undefined ? [] : `${limit} ${unit}/min`);
  return `${[name, scopes.join(" "), ...told].join(", ")}\n`;
}

/** Runs `keys VERB`; returns the exit code. */
export async function runKeys(args: readonly string[], values: AccessValues): Promise<number> {
  const [verb, name, ...more] = args;
  const file = values["api-keys"] ?? KEY_FILE;
  if (verb === "list" && name === undefined) {
    for (const key of await keysIn(file, false)) process.stdout.write(lineOf(key));
    return 0;
  }
  if (name === undefined || more.length > 0 || (verb !== "add" && verb !== "remove")) {
    throw usageError("Cannot run keys: expected keys add NAME, keys list or keys remove NAME");
  }
  if (verb === "add") {
    await addKey(file, name, values);
    return 0;
  }
  const keys = await keysIn(file, false);
  const kept = keys.filter((key) => key.name !== name);
  if (kept.length === keys.length) {
    throw usageError(`Cannot remove a key: ${file} has none of the name "${name}"`);
  }
  await writeKeys(file, kept);
  process.stderr.write(
    `Removed the key of ${name} from ${file}; a running server must be restarted.\n`,
  );
  return 0;
}
