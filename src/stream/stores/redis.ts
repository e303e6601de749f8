/**
 * RedisStore: streams in a Redis server, which several processes share.
 *
 * Event `seq` of a stream is the entry `<seq>-1` of a Redis Stream. Scripts make what has several
 * steps one, and every key of a stream is in one hash slot. How much a crash of the server costs is
 * the server's own setting (`appendonly`). A stream that lost events takes no more: a hole would
 * give readers wrong text.
 *
 * While the server is away nothing is queued: commands reject at once, and those under way after
 * `TIMEOUT_MS`; the connection is made anew by itself.
 *
 * @module
 */
import type { Redis, RedisOptions } from "ioredis";
import { DisposedError, SluiceError } from "../../errors.ts";
import type { StreamEvent } from "../event.ts";
import { isTerminal } from "../log.ts";
import {
  type Demand,
  type StoredStream,
  StreamConflictError,
  type StreamRecord,
  type StreamStore,
} from "../store.ts";
import { pause, within } from "../within.ts";
import { StreamHoleError } from "./hole.ts";

/** How a store keeps streams. */
export interface RedisStoreOptions {
  /** Milliseconds after which Redis forgets what is not written any more. Default 24 hours. */
  readonly ageMs?: number | undefined;
}

const AGE_MS = 24 * 3_600_000;
/** How long a command may take. */
const TIMEOUT_MS = 1000;
/** Longest pause between two attempts to connect. */
const RECONNECT_MS_MAX = 500;
/** Connections that block at once; whoever waits beside them looks again after `POLL_MS`. */
const WAITERS_MAX = 32;
const POLL_MS = 50;

const UNFINISHED = "sluice:unfinished";
/** Every stream by the time it was made. */
const STREAMS = "sluice:streams";

const SCRIPTS = {
  /** 1, or 0 where the record is there already. */
  create: `
    if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
    redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'createdAt', ARGV[2], 'request', ARGV[3])
    return redis.call('PEXPIRE', KEYS[1], ARGV[4])`,
  update: `
    if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
    redis.call('LTRIM', KEYS[2], ARGV[2], -1)
    return redis.call('HSET', KEYS[1], 'request', ARGV[1])`,
  /** The free place before the call, -1 where the record is gone; appends only at that place. */
  append: `
    if redis.call('EXISTS', KEYS[1]) == 0 then return -1 end
    local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
    local free = last and tonumber(string.match(last[1], '^%d+')) + 1 or 0
    if tonumber(ARGV[2]) ~= free then return free end
    for i = 3, #ARGV do
      redis.call('XADD', KEYS[2], string.format('%d-1', free + i - 3), 'event', ARGV[i])
    end
    redis.call('PEXPIRE', KEYS[1], ARGV[1])
    redis.call('PEXPIRE', KEYS[2], ARGV[1])
    return free`,
  claim: `
    if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
    local holder = redis.call('GET', KEYS[2])
    if holder and holder ~= ARGV[1] then return 0 end
    if tonumber(ARGV[2]) > 0 then redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
    else redis.call('DEL', KEYS[2]) end
    return 1`,
  /** Adds to what is wanted, and gives all of it: up to where, 1 where stopped, every change. */
  demand: `
    if redis.call('EXISTS', KEYS[1]) == 0 then return {0, 0, {}} end
    local wanted = redis.call('HMGET', KEYS[2], 'upTo', 'stopped')
    local upTo, stopped = tonumber(wanted[1] or 0), tonumber(wanted[2] or 0)
    if tonumber(ARGV[2]) > upTo or tonumber(ARGV[3]) > stopped then
      upTo = math.max(upTo, tonumber(ARGV[2]))
      stopped = math.max(stopped, tonumber(ARGV[3]))
      redis.call('HSET', KEYS[2], 'upTo', upTo, 'stopped', stopped)
      redis.call('PEXPIRE', KEYS[2], ARGV[1])
    end
    for i = 4, #ARGV do redis.call('RPUSH', KEYS[3], ARGV[i]) end
    if #ARGV > 3 then redis.call('PEXPIRE', KEYS[3], ARGV[1]) end
    return {upTo, stopped, redis.call('LRANGE', KEYS[3], 0, -1)}`,
  /** The key may stand for a newer stream by now. */
  unbind: `
    if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
    return redis.call('DEL', KEYS[1])`,
} as const;

