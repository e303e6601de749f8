/**
 * Tickets: what a page puts into a URL in the place of a key.
 *
 * EventSource and WebSocket cannot send headers, and a URL ends up in logs and histories. A ticket
 * is good for one path, for a short while, for the key that asked for it. It is signed and not
 * kept, so that an EventSource may come back with it, and another server with the same secret
 * takes it too.
 *
 * @module
 */
import { hex } from "./keys.ts";

/** Seconds that a ticket is good for. */
export const TICKET_SECONDS = { min: 1, default: 300, max: 3600 } as const;

const ALGORITHM = { name: "HMAC", hash: "SHA-256" } as const;
const TICKET = /^([0-9a-f]*)\.([0-9]{1,12})\.([0-9a-f]{64})$/;

function statement(owner: string, expiresS: number, path: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${owner}\n${expiresS}\n${path}`);
}

/** Makes tickets and knows its own. */
export class Tickets {
  readonly #secret: Uint8Array<ArrayBuffer>;
  readonly #now: () => number;
  #key: Promise<CryptoKey> | undefined;

  /**
   * @param secret signs them; undefined draws one, and then no other process knows the tickets
   * @param now milliseconds of the epoch
   */
  constructor(secret?: string, now: () => number = Date.now) {
    this.#secret = secret === undefined
      ? crypto.getRandomValues(new Uint8Array(32))
      : new TextEncoder().encode(secret);
    this.#now = now;
  }

  get #signing(): Promise<CryptoKey> {
    return this.#key ??= crypto.subtle.importKey("raw", this.#secret, ALGORITHM, false, [
      "sign",
      "verify",
    ]);
  }

  /** A ticket for an owner and a path, as `ticket=` in a query takes it. */
  async issue(owner: string, path: string, seconds: number): Promise<string> {
    const expiresS = Math.ceil(this.#now() / 1000) + seconds;
    const signed = statement(owner, expiresS, path);
    const mac = await crypto.subtle.sign(ALGORITHM, await this.#signing, signed);
    return `${owner}.${expiresS}.${hex(new Uint8Array(mac))}`;
  }

  /** Whose ticket it is; undefined where it is not ours, not of this path or too old. */
  async owner(ticket: string, path: string): Promise<string | undefined> {
    const [, owner, expires, digits] = TICKET.exec(ticket) ?? [];
    if (owner === undefined || digits === undefined) return undefined;
    const expiresS = Number(expires);
    const mac = Uint8Array.from(digits.match(/../g) ?? [], (byte) => parseInt(byte, 16));
    const signed = statement(owner, expiresS, path);
    const isOurs = await crypto.subtle.verify(ALGORITHM, await this.#signing, mac, signed);
    return isOurs && this.#now() < expiresS * 1000 ? owner : undefined;
  }
}
