/**
 * SqliteStore: streams in one SQLite file, by node:sqlite, which both runtimes have.
 *
 * Written ahead of every event that is published, so that a killed process loses none. The system
 * is not told to flush after each (`synchronous=NORMAL` with a write-ahead log): a killed process
 * is survived whole, a power cut may cost the newest events.
 *
 * @module
 */
// deno-lint-ignore-file require-await -- so that what SQLite throws becomes a rejection
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { SluiceError } from "../../errors.ts";
import type { StreamEvent } from "../event.ts";
import { isTerminal } from "../log.ts";
import {
  type Demand,
  NO_DEMAND,
  type StoredStream,
  StreamConflictError,
  type StreamRecord,
  type StreamStore,
} from "../store.ts";
import { StreamHoleError } from "./hole.ts";

/** What a file may become. */
export interface SqliteStoreOptions {
  /** Bytes that the file may take; what does not fit is refused. Default as the disk allows. */
  readonly bytesMax?: number | undefined;
}

const SCHEMA = `
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = NORMAL;
  PRAGMA busy_timeout = 200;
  CREATE TABLE IF NOT EXISTS streams (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, created_at INTEGER NOT NULL, request TEXT NOT NULL,
    ended INTEGER NOT NULL DEFAULT 0, holder TEXT NOT NULL DEFAULT '',
    lease_until INTEGER NOT NULL DEFAULT 0
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS events (
    stream TEXT NOT NULL, seq INTEGER NOT NULL, event TEXT NOT NULL, PRIMARY KEY (stream, seq)
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS keys (
    owner TEXT NOT NULL, key TEXT NOT NULL, stream TEXT NOT NULL, PRIMARY KEY (owner, key)
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS unfinished ON streams (ended) WHERE ended = 0;
`;

const STATEMENTS = {
  create: "INSERT INTO streams (id, owner, created_at, request) VALUES (?, ?, ?, ?)",
  find: "SELECT owner, created_at, request, ended FROM streams WHERE id = ?",
  range: "SELECT min(seq) AS first, max(seq) AS last FROM events WHERE stream = ?",
  update: "UPDATE streams SET request = ? WHERE id = ?",
  // Nothing where the stream or the event before is missing.
  append: "INSERT INTO events (stream, seq, event) SELECT ?1, ?2, ?3 " +
    "WHERE EXISTS (SELECT 1 FROM streams WHERE id = ?1) AND " +
    "(?2 = 0 OR EXISTS (SELECT 1 FROM events WHERE stream = ?1 AND seq = ?2 - 1))",
  end: "UPDATE streams SET ended = 1 WHERE id = ?",
  read: "SELECT event FROM events WHERE stream = ? AND seq >= ? ORDER BY seq LIMIT ?",
  unfinished: "SELECT id FROM streams WHERE ended = 0 ORDER BY created_at",
  claim: "UPDATE streams SET holder = ?1, lease_until = ?2 " +
    "WHERE id = ?3 AND (holder = ?1 OR lease_until < ?4)",
  bind: "INSERT INTO keys (owner, key, stream) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
  bound: "SELECT stream FROM keys WHERE owner = ? AND key = ?",
  removeEvents: "DELETE FROM events WHERE stream = ?",
  removeKeys: "DELETE FROM keys WHERE stream = ?",
  remove: "DELETE FROM streams WHERE id = ?",
  old: "SELECT id FROM streams WHERE created_at < ?",
} as const;

type Row = Record<string, string | number | null>;

/** SQLITE_CONSTRAINT_PRIMARYKEY. */
const PRIMARY_KEY_TAKEN = 1555;
/** How often a file is looked at for events of another process. */
const POLL_MS = 20;

/** Streams in a SQLite file. */
export class SqliteStore implements StreamStore {
  readonly kind = "sqlite";
  readonly shared = false;
  readonly #database: DatabaseSync;
  readonly #statements: Record<keyof typeof STATEMENTS, StatementSync>;