/** Streams in a Redis server. */
export class RedisStore implements StreamStore {
  readonly kind = "redis";
  readonly shared = true;
  readonly #redis: Redis;
  readonly #name: string;
  readonly #ageMs: number;
  /** Connections that block, and those of them that wait for nothing now. */
  readonly #waiters = new Set<Redis>();
  readonly #idle: Redis[] = [];
  /** Why there is no connection. */
  #trouble: unknown;
  #isDisposed = false;

  private constructor(redis: Redis, name: string, ageMs: number) {
    this.#redis = redis;
    this.#name = name;
    this.#ageMs = ageMs;
    // Every command that meets the trouble reports it.
    redis.on("error", (failure) => this.#trouble = failure);
    redis.on("ready", () => this.#trouble = undefined);
  }

  /**
   * Connects to a server of Redis 7 or newer.
   *
   * @param url such as `redis://user:password@host:6379/0`, `rediss:` with TLS
   * @throws SluiceError `store_error` where it does not answer, `invalid_option`
   */
  static async connect(url: string, options: RedisStoreOptions = {}): Promise<RedisStore> {
    const { ageMs = AGE_MS } = options;
    if (!Number.isInteger(ageMs) || ageMs < 1) {
      throw invalid(`ageMs is ${ageMs}, expected an integer from 1`);
    }
    // What is shown leaves the password out.
    const { protocol, host } = URL.parse(url) ?? {};
    if (host === undefined || !/^rediss?:$/.test(protocol ?? "")) {
      throw invalid("the URL is none of Redis, expected one such as redis://localhost:6379");
    }
    // Loaded here, so that only whoever uses Redis needs the package.
    const { Redis } = await import("ioredis");
    const redis = new Redis(url, CONNECTION);
    const store = new RedisStore(redis, `${protocol}//${host}`, ageMs);
    try {
      await store.#ask(inTime(redis.connect(), TIMEOUT_MS));
    } catch (failure) {
      await store[Symbol.asyncDispose]();
      throw failure;
    }
    return store;
  }

  async create({ id, owner, createdAt, request }: StreamRecord): Promise<void> {
    const text = JSON.stringify(request ?? null);
    const values = [owner, createdAt, text, this.#ageMs];
    const isNew = await this.#run("create", [keyOf(id, "record")], values);
    if (isNew !== 1) {
      throw new SluiceError(
        `Cannot keep the stream "${id}": there is one of that id, expected a new id`,
        "store_error",
        500,
      );
    }
    await this.#ask(Promise.all([UNFINISHED, STREAMS].flatMap((index) => [
      this.#redis.zadd(index, createdAt, id),
      this.#redis.pexpire(index, this.#ageMs),
    ])));
  }

  async find(id: string): Promise<StoredStream | undefined> {
    const events = keyOf(id, "events");
    const [record, [first], [last]] = await this.#ask(Promise.all([
      this.#redis.hgetall(keyOf(id, "record")),
      this.#redis.xrange(events, "-", "+", "COUNT", 1),
      this.#redis.xrevrange(events, "+", "-", "COUNT", 1),
    ]));
    const { owner, createdAt, request } = record;
    if (owner === undefined || request === undefined) return undefined;
    return {
      record: { id, owner, createdAt: Number(createdAt), request: JSON.parse(request) },
      first: first === undefined ? 0 : seqOf(first),
      end: last === undefined ? 0 : seqOf(last) + 1,
      ended: last !== undefined && isTerminal(eventOf(last)),
    };
  }

  async update(id: string, request: unknown, changes = 0): Promise<void> {
    const keys = [keyOf(id, "record"), keyOf(id, "changes")];
    await this.#run("update", keys, [JSON.stringify(request ?? null), changes]);
  }

  async append(id: string, seq: number, events: readonly StreamEvent[]): Promise<void> {
    const keys = [keyOf(id, "record"), keyOf(id, "events")];
    const texts = events.map((event) => JSON.stringify(event));
    const free = await this.#run("append", keys, [this.#ageMs, seq, ...texts]);
    if (seq < free) throw new StreamConflictError(id, seq);
    if (seq > free) throw new StreamHoleError(id, seq);
    if (events.some(isTerminal)) await this.#ask(this.#redis.zrem(UNFINISHED, id));
  }

  async read(id: string, seq: number, countMax: number): Promise<StreamEvent[]> {
    const entries = this.#redis.xrange(keyOf(id, "events"), `${seq}-0`, "+", "COUNT", countMax);
    return (await this.#ask(entries)).map(eventOf);
  }

  async wait(id: string, seq: number, waitMs: number): Promise<void> {
    if (this.#isDisposed) throw new DisposedError("the stream store");
    // Redis takes 0 for ever.
    if (waitMs <= 0) return;
    const waiter = this.#idle.pop() ?? this.#makeWaiter();
    if (waiter === undefined) return await pause(Math.min(waitMs, POLL_MS));
    try {
      await this.#ask(inTime(block(waiter, id, seq, waitMs), waitMs + TIMEOUT_MS));
      this.#idle.push(waiter);
    } catch (failure) {
      this.#waiters.delete(waiter);
      waiter.disconnect();
      throw failure;
    }
  }

  /** Streams that the index names and that are there; what a crash left in it is taken out. */
  async unfinished(): Promise<string[]> {
    const ids = await this.#ask(this.#redis.zrange(UNFINISHED, "0", "-1"));
    const found = await Promise.all(ids.map((id) => this.find(id)));
    const isOver = (i: number): boolean => found[i]?.ended ?? true;
    const over = ids.filter((_, i) => isOver(i));
    if (over.length > 0) await this.#ask(this.#redis.zrem(UNFINISHED, ...over));
    return ids.filter((_, i) => !isOver(i));
  }

  async claim(id: string, holder: string, leaseMs: number): Promise<boolean> {
    const keys = [keyOf(id, "record"), keyOf(id, "lease")];
    return await this.#run("claim", keys, [holder, Math.ceil(leaseMs)]) === 1;
  }

  async bind(owner: string, key: string, id: string): Promise<string> {
    // Escaped, so that no owner's key can be taken for another's.
    const name = `sluice:key:${encodeURIComponent(owner)}:${key}`;
    const bound = await this.#ask(this.#redis.set(name, id, "PX", this.#ageMs, "NX", "GET"));
    if (bound !== null) return bound;
    const names = keyOf(id, "keys");
    await this.#ask(Promise.all([
      this.#redis.sadd(names, name),
      this.#redis.pexpire(names, this.#ageMs),
    ]));
    return id;
  }

  async demand(id: string, more: Partial<Demand>): Promise<Demand> {
    const keys = (["record", "demand", "changes"] as const).map((part) => keyOf(id, part));
    const { upTo = 0, isStopped = false, changes = [] } = more;
    const added = changes.map((change) => JSON.stringify(change ?? null));
    const values = [this.#ageMs, upTo, Number(isStopped), ...added];
    const reply = await this.#ask(this.#redis.eval(SCRIPTS.demand, 3, ...keys, ...values));
    const [furthest, stopped, texts] = reply as [number, number, string[]];
    return {
      upTo: furthest,
      isStopped: stopped === 1,
      changes: texts.map((text) => JSON.parse(text) as unknown),
    };
  }

  async remove(id: string): Promise<void> {
    const keys = await this.#ask(this.#redis.smembers(keyOf(id, "keys")));
    const own = PARTS.map((part) => keyOf(id, part));
    await this.#ask(Promise.all([
      ...keys.map((key) => this.#redis.eval(SCRIPTS.unbind, 1, key, id)),
      this.#redis.del(...own),
      this.#redis.zrem(UNFINISHED, id),
      // Last, so that a removal that was cut off is found by the next sweep.
      this.#redis.zrem(STREAMS, id),
    ]));
  }

  async sweep(createdBefore: number): Promise<number> {
    const ids = await this.#ask(this.#redis.zrangebyscore(STREAMS, "-inf", `(${createdBefore}`));
    for (const id of ids) await this.remove(id);
    return ids.length;
  }

  [Symbol.asyncDispose](): Promise<void> {
    const connections = this.#isDisposed ? [] : [this.#redis, ...this.#waiters];
    this.#isDisposed = true;
    for (const connection of connections) connection.disconnect();
    return Promise.resolve();
  }

  async #run(
    script: keyof typeof SCRIPTS,
    keys: readonly string[],
    values: readonly (string | number)[],
  ): Promise<number> {
    const reply = this.#redis.eval(SCRIPTS[script], keys.length, ...keys, ...values);
    return Number(await this.#ask(reply));
  }

  /** Gives what went wrong as an error that says where. */
  async #ask<T>(reply: Promise<T>): Promise<T> {
    try {
      return await reply;
    } catch (failure) {
      if (this.#isDisposed) throw new DisposedError("the stream store");
      const cause = this.#trouble ?? failure;
      throw new SluiceError(
        `Cannot use the stream store ${this.#name}: ${
          cause instanceof Error ? cause.message : cause
        }, expected a server of Redis 7 or newer that answers`,
        "store_error",
        500,
        { cause },
      );
    }
  }

  #makeWaiter(): Redis | undefined {
    if (this.#waiters.size >= WAITERS_MAX) return undefined;
    const waiter = this.#redis.duplicate(WAITER);
    // The wait that meets the trouble reports it.
    waiter.on("error", () => undefined);
    this.#waiters.add(waiter);
    return waiter;
  }
}

