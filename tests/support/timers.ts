/**
 * Watches the timers of a test, to show that none is left behind.
 *
 * @module
 */

/** The timers that are set and neither fired nor cleared; `restore` gives the globals back. */
export function watchTimers(): { live: Set<unknown>; restore: () => void } {
  const live = new Set<unknown>();
  const { setTimeout: set, clearTimeout: clear } = globalThis;
  const watched = (call: (...values: unknown[]) => void, ms?: number, ...values: unknown[]) => {
    const id = set(() => {
      live.delete(id);
      call(...values);
    }, ms);
    live.add(id);
    return id;
  };
  globalThis.setTimeout = watched as unknown as typeof set;
  globalThis.clearTimeout = ((id: Parameters<typeof clear>[0]) => {
    live.delete(id);
    clear(id);
  }) as typeof clear;
  const restore = (): void => {
    globalThis.setTimeout = set;
    globalThis.clearTimeout = clear;
  };
  return { live, restore };
}
