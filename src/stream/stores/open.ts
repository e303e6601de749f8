/**
 * openStreamStore: a store by its name, as the command line takes it.
 *
 * @module
 */
import { SluiceError } from "../../errors.ts";
import type { StreamStore } from "../store.ts";

/**
 * Opens a store; undefined for `memory`, which is none.
 *
 * @param name `memory`, `sqlite:PATH`, `redis://HOST:PORT` or `rediss://HOST:PORT`
 * @throws SluiceError where the name is none of these, or the store cannot be reached
 */
export async function openStreamStore(name: string): Promise<StreamStore | undefined> {
  if (name === "memory") return undefined;
  const [scheme = "", rest = ""] = name.split(/:(.*)/s);
  // Nobody loads a client of a store that is not used.
  if (scheme === "sqlite" && rest !== "") {
    const { SqliteStore } = await import("./sqlite.ts");
    return new SqliteStore(rest);
  }
  if (scheme === "redis" || scheme === "rediss") {
    const { RedisStore } = await import("./redis.ts");
    return await RedisStore.connect(name);
  }
  throw new SluiceError(
    `Cannot open the stream store ${JSON.stringify(name)}: expected memory, sqlite:PATH or ` +
      "redis://HOST:PORT",
    "invalid_option",
    500,
  );
}
