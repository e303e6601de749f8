/** StreamingConfig: its defaults, its presets, and what it refuses. */
import { describe, expect, it } from "bun:test";
import { RequestError } from "../../src/errors.ts";
import { StreamingConfig, type StreamingOptions } from "../../src/stream/config.ts";

describe("StreamingConfig", () => {
  it("groups 10 events or 50 ms by default", () => {
    expect({ ...new StreamingConfig() }).toEqual({
      bufferSize: 10,
      flushIntervalMs: 50,
      maxRetries: 3,
      tokenTimeoutMs: 5000,
      cancellable: true,
    });
  });

  it("has a preset for low latency", () => {
    expect({ ...StreamingConfig.lowLatency() }).toEqual({
      bufferSize: 1,
      flushIntervalMs: 10,
      maxRetries: 1,
      tokenTimeoutMs: 1000,
      cancellable: true,
    });
  });

  it("has a preset for high throughput", () => {
    expect({ ...StreamingConfig.highThroughput() }).toEqual({
      bufferSize: 50,
      flushIntervalMs: 200,
      maxRetries: 5,
      tokenTimeoutMs: 10_000,
      cancellable: false,
    });
  });

  it("takes a preset with some options of one's own", () => {
    const config = new StreamingConfig({ ...StreamingConfig.highThroughput(), bufferSize: 20 });
    expect(config.bufferSize).toBe(20);
    expect(config.flushIntervalMs).toBe(200);
    expect(config.cancellable).toBe(false);
  });

  it("takes the least and the most of everything", () => {
    const least = { bufferSize: 1, flushIntervalMs: 0, maxRetries: 0, tokenTimeoutMs: 0 };
    const most = {
      bufferSize: 10_000,
      flushIntervalMs: 60_000,
      maxRetries: 100,
      tokenTimeoutMs: 3_600_000,
    };
    expect({ ...new StreamingConfig(least) }).toEqual({ ...least, cancellable: true });
    expect({ ...new StreamingConfig(most) }).toEqual({ ...most, cancellable: true });
  });

  it.each<[string, Record<string, unknown>, string]>([
    ["bufferSize", { bufferSize: 0 }, "is 0, expected a whole number from 1 to 10000"],
    ["bufferSize", { bufferSize: 10_001 }, "is 10001, expected"],
    ["bufferSize", { bufferSize: 1.5 }, "is 1.5, expected"],
    ["bufferSize", { bufferSize: "10" }, "is 10, expected a whole number"],
    ["flushIntervalMs", { flushIntervalMs: -1 }, "is -1, expected a whole number from 0 to 60000"],
    ["flushIntervalMs", { flushIntervalMs: NaN }, "is NaN, expected"],
    ["maxRetries", { maxRetries: 101 }, "is 101, expected a whole number from 0 to 100"],
    ["tokenTimeoutMs", { tokenTimeoutMs: Infinity }, "is Infinity, expected"],
    ["cancellable", { cancellable: "yes" }, "is yes, expected true or false"],
    ["bufferSise", { bufferSise: 1 }, "is not known, expected one of bufferSize, flushIntervalMs"],
  ])("refuses a bad %s: %j", (field, options, message) => {
    try {
      new StreamingConfig(options as Partial<StreamingOptions>);
    } catch (thrown) {
      expect(thrown).toBeInstanceOf(RequestError);
      const { code, fields } = thrown as RequestError;
      expect(code).toBe("invalid_streaming_config");
      expect(fields.map((each) => each.field)).toEqual([field]);
      expect(fields[0]?.message).toContain(message);
      return;
    }
    throw new TypeError("nothing was thrown");
  });

  it("names every bad field at once", () => {
    expect(() => new StreamingConfig({ bufferSize: 0, maxRetries: -1 })).toThrow(
      "Cannot use the streaming config: bufferSize is 0, expected a whole number from 1 to 10000; " +
        "maxRetries is -1, expected a whole number from 0 to 100",
    );
  });
});
