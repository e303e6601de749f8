/**
 * Bytes, times and shares, written for people.
 *
 * @module
 */

const CELLS = 24;

/** Bytes in units of 1000: "98.4 MB". */
export function size(bytes: number): string {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/** Milliseconds as "48 s" or "2 min 5 s". */
export function duration(ms: number): string {
  const seconds = Math.round(ms / 1000);
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** A bar with its percentage; nothing of nothing is all. */
export function gauge(done: number, total: number): string {
  const share = total === 0 ? 1 : Math.min(1, done / total);
  const full = Math.floor(share * CELLS);
  const percent = `${Math.floor(share * 100)} %`.padStart(5);
  return `[${"#".repeat(full)}${".".repeat(CELLS - full)}] ${percent}`;
}
