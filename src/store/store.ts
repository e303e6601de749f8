/**
 * ModelStore: the models of this machine, and the one way in which new ones come.
 *
 * @module
 */
import { existsSync, mkdirSync, renameSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { ModelError, OverloadedError, RequestError, SluiceError } from "../errors.ts";
import { cacheFolder, hubFolder, modelsFolder } from "./cache.ts";
import { diskFailure, download, type Sink } from "./download.ts";
import { DownloadError } from "./download_error.ts";
import { chooseGguf } from "./gguf_choice.ts";
import { Hub, type HubFile, type HubOptions } from "./hub.ts";
import { HubCache } from "./hub_cache.ts";
import { takeLock } from "./lock.ts";
import { setUpModel } from "./package_source.ts";
import {
  type HubReference,
  knownModelAt,
  knownModels,
  modelAt,
  parseReference,
  type Reference,
  type ResolvedModel,
  resolveModel,
} from "./reference.ts";
import { type DownloadReader, DownloadTracker } from "./tracker.ts";

/** Milliseconds between two tellings of one download's progress. */
const PROGRESS_MS = 250;
/** Seconds after which a refused pull may be tried again. */
const RETRY_AFTER_S = 30;

type KnownReference = Extract<Reference, { kind: "known" }>;
type RemoteReference = HubReference | KnownReference;

/** How a store works; every field has a default. */
export interface StoreOptions extends HubOptions {
  /** Most pulls at once. Default 4. */
  readonly pulls?: number;
  /** Hears of every download. Default a tracker of its own. */
  readonly tracker?: DownloadTracker;
  /** Milliseconds between two tellings of one download's progress. Default 250. */
  readonly progressMs?: number;
  /** Fetches the default model. Default by the set-up of this checkout. */
  readonly setUp?: (purpose: string, signal: AbortSignal) => Promise<void>;
  /** Default `[500, 1000, 2000, 4000]`; pauses between attempts that bring nothing new. */
  readonly retryDelaysMs?: readonly number[];
  /** Opens a partial file; a test gives one whose disk is full. */
  readonly open?: (path: string) => Promise<Sink>;
  /** Free bytes of a folder's disk; a test says how many. */
  readonly freeBytes?: (folder: string) => Promise<number>;
}

/** A model on this machine. */
export interface StoredModel {
  /** What `--model` and `load` take. */
  readonly ref: string;
  /** Size of the file. */
  readonly bytes: number;
  /** Absolute path of the file. */
  readonly path: string;
}

/** The models of this machine; see the module. */
export class ModelStore {
  /** How far the pulls are. */
  readonly tracker: DownloadTracker;
  readonly #options: StoreOptions;
  readonly #cache: HubCache;
  /** The folder of the models that the set-up brings. */
  readonly #models: string;
  readonly #running = new Map<string, Promise<ResolvedModel>>();
  readonly #stopper = new AbortController();

  /** Makes a store; opens nothing. */
  constructor(options: StoreOptions = {}) {
    this.#options = options;
    this.tracker = options.tracker ?? new DownloadTracker();
    this.#cache = new HubCache(hubFolder(options.env));
    this.#models = modelsFolder(cacheFolder(options.env));
  }

  /**
   * Brings a model onto this machine, or finds that it is there. Whoever asks for one that is
   * being pulled waits for that.
   *
   * @throws {ModelError | DownloadError | OverloadedError}
   */
  async pull(ref: string): Promise<ResolvedModel> {
    const reference = parseReference(ref);
    return reference.kind === "path" ? resolveModel(ref) : await this.#start(ref, reference);
  }

  /**
   * Begins a pull and does not wait for it; the tracker tells the rest.
   *
   * @throws {RequestError} for what is no name of a model on the hub or of the set-up
   * @throws {OverloadedError} when too many run
   */
  begin(ref: string): void {
    // Its failure is told by the tracker.
    this.#start(ref, remoteReference(ref)).catch(() => undefined);
  }

  #start(ref: string, reference: RemoteReference): Promise<ResolvedModel> {
    const running = this.#running.get(ref);
    if (running !== undefined) return running;
    const { pulls = 4 } = this.#options;
    if (this.#running.size >= pulls) {
      throw new OverloadedError(
        `Cannot pull "${ref}": ${pulls} pulls run and no more may, try again when one has ended`,
        RETRY_AFTER_S,
        "overloaded",
        "downloads.pulls",
      );
    }
    const pulled = this.#track(ref, reference).finally(() => this.#running.delete(ref));
    this.#running.set(ref, pulled);
    return pulled;
  }

  /** A reader of all downloads, or of one; see `DownloadTracker.subscribe`. */
  subscribe(ref?: string): DownloadReader {
    return this.tracker.subscribe(ref);
  }

  /** The models that are on this machine and whole, by name. */
  list(): StoredModel[] {
    const known = Object.entries(knownModels).flatMap(([name, model]) => {
      const found = knownModelAt(name, model, this.#models);
      return found === undefined ? [] : [{ ref: name, bytes: model.bytes, path: found.path }];
    });
    const pulled = this.#cache.list().map(({ repo, file, path }) => ({
      ref: `hf:${repo}/${file}`,
      bytes: statSync(path).size,
      path,
    }));
    return [...known, ...pulled];
  }

  /** Stops every pull, each with its part kept, and ends every reader. */
  async stop(reason: unknown = new DownloadError("Cannot go on: it was stopped")): Promise<void> {
    this.#stopper.abort(reason);
    await Promise.allSettled(this.#running.values());
    this.tracker.close();
  }

  async #track(ref: string, reference: RemoteReference): Promise<ResolvedModel> {
    this.tracker.started(ref);
    try {
      const model = reference.kind === "hub"
        ? await this.#bringFromHub(ref, reference)
        : await this.#bringKnown(ref, reference);
      this.tracker.complete(ref);
      return model;
    } catch (thrown) {
      const error = isFileFailure(thrown)
        ? diskFailure(`pull "${ref}"`, hubFolder(this.#options.env), thrown)
        : thrown;
      const isTellable = error instanceof SluiceError;
      this.tracker.failed(ref, isTellable ? error.message : `Cannot pull "${ref}": it failed`);
      throw error;
    }
  }

  async #bringKnown(ref: string, { name, model }: KnownReference): Promise<ResolvedModel> {
    const found = knownModelAt(name, model, this.#models);
    if (found !== undefined) return found;
    this.tracker.progress(ref, 0, null);
    await (this.#options.setUp ?? setUpModel)(`pull "${ref}"`, this.#stopper.signal);
    const brought = knownModelAt(name, model, this.#models);
    if (brought !== undefined) return brought;
    throw new DownloadError(`Cannot pull "${ref}": the set-up left no whole file, run it again`);
  }

  async #bringFromHub(ref: string, reference: HubReference): Promise<ResolvedModel> {
    const { signal } = this.#stopper;
    const hub = new Hub(this.#options);
    const files = await hub.files(`pull "${ref}"`, reference.repo, signal);
    const path = chooseGguf(ref, files.map((each) => each.path), reference);
    const file = files.find((each) => each.path === path)!;
    const blob = join(this.#cache.blobs(file.repo), file.sha256);
    if (!isWhole(blob, file)) await this.#fetch(ref, hub, file, blob);
    return modelAt(this.#cache.show(file.repo, file.commit, file.path, file.sha256));
  }

  /** Fetches a content under its lock; another process may have done so meanwhile. */
  async #fetch(ref: string, hub: Hub, file: HubFile, blob: string): Promise<void> {
    const { signal } = this.#stopper;
    const part = `${blob}.sluice`;
    const tell = this.#teller(ref, file.bytes);
    mkdirSync(dirname(blob), { recursive: true });
    using _ = await takeLock(this.#cache.lock(file.repo, file.sha256), signal, () => {
      tell(statSync(part, { throwIfNoEntry: false })?.size ?? 0);
    });
    if (isWhole(blob, file)) return;
    const { retryDelaysMs, open, freeBytes } = this.#options;
    const wanted = { purpose: `pull "${ref}"`, url: hub.urlOf(file), ...file };
    const { access } = hub;
    await download(part, wanted, { access, signal, onBytes: tell, retryDelaysMs, open, freeBytes });
    renameSync(part, blob);
  }

  /** Tells the tracker now and then, and of the last byte. */
  #teller(ref: string, total: number): (bytes: number) => void {
    const { progressMs = PROGRESS_MS } = this.#options;
    let toldMs = -Infinity;
    return (bytes) => {
      const nowMs = performance.now();
      if (bytes < total && nowMs - toldMs < progressMs) return;
      toldMs = nowMs;
      this.tracker.progress(ref, bytes, total);
    };
  }
}

/** Whether the file system failed, and no more is known. */
function isFileFailure(thrown: unknown): boolean {
  const { code, syscall } = thrown as { code?: unknown; syscall?: unknown };
  return !(thrown instanceof SluiceError) && typeof code === "string" && syscall !== undefined;
}

/** Whether a content is there; it gets its name only once it was checked. */
function isWhole(blob: string, { bytes }: HubFile): boolean {
  return existsSync(blob) && statSync(blob).size === bytes;
}

/** Reads what a client asks for, which may not be a file of this machine. */
function remoteReference(ref: string): RemoteReference {
  let message = `expected hf:owner/repo[:QUANT] or one of ${Object.keys(knownModels).join(", ")}`;
  try {
    const reference = parseReference(ref);
    if (reference.kind !== "path") return reference;
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    message = error.message;
  }
  throw new RequestError(`Cannot pull the model: model_ref: ${message}`, [
    { field: "model_ref", message },
  ]);
}
