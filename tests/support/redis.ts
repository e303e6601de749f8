/**
 * A group of tests with a Redis of its own.
 *
 * @module
 */
import { afterAll, beforeAll, describe } from "bun:test";
import { HAS_REDIS, RedisServer } from "../stream/stores/redis_server.ts";

/** Skipped, with the reason in its name, where there is no redis-server. */
export function describeWithRedis(name: string, tests: (redis: () => RedisServer) => void): void {
  const reason = HAS_REDIS ? "" : " (needs redis-server)";
  describe.skipIf(!HAS_REDIS)(`${name}${reason}`, () => {
    let redis: RedisServer;
    beforeAll(async () => {
      redis = await RedisServer.start();
    });
    afterAll(async () => {
      await redis[Symbol.asyncDispose]();
    });
    tests(() => redis);
  });
}
