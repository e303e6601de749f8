/**
 * The commands of the model store: pull and list. They need no package and no native library, so
 * they run before any set-up.
 *
 * @module
 */
import process from "node:process";
import { SluiceError } from "../errors.ts";
import { size } from "./amounts.ts";
import { Bar, type BarOutput } from "./bar.ts";
import { DownloadError } from "./download_error.ts";
import { ModelStore, type StoreOptions } from "./store.ts";

const USAGE = `Usage: bun run pull REF     or: deno task pull REF
       bun run list         or: deno task list

  REF  smollm2                     the default model, by the set-up
       hf:owner/repo               a model of the hub, in its usual quantization
       hf:owner/repo:QUANT         in that one, such as Q8_0
       hf:owner/repo/FILE.gguf     that file

  HF_HOME, HF_HUB_CACHE            where models are kept, shared with Hugging Face's tools
  HF_TOKEN                         for models that are not for everybody
  HF_ENDPOINT                      another hub
  SLUICE_HUB_ORIGINS               other places that a hub of your own keeps its files on
`;

/** Where the commands write. */
export interface Terminal {
  readonly out: { write(text: string): unknown };
  readonly err: BarOutput;
}

const terminal = (): Terminal => ({ out: process.stdout, err: process.stderr });

/**
 * Brings a model onto this machine and says where it is.
 *
 * @param options of the store
 * @returns the exit code
 */
export async function pull(
  args: readonly string[],
  { out, err }: Terminal = terminal(),
  options: StoreOptions = {},
): Promise<number> {
  const [ref, ...more] = args;
  if (ref === undefined || more.length > 0 || ref.startsWith("-")) {
    err.write(USAGE);
    return 2;
  }
  const store = new ModelStore(options);
  const bar = new Bar(err);
  const reader = store.subscribe();
  const shown = (async () => {
    for await (const event of reader) {
      if (event.type === "progress" && event.total !== null) bar.draw(event.bytes, event.total);
    }
  })();
  const stop = (): void => void store.stop(new Interruption());
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, stop);
  try {
    const { path } = await store.pull(ref);
    reader.close();
    await shown;
    bar.clear();
    out.write(`${path}\n`);
    return 0;
  } catch (error) {
    reader.close();
    await shown;
    bar.clear();
    if (!(error instanceof SluiceError)) throw error;
    const place = error instanceof DownloadError && error.place !== undefined
      ? ` (in ${error.place})`
      : "";
    err.write(`sluice: ${error.message}${place}\n`);
    return error instanceof Interruption ? 130 : 1;
  } finally {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.off(signal, stop);
  }
}

class Interruption extends DownloadError {
  constructor() {
    super("Stopped; pull it again to go on from here");
  }
}

/**
 * Lists the models of this machine: reference, size, path.
 *
 * @param options of the store
 * @returns the exit code
 */
export function list({ out }: Terminal = terminal(), options: StoreOptions = {}): number {
  const models = new ModelStore(options).list();
  const width = Math.max(0, ...models.map(({ ref }) => ref.length));
  for (const { ref, bytes, path } of models) {
    out.write(`${ref.padEnd(width)}  ${size(bytes).padStart(9)}  ${path}\n`);
  }
  return 0;
}

if (import.meta.main) {
  const [command, ...args] = process.argv.slice(2);
  if (command === "pull") process.exitCode = await pull(args);
  else if (command === "list") process.exitCode = list();
  else {
    process.stderr.write(USAGE);
    process.exitCode = 2;
  }
}
