/** The log: what a record says of a failure, and which records there are. */
import { describe, expect, it } from "bun:test";
import { GgufError, LibraryError, UpstreamError } from "../../src/errors.ts";
import { failureRecord, ServerLog, shortId } from "../../src/server/log.ts";
import { LogRecords } from "../support/log_records.ts";

describe("failureRecord()", () => {
  it("says our own sentence without what it quotes and without paths", () => {
    const file = "/srv/models of ada/x.gguf";
    const record = failureRecord(
      new GgufError(`Cannot read "${file}" at ${file}: bad`, file, "k", 0),
    );
    expect(record).toMatchObject({ error: "GgufError", code: "invalid_gguf" });
    expect(record.reason).toBe('Cannot read "…" at … of … bad');
  });

  it("says a fixed sentence of errors that are not ours, and of servers behind this one", () => {
    expect(failureRecord(new TypeError("secret")).reason).not.toContain("secret");
    const failing = failureRecord(new UpstreamError("The server said secret"));
    expect(failing).toMatchObject({ error: "UpstreamError", code: "upstream_error" });
    expect(JSON.stringify(failing)).not.toContain("secret");
  });

  it("says where it was thrown, by functions and names of files", () => {
    const { at } = failureRecord(new TypeError("secret\n    at secret (/secret/secret.ts:1:1)"));
    expect(at[0]).toMatch(/log\.test\.ts:\d+:\d+$/);
    expect(at.join()).not.toContain("/");
  });

  it("says what caused it, the same way", () => {
    const cause = Object.assign(new Error("connect secret"), { code: "ECONNREFUSED" });
    const record = failureRecord(new LibraryError("It failed", { cause }));
    expect(record.cause).toMatchObject({ error: "Error", code: "ECONNREFUSED" });
    expect(JSON.stringify(record)).not.toContain("secret");
  });

  it.each([[undefined, "undefined"], ["secret", "string"], [{ name: "a b" }, "object"]])(
    "takes whatever was thrown: %j",
    (thrown, error) => {
      expect(failureRecord(thrown)).toMatchObject({ error, at: [] });
      expect(JSON.stringify(failureRecord(thrown))).not.toContain("secret");
    },
  );
});

describe("ServerLog", () => {
  const ID = "0123456789abcdef0123456789abcdef";

  it("writes each thing into the category that it belongs to", () => {
    using log = new LogRecords();
    const server = new ServerLog();
    expect(server.isConfigured).toBe(true);
    server.request({ requestId: "r", method: "GET", route: "/health", status: 200, ms: 1 });
    server.loaded("mock", 12.3);
    server.unkept('Cannot open "/a/folder": it is gone');
    server.stream({ type: "joined", id: ID, seq: 1, isResumed: true, readers: 1 });
    server.stream({ type: "evicted", id: ID, why: "stalled" });
    server.flush(ID, 9);
    server.failure("store", new LibraryError("It failed"));
    server.limit("queueMax");
    expect(log.records.map(({ category, level, message }) => [category[1], level, message[0]]))
      .toEqual([
        ["server", "info", "request"],
        ["engine", "info", "model loaded"],
        ["engine", "warning", "packed weights"],
        ["stream", "debug", "reader joined"],
        ["stream", "warning", "reader evicted"],
        ["stream", "debug", "chunks flushed"],
        ["store", "error", "failure"],
        ["server", "warning", "limit met"],
      ]);
    expect(log.text).not.toContain(ID);
    expect(log.text).not.toContain("folder");
    expect(log.of("stream")[0]?.properties).toMatchObject({ stream: shortId(ID), isResumed: true });
  });

  it("is silent where nobody has configured it", () => {
    expect(new ServerLog().isConfigured).toBe(false);
  });
});