const CONNECTION = {
  lazyConnect: true,
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  commandTimeout: TIMEOUT_MS,
  connectTimeout: TIMEOUT_MS,
  disconnectTimeout: TIMEOUT_MS,
  // A server that has stopped answering must not have commands heaped up on its socket.
  socketTimeout: 2 * TIMEOUT_MS,
  disableClientInfo: true,
  retryStrategy: (attempts: number) => Math.min(50 * attempts, RECONNECT_MS_MAX),
} satisfies RedisOptions;

/** What is different where a command may block: the wait has its own limit and connects itself. */
const WAITER: RedisOptions = {
  commandTimeout: undefined,
  socketTimeout: undefined,
  retryStrategy: null,
};

async function block(waiter: Redis, id: string, seq: number, waitMs: number): Promise<void> {
  if (waiter.status !== "ready") await waiter.connect();
  const newest = seq > 0 ? `${seq - 1}-1` : "0-0";
  const ms = Math.ceil(waitMs);
  await waiter.xread("COUNT", 1, "BLOCK", ms, "STREAMS", keyOf(id, "events"), newest);
}

async function inTime(work: Promise<void>, ms: number): Promise<void> {
  if (await within(work.then(() => true), ms) !== true) {
    throw new Error(`no answer in ${ms} ms`);
  }
}

/** The keys of a stream. */
const PARTS = ["record", "events", "lease", "demand", "changes", "keys"] as const;

/** The braces make all keys of a stream share a hash slot. */
function keyOf(id: string, part: typeof PARTS[number]): string {
  return `sluice:{${id}}:${part}`;
}

type Entry = [name: string, fields: string[]];

function seqOf([name]: Entry): number {
  return Number.parseInt(name, 10);
}

function eventOf([, fields]: Entry): StreamEvent {
  return JSON.parse(fields[1]!) as StreamEvent;
}

function invalid(what: string): SluiceError {
  return new SluiceError(`Cannot use Redis as the stream store: ${what}`, "invalid_option", 500);
}
