/** Ten times as much as a server can do, for some seconds: who is let in is served as usual. */
import { describe, expect, it } from "bun:test";
import { createHandler } from "../../src/server/mod.ts";
import { firstTokens, openLoad, quantile, sinceRefusal, steadyLoad } from "../support/load.ts";
import { PacedGenerator } from "../support/paced_generator.ts";
import { ADAPTERS } from "../support/serve_here.ts";

const PACE = { slots: 4, queueMax: 32, firstMs: 40, tokenMs: 20, tokens: 10 };
/** Below it a difference is that of the machine; a full queue takes ten times as long. */
const NOISE_MS = 100;
const bodyOf = (n: number) => ({ prompt: `Hi ${n}` });

describe.each(ADAPTERS)("serve() on %s under ten times its load", (_name, serve) => {
  it("answers with 200 and 429 alone, and the first token comes as quickly as ever", async () => {
    const server = await serve(createHandler(new PacedGenerator(PACE)));
    const usual = await steadyLoad(server.url, PACE.slots, 1500, bodyOf);
    expect(new Set(usual.asked.map(({ status }) => status))).toEqual(new Set([200]));
    const load = await openLoad(server.url, 10 * usual.perSecond, 5000, bodyOf);
    const overloaded = sinceRefusal(load);
    expect(new Set(load.asked.map(({ status }) => status))).toEqual(new Set([200, 429]));
    const first = firstTokens(overloaded);
    // It is not quick because it refuses everybody.
    expect(first.length).toBeGreaterThan(usual.perSecond);
    const [usualP99, p99] = [quantile(firstTokens(usual), 0.99), quantile(first, 0.99)];
    expect(p99).toBeLessThan(2 * Math.max(usualP99, NOISE_MS));
    await server.stop();
  }, 60_000);
});
