/**
 * Connections: how many there may be, and which one gives way when there are too many.
 *
 * Each takes a file descriptor, and a server without descriptors accepts nobody. So there are fewer
 * connections than descriptors; one more takes the place of the connection that has been without an
 * answer for longest, which is how a slow client looks.
 *
 * @module
 */
import { readFileSync } from "node:fs";

/** The part of a socket that is used. */
export interface Connection {
  once(event: "close", listener: () => void): unknown;
  end(): unknown;
  destroy(): unknown;
}

/** Descriptors of a process where the system does not say. */
const DESCRIPTORS_DEFAULT = 1024;
/** Part of the descriptors that is for connections: a relay needs as many again. */
const CONNECTIONS_SHARE = 0.5;
const CONNECTIONS_MAX = 20_000;
/** A server takes all that wait to be accepted at once, before it can close one of them. */
const BACKLOG_SHARE = 0.125;
const BACKLOG_MAX = 511;

/** File descriptors that this process may have. */
export function descriptorsMax(): number {
  try {
    const limits = readFileSync("/proc/self/limits", "utf8");
    return Number(/^Max open files +(\d+)/m.exec(limits)?.[1] ?? DESCRIPTORS_DEFAULT);
  } catch (error) {
    if ((error as { code?: unknown }).code === "ENOENT") return DESCRIPTORS_DEFAULT;
    throw error;
  }
}

/** Connections that a server may have, by the descriptors of its process. */
export function connectionsMax(descriptors: number = descriptorsMax()): number {
  const share = Math.floor(descriptors * CONNECTIONS_SHARE);
  return Math.max(1, Math.min(share, CONNECTIONS_MAX));
}

/** Connections that may wait to be accepted, by the descriptors of the process. */
export function backlogMax(descriptors: number = descriptorsMax()): number {
  return Math.max(1, Math.min(Math.floor(descriptors * BACKLOG_SHARE), BACKLOG_MAX));
}

/** The open connections of a server. */
export class Connections {
  readonly #max: number;
  readonly #open = new Set<Connection>();
  /** Those that are answered nothing, the one that has waited longest first. */
  readonly #waiting = new Set<Connection>();
  readonly #answers = new Map<Connection, number>();
  #checks: (() => void)[] = [];

  /** @param max most that are open at once */
  constructor(max: number) {
    this.#max = max;
  }

  /** Those that are open. */
  get size(): number {
    return this.#open.size;
  }

  /** Takes a new connection, or closes it where all others are being answered. */
  add(connection: Connection): void {
    if (this.#open.has(connection)) return;
    if (this.#open.size >= this.#max) {
      const [oldest] = this.#waiting;
      if (oldest === undefined) return void connection.destroy();
      this.#forget(oldest);
      oldest.destroy();
    }
    this.#open.add(connection);
    this.#waiting.add(connection);
    connection.once("close", () => this.#forget(connection));
  }

  /** An answer on the connection begins; what is returned is called at its end. */
  answer(connection: Connection): () => void {
    this.#waiting.delete(connection);
    this.#answers.set(connection, (this.#answers.get(connection) ?? 0) + 1);
    let isOver = false;
    return () => {
      const answers = this.#answers.get(connection);
      if (isOver || answers === undefined) return;
      isOver = true;
      if (answers > 1) return void this.#answers.set(connection, answers - 1);
      this.#answers.delete(connection);
      if (this.#open.has(connection)) this.#waiting.add(connection);
      this.#check();
    };
  }

  /** Resolves when no answer is under way. */
  async answered(): Promise<void> {
    await this.#until(() => this.#answers.size === 0);
  }

  /** Resolves when none is open. */
  async closed(): Promise<void> {
    await this.#until(() => this.#open.size === 0);
  }

  /** Closes all of them once what was written has left. */
  end(): void {
    for (const connection of this.#open) connection.end();
  }

  /** Closes all of them at once. */
  destroy(): void {
    for (const connection of this.#open) connection.destroy();
  }

  #forget(connection: Connection): void {
    this.#open.delete(connection);
    this.#waiting.delete(connection);
    this.#answers.delete(connection);
    this.#check();
  }

  async #until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#checks.push(resolve));
  }

  #check(): void {
    const checks = this.#checks;
    this.#checks = [];
    for (const check of checks) check();
  }
}
