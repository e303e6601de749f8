/**
 * Models on this machine: names to files, downloads that resume and are checked, and whoever
 * follows them.
 *
 * @example
 * ```ts ignore
 * import { load } from "@sluice/llm";
 * import { ModelStore } from "@sluice/llm/store";
 *
 * const store = new ModelStore();
 * using reader = store.subscribe();
 * void (async () => {
 *   for await (const event of reader) console.log(event);
 * })();
 * const { path } = await store.pull("hf:owner/repo:Q4_K_M");
 * await using model = await load(path);
 * ```
 *
 * @module
 */
export { ModelStore, type StoredModel, type StoreOptions } from "./store.ts";
export {
  type DownloadEvent,
  DownloadReader,
  DownloadTracker,
  type TrackerCounts,
  type TrackerLimits,
} from "./tracker.ts";
export { DownloadError, type DownloadErrorOptions } from "./download_error.ts";
export type { Sink } from "./download.ts";
export type { Environment, HubOptions } from "./hub.ts";
export type { ResolvedModel } from "./reference.ts";
