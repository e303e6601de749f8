/** inProcessFetch(): a handler with the manners of fetch. */
import { describe, expect, it } from "bun:test";
import { createHandler } from "../../src/server/handler.ts";
import { inProcessFetch } from "../../src/server/fetch.ts";
import { endless, MockGenerator } from "../support/mock_generator.ts";

const URL_ = "http://localhost/v1/stream";
const INIT = { method: "POST", body: JSON.stringify({ prompt: "Hi" }) };

function fetchOf(mock: MockGenerator) {
  return inProcessFetch(createHandler(mock, { onError: () => undefined }));
}

describe("inProcessFetch()", () => {
  it("takes a text, a URL and a Request", async () => {
    const mock = new MockGenerator();
    const fetch = fetchOf(mock);
    for (const input of [URL_, new URL(URL_), new Request(URL_, INIT)]) {
      const response = await fetch(input, input instanceof Request ? undefined : INIT);
      expect(await response.text()).toContain("event: complete");
    }
    expect(mock.requests.length).toBe(3);
  });

  it("rejects without a request where the signal is aborted already", async () => {
    const mock = new MockGenerator();
    const answer = fetchOf(mock)(URL_, { ...INIT, signal: AbortSignal.abort("gone") });
    await expect(answer).rejects.toBe("gone");
    expect(mock.requests.length).toBe(0);
  });

  it("rejects where the signal is aborted before the headers, and frees what ran", async () => {
    const gate = Promise.withResolvers<void>();
    const mock = new MockGenerator(() => [gate.promise, ...[...endlessStart()]]);
    const abort = new AbortController();
    const answer = fetchOf(mock)(URL_, { ...INIT, signal: abort.signal });
    await mock.until(() => mock.active === 1);
    abort.abort("gone");
    gate.resolve();
    await expect(answer).rejects.toBe("gone");
    await mock.until(() => mock.active === 0);
  });

  it("rejects a read that waits where the signal is aborted, and frees what ran", async () => {
    const mock = new MockGenerator(endless(() => new Promise(() => undefined)));
    const abort = new AbortController();
    const text = (await fetchOf(mock)(URL_, { ...INIT, signal: abort.signal })).text();
    text.catch(() => undefined);
    abort.abort("gone");
    await expect(text).rejects.toBe("gone");
    await mock.until(() => mock.active === 0);
    expect(mock.aborted).toBe(1);
  });

  it("frees the generation where the body is cancelled", async () => {
    const mock = new MockGenerator(endless());
    const response = await fetchOf(mock)(URL_, INIT);
    await response.body?.cancel();
    await mock.until(() => mock.active === 0);
  });
});

/** The first steps of an endless stream. */
function endlessStart() {
  const steps = endless()({})[Symbol.iterator]();
  return Array.from({ length: 5 }, () => steps.next().value);
}
