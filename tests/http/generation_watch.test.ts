/** GenerationWatch: what is measured of one generation, however it ends. */
import { describe, expect, it } from "bun:test";
import { GenerationWatch } from "../../src/server/generation_watch.ts";
import type { GenerationRecord } from "../../src/server/log.ts";
import { ServerMetrics } from "../../src/server/metrics.ts";
import { parseExposition, valueIn } from "../support/exposition.ts";
import { complete, token } from "../support/mock_generator.ts";

const COUNTS = { running: 0, paused: 0, streams: 0, readers: 0, bytes: 0, pauses: 0, resumed: 0 };
const STREAMS = {
  ...COUNTS,
  revived: 0,
  refusedReaders: 0,
  refusedStreams: 0,
  stalledReaders: 0,
  expiredReaders: 0,
  droppedEvents: 0,
  endedPauses: 0,
  droppedStreams: 0,
  crowdedStreams: 0,
  sweptStreams: 0,
  storeFailures: 0,
};

function watched(resumedTokens = 0) {
  const metrics = new ServerMetrics();
  const ended: GenerationRecord[] = [];
  const onEnd = (record: GenerationRecord): void => void ended.push(record);
  const parts = { metrics, span: undefined, requestId: undefined, resumedTokens, onEnd };
  const value = (name: string, labels = {}): number => {
    const sources = { streams: STREAMS, sockets: 0, isReady: true };
    const text = metrics.expose({ ...sources, load: undefined, downloads: undefined });
    return valueIn(parseExposition(text), name, labels);
  };
  return { watch: new GenerationWatch(parts), ended, value };
}

describe("GenerationWatch", () => {
  it("counts only what was sampled here where another process began", () => {
    const { watch, ended, value } = watched(3);
    watch.begun(5);
    watch.event(token("d", 4));
    watch.event(complete(5));
    expect(value("sluice_generated_tokens_total")).toBe(2);
    expect(ended).toMatchObject([{ finishReason: "eos", promptTokens: 5, tokens: 2 }]);
  });

  it("ends once, as cancelled where nobody has waited for the end", () => {
    const { watch, ended, value } = watched();
    watch.begun(5);
    watch.over();
    watch.over();
    expect(ended.map(({ finishReason }) => finishReason)).toEqual(["cancelled"]);
    expect(value("sluice_generations_total", { finish_reason: "cancelled" })).toBe(1);
  });

  it("is no generation where it was refused", () => {
    const { watch, ended, value } = watched();
    watch.refused(new Error("It is full"));
    watch.over();
    expect(ended).toEqual([]);
    expect(value("sluice_time_to_first_token_seconds_count")).toBe(0);
  });
});
