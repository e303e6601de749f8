import { describe, expect, it } from "bun:test";
import { DownloadError } from "../../src/store/download_error.ts";
import { type Access, get } from "../../src/store/request.ts";
import { COMMIT, FILE, MockHub, refusalOf, REPO } from "./mock_hub.ts";

const accessTo = (hub: MockHub): Access => ({
  named: new Set([hub.origin]),
  hosts: [],
  lookup: () => Promise.reject(new Error("no name was asked for")),
  idleMs: 5000,
});
const contentOf = (hub: MockHub): URL => new URL(`${hub.origin}/${REPO}/resolve/${COMMIT}/${FILE}`);

describe("get()", () => {
  it("gives the body in pieces, and its first host's headers through a redirect", async () => {
    await using hub = await MockHub.open();
    hub.faults.push({ redirect: "/elsewhere", headers: { "x-linked-etag": '"first"' } });
    const { signal } = new AbortController();
    const answer = await get("get it", contentOf(hub), accessTo(hub), signal);
    expect(answer.status).toBe(200);
    expect(answer.firstHeaders["x-linked-etag"]).toBe('"first"');
    let bytes = 0;
    for await (const piece of answer.body) bytes += piece.length;
    expect(bytes).toBe(hub.content.length);
  });

  it("is rejected with the reason of its signal: before it, while it waits, in the body", async () => {
    await using hub = await MockHub.open();
    const stopped = new Error("enough");
    const before = AbortSignal.abort(stopped);
    await expect(get("get it", contentOf(hub), accessTo(hub), before)).rejects.toBe(stopped);
    expect(hub.all).toEqual([]);
    hub.faults.push({ hangAfter: 1000 });
    const stopper = new AbortController();
    const answer = await get("get it", contentOf(hub), accessTo(hub), stopper.signal);
    const first = await answer.body.next();
    expect(first.value?.length).toBe(1000);
    const next = answer.body.next();
    stopper.abort(stopped);
    await expect(next).rejects.toBe(stopped);
  });

  it("ends the body when it is closed, also while it is read", async () => {
    await using hub = await MockHub.open();
    hub.faults.push({ hangAfter: 1000 }, { hangAfter: 1000 });
    const { signal } = new AbortController();
    for (const isRead of [false, true]) {
      const answer = await get("get it", contentOf(hub), accessTo(hub), signal);
      const read = (async () => {
        for await (const piece of answer.body) expect(piece.length).toBeLessThanOrEqual(1000);
      })().then(() => undefined, (error: unknown) => error);
      if (isRead) await new Promise((resolve) => setTimeout(resolve));
      answer.close();
      answer.close();
      // Otherwise it would wait for the rest for ever.
      const end = await read;
      expect(end === undefined || end instanceof DownloadError).toBe(true);
    }
  });

  it("asks no host that is not allowed, by whatever scheme", async () => {
    await using hub = await MockHub.open();
    const { signal } = new AbortController();
    const other = hub.origin.replace("127.0.0.1", "localhost");
    for (const url of [`${other}/x`, "file:///etc/passwd", "https://example.com/x"]) {
      const refused = refusalOf(get("get it", new URL(url), accessTo(hub), signal));
      expect(await refused).toMatch(/^Cannot get it: it would come from /);
    }
    expect(hub.all).toEqual([]);
  });
});