  /**
   * Opens the file, or makes it.
   *
   * @param path of the file; its folder must exist
   * @throws SluiceError `store_error` where it cannot be opened
   */
  constructor(path: string, { bytesMax }: SqliteStoreOptions = {}) {
    try {
      this.#database = new DatabaseSync(path);
      this.#database.exec(SCHEMA);
      if (bytesMax !== undefined) this.#limit(bytesMax);
    } catch (cause) {
      throw new SluiceError(
        `Cannot open the stream store ${JSON.stringify(path)}: ${
          cause instanceof Error ? cause.message : cause
        }, expected a file that SQLite can write`,
        "store_error",
        500,
        { cause },
      );
    }
    const names = Object.keys(STATEMENTS) as (keyof typeof STATEMENTS)[];
    this.#statements = Object.fromEntries(
      names.map((name) => [name, this.#database.prepare(STATEMENTS[name])]),
    ) as Record<keyof typeof STATEMENTS, StatementSync>;
  }

  #limit(bytesMax: number): void {
    const row = this.#database.prepare("PRAGMA page_size").get() as Row;
    const pages = Math.max(1, Math.floor(bytesMax / Number(row["page_size"])));
    this.#database.exec(`PRAGMA max_page_count = ${pages}`);
  }

  async create({ id, owner, createdAt, request }: StreamRecord): Promise<void> {
    this.#statements.create.run(id, owner, createdAt, JSON.stringify(request ?? null));
  }

  async find(id: string): Promise<StoredStream | undefined> {
    const row = this.#statements.find.get(id) as Row | undefined;
    if (row === undefined) return undefined;
    const { first, last } = this.#statements.range.get(id) as Row;
    return {
      record: {
        id,
        owner: String(row["owner"]),
        createdAt: Number(row["created_at"]),
        request: JSON.parse(String(row["request"])),
      },
      first: Number(first ?? 0),
      end: last === null ? 0 : Number(last) + 1,
      ended: row["ended"] === 1,
    };
  }

  async update(id: string, request: unknown): Promise<void> {
    this.#statements.update.run(JSON.stringify(request ?? null), id);
  }

  async append(id: string, seq: number, events: readonly StreamEvent[]): Promise<void> {
    const isOne = events.length === 1 && !isTerminal(events[0]!);
    // A statement alone is a transaction by itself.
    if (isOne) return this.#insert(id, seq, events[0]!);
    this.#database.exec("BEGIN IMMEDIATE");
    try {
      events.forEach((event, i) => this.#insert(id, seq + i, event));
      if (events.some(isTerminal)) this.#statements.end.run(id);
      this.#database.exec("COMMIT");
    } catch (failure) {
      // SQLite may have rolled back by itself; to do it again would hide why.
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      throw failure;
    }
  }

  #insert(id: string, seq: number, event: StreamEvent): void {
    try {
      const { changes } = this.#statements.append.run(id, seq, JSON.stringify(event));
      if (Number(changes) === 0) throw new StreamHoleError(id, seq);
    } catch (cause) {
      if (isTaken(cause)) throw new StreamConflictError(id, seq, cause);
      throw cause;
    }
  }

  async read(id: string, seq: number, countMax: number): Promise<StreamEvent[]> {
    const rows = this.#statements.read.all(id, seq, countMax) as Row[];
    return rows.map(({ event }) => JSON.parse(String(event)) as StreamEvent);
  }

  async wait(id: string, seq: number, waitMs: number): Promise<void> {
    const end = performance.now() + waitMs;
    while ((await this.read(id, seq, 1)).length === 0 && performance.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  async unfinished(): Promise<string[]> {
    return (this.#statements.unfinished.all() as Row[]).map(({ id }) => String(id));
  }

  async claim(id: string, holder: string, leaseMs: number): Promise<boolean> {
    const now = Date.now();
    // A lease of nothing is over at once, not a millisecond later.
    const until = leaseMs > 0 ? now + leaseMs : 0;
    return Number(this.#statements.claim.run(holder, until, id, now).changes) > 0;
  }

  async bind(owner: string, key: string, id: string): Promise<string> {
    this.#statements.bind.run(owner, key, id);
    return String((this.#statements.bound.get(owner, key) as Row)["stream"]);
  }

  /** One process only: its own readers are all there are. */
  async demand(): Promise<Demand> {
    return NO_DEMAND;
  }

  async remove(id: string): Promise<void> {
    this.#statements.removeEvents.run(id);
    this.#statements.removeKeys.run(id);
    this.#statements.remove.run(id);
  }

  async sweep(createdBefore: number): Promise<number> {
    const old = this.#statements.old.all(createdBefore) as Row[];
    for (const { id } of old) await this.remove(String(id));
    return old.length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#database.isOpen) this.#database.close();
  }
}

function isTaken(cause: unknown): boolean {
  if (!(cause instanceof Error)) return false;
  const { errcode } = cause as { errcode?: number };
  return errcode === PRIMARY_KEY_TAKEN || cause.message.includes("UNIQUE constraint failed");
}
