/** A hub that misbehaves in one way at a time: the right file or none, and a clear error. */
import { describe, expect, it } from "bun:test";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import type { Sink } from "../../src/store/download.ts";
import { contentOf, type Fault, MockHub, Place, REF, refusalOf, sha256 } from "./mock_hub.ts";

/** Content of the right length that is not the right one. */
const wrong = contentOf(300_000, 2);
const PRIVATE = "a private address; if that is your own mirror, name it in HF_ENDPOINT or " +
  "SLUICE_HUB_ORIGINS";

/** Pulls with these faults; gives the requests that it took. */
async function ranges(...faults: Fault[]): Promise<string[]> {
  await using hub = await MockHub.open();
  hub.faults.push(...faults);
  using place = new Place(hub);
  const { path } = await place.store().pull(REF);
  expect(sha256(readFileSync(path))).toBe(hub.sha256);
  expect(place.blobs).toEqual([hub.sha256]);
  return hub.ranges;
}

/** Pulls with these faults, which is refused; gives the sentence and what is left. */
async function refusal(...faults: Fault[]): Promise<{ message: string; left: number }> {
  await using hub = await MockHub.open();
  hub.faults.push(...faults);
  using place = new Place(hub);
  const message = await refusalOf(place.store({ idleMs: 200 }).pull(REF));
  expect(message).toMatch(/^Cannot pull "hf:owner\/tiny": /);
  expect(existsSync(join(place.repo, "blobs", hub.sha256))).toBe(false);
  expect(existsSync(join(place.repo, "refs"))).toBe(false);
  expect(place.store().list()).toEqual([]);
  return {
    message: message.slice('Cannot pull "hf:owner/tiny": '.length),
    left: place.blobs.length,
  };
}

describe("a download that is cut", () => {
  it("goes on where it was cut, as long as each answer brings something", async () => {
    const cuts = [{ cutAfter: 100_000 }, { cutAfter: 50_000 }, { cutAfter: 1 }, { cutAfter: 9 }];
    expect(await ranges(...cuts, { cutAfter: 99 })).toEqual([
      "all",
      "bytes=100000-",
      "bytes=150000-",
      "bytes=150001-",
      "bytes=150010-",
      "bytes=150109-",
    ]);
  });

  it("goes on only on the condition that the content is the same", async () => {
    await using hub = await MockHub.open();
    hub.faults.push({ cutAfter: 100_000 });
    using place = new Place(hub);
    await place.store().pull(REF);
    expect(hub.asked.map(({ headers }) => headers["if-range"])).toEqual([undefined, '"first"']);
  });

  it("begins anew where the hub knows no ranges", async () => {
    const cut = { cutAfter: 200_000 };
    expect(await ranges(cut, { ignoresRange: true })).toEqual(["all", "bytes=200000-"]);
  });

  it("begins anew where the content has another name by now", async () => {
    expect(await ranges({ cutAfter: 9000, content: wrong, etag: '"old"' }))
      .toEqual(["all", "bytes=9000-"]);
  });

  it("begins anew where the hub sends the rest of another content all the same", async () => {
    const old = { cutAfter: 9000, content: wrong, etag: '"old"' };
    expect(await ranges(old, { ignoresIfRange: true })).toEqual(["all", "bytes=9000-", "all"]);
  });

  it("begins anew where the rest is from another place", async () => {
    expect(await ranges({ cutAfter: 9000 }, { shiftedBy: 5 })).toEqual([
      "all",
      "bytes=9000-",
      "all",
    ]);
  });

  it("begins anew where the hub has no rest", async () => {
    expect(await ranges({ cutAfter: 9000 }, { status: 416 })).toEqual([
      "all",
      "bytes=9000-",
      "all",
    ]);
  });

  it("is fetched once more where the pieces do not make the whole", async () => {
    expect(await ranges({ cutAfter: 9000, content: wrong })).toEqual(["all", "bytes=9000-", "all"]);
  });

  it("goes on without a condition where the content has only a weak name", async () => {
    const weak = { etag: 'W/"a"' };
    expect(await ranges({ cutAfter: 9000, ...weak }, weak)).toEqual(["all", "bytes=9000-"]);
  });

  it("is given up when nothing more comes, with its part kept", async () => {
    const { message, left } = await refusal({ cutAfter: 9000 }, ...Array(4).fill({ cutAfter: 0 }));
    expect(message).toMatch(/^the connection to 127\.0\.0\.1:\d+ fails \(ECONNRESET\), check the/);
    expect(left).toBe(2);
  });
});

describe("a wrong content", () => {
  it("is not kept, and its hash is told", async () => {
    const { message, left } = await refusal({ content: wrong });
    expect(message).toMatch(
      /^the sha256 of what came is [0-9a-f]{64}, expected [0-9a-f]{64}; nothing of it is kept, try/,
    );
    expect(message).toContain(sha256(wrong));
    expect(left).toBe(0);
  });

  it("is not asked for again and again", async () => {
    const bad = { content: wrong };
    const { left } = await refusal(
      { ...bad, cutAfter: 9000 },
      { ...bad, cutAfter: 9000 },
      bad,
      bad,
    );
    expect(left).toBe(0);
  });

  it.each([
    ["shorter", contentOf(299_999), "the hub has 299999 bytes, expected 300000"],
    ["longer", contentOf(300_001), "the hub has 300001 bytes, expected 300000"],
  ])("that is %s is refused before it comes", async (_name, content, message) => {
    expect((await refusal({ content })).message).toBe(message);
  });

  it("of another name than the hub lists is refused before it comes", async () => {
    const { message } = await refusal({ linkedEtag: `"${"0".repeat(64)}"` });
    expect(message).toBe("the file at the hub is not the one that it lists, pull it again");
  });

  it("does not come in under the name of a part that another crash left", async () => {
    await using hub = await MockHub.open();
    using place = new Place(hub);
    const part = join(place.repo, "blobs", `${hub.sha256}.sluice`);
    mkdirSync(join(place.repo, "blobs"), { recursive: true });
    for (const left of [wrong.subarray(0, 5000), wrong, contentOf(400_000), new Uint8Array(10)]) {
      writeFileSync(part, left);
      const { path } = await place.store().pull(REF);
      expect(sha256(readFileSync(path))).toBe(hub.sha256);
      expect(place.blobs).toEqual([hub.sha256]);
      execFileSync("rm", [join(place.repo, "blobs", hub.sha256)]);
    }
  });
});

describe("a hub that does not answer well", () => {
  it("is waited for while it is slow", async () => {
    await using hub = await MockHub.open();
    hub.faults.push({ pieces: 3000 });
    using place = new Place(hub);
    const { path } = await place.store({ idleMs: 1000 }).pull(REF);
    expect(sha256(readFileSync(path))).toBe(hub.sha256);
  });

  it("is given up when it is silent", async () => {
    const { message } = await refusal(...Array(5).fill({ hangAfter: 0 }));
    expect(message).toMatch(/^127\.0\.0\.1:\d+ sent nothing for 0 s$/);
  });

  it("is asked for the rest when it falls silent", async () => {
    await using hub = await MockHub.open();
    hub.faults.push({ hangAfter: 7000 });
    using place = new Place(hub);
    await place.store({ idleMs: 100 }).pull(REF);
    expect(hub.ranges).toEqual(["all", "bytes=7000-"]);
  });

  it("is asked again after the pause that it asks for, and after failures of its own", async () => {
    const busy = { status: 429, headers: { "retry-after": "0" } };
    expect(await ranges(busy, { status: 503, headers: { "retry-after": "0" } })).toEqual([
      "all",
      "all",
      "all",
    ]);
  });

  it.each([
    [401, {}, /^the hub refuses it \(401\), .* or set HF_TOKEN to a token that may read it$/],
    [403, {}, /^the hub refuses it \(403\), /],
    [404, {}, /^the hub has none of that name \(404\), check it$/],
    [429, { "retry-after": "3600" }, /too many requests \(429\), try again in 3600 s, or set HF_T/],
    [418, {}, /^the hub answers with status 418, expected 200; try again later$/],
    [204, {}, /^the hub answers with status 204, expected 200; try again later$/],
  ])("with status %d says what to do", async (status, headers, sentence) => {
    const { message, left } = await refusal({ status, headers });
    expect(message).toMatch(sentence);
    expect(left).toBeLessThanOrEqual(1);
  });

  it.each([
    [{ status: 401 }, /^Cannot pull "hf:owner\/tiny": the hub refuses it \(401\)/],
    [{ status: 404 }, /the hub has none of that name \(404\)/],
    [{ content: new TextEncoder().encode("<html>") }, /is not understood, it is no JSON; check/],
    [{ content: new TextEncoder().encode("null") }, /is not understood, it names no commit/],
    [
      { content: new TextEncoder().encode(`{"sha":"${"a".repeat(40)}"}`) },
      /is not understood, it lists no files/,
    ],
    [
      { content: new TextEncoder().encode(`{"sha":"${"a".repeat(40)}","siblings":[null,7]}`) },
      /it has no GGUF file, name a repository of GGUF files$/,
    ],
  ])("about a repository is refused: %j", async (fault, sentence) => {
    await using hub = await MockHub.open();
    hub.descriptionFaults.push(fault);
    using place = new Place(hub);
    expect(await refusalOf(place.store().pull(REF))).toMatch(sentence);
  });
});

describe("a redirect", () => {
  it("to a private address is refused, and nothing is asked of it", async () => {
    await using inside = await MockHub.open();
    const { message } = await refusal({ redirect: `${inside.origin}/secret` });
    expect(message).toBe(`it is redirected to ${new URL(inside.origin).host}, ${PRIVATE}`);
    expect(inside.all).toEqual([]);
  });

  it.each([
    ["https://169.254.169.254/latest", `it is redirected to 169.254.169.254, ${PRIVATE}`],
    ["https://[::1]/x", `it is redirected to [::1], ${PRIVATE}`],
    ["https://0x7f.1/x", `it is redirected to 127.0.0.1, ${PRIVATE}`],
    ["https://[::ffff:10.0.0.1]/x", `it is redirected to [::ffff:a00:1], ${PRIVATE}`],
    [
      "https://example.com/x",
      "it is redirected to example.com, which is not a host of the hub; where you trust it, add " +
      "its origin to SLUICE_HUB_ORIGINS",
    ],
    [
      "https://evilhf.co/x",
      "it is redirected to evilhf.co, which is not a host of the hub; where you trust it, add its " +
      "origin to SLUICE_HUB_ORIGINS",
    ],
    ["http://cdn.hf.co/x", "it is redirected to cdn.hf.co other than by plain https"],
    ["https://me@cdn.hf.co/x", "it is redirected to cdn.hf.co other than by plain https"],
    ["https://cdn.hf.co:22/x", "it is redirected to cdn.hf.co:22 other than by plain https"],
  ])("to %s is refused", async (redirect, sentence) => {
    expect((await refusal({ redirect })).message).toBe(sentence);
  });

  it("that is malformed, or one too many, is refused", async () => {
    expect((await refusal({ redirect: "https://[" })).message).toContain("a malformed address");
    const around = Array(7).fill({ redirect: "/again" });
    expect((await refusal(...around)).message).toMatch(/redirects more than 5 times$/);
  });

  it("to a host of the hub whose name means a private address is refused", async () => {
    await using hub = await MockHub.open();
    hub.faults.push({ redirect: "https://cdn.hf.co/x" });
    using place = new Place(hub);
    const lookup = () =>
      Promise.resolve([
        { address: "8.8.8.8", family: 4 },
        { address: "127.0.0.1", family: 4 },
      ]);
    expect(await refusalOf(place.store({ lookup }).pull(REF))).toBe(
      `Cannot pull "hf:owner/tiny": it would come from cdn.hf.co at 127.0.0.1, ${PRIVATE}`,
    );
  });

  it("to an origin that the user named is followed, without the token", async () => {
    await using hub = await MockHub.open();
    await using mirror = await MockHub.open();
    hub.faults.push({ redirect: `${mirror.origin}/content` });
    using place = new Place(hub);
    place.env["SLUICE_HUB_ORIGINS"] = mirror.origin;
    place.env["HF_TOKEN"] = "hf_canary";
    const { path } = await place.store().pull(REF);
    expect(sha256(readFileSync(path))).toBe(hub.sha256);
    expect(hub.all.map(({ headers }) => headers.authorization)).toEqual([
      "Bearer hf_canary",
      "Bearer hf_canary",
    ]);
    expect(mirror.all.map(({ headers }) => headers.authorization)).toEqual([undefined]);
  });
});

describe("a full disk", () => {
  it("is told before the first byte, with what is missing", async () => {
    await using hub = await MockHub.open();
    using place = new Place(hub);
    const message = await refusalOf(
      place.store({ freeBytes: () => Promise.resolve(100_000) }).pull(REF),
    );
    expect(message).toBe(
      'Cannot pull "hf:owner/tiny": it needs 0.3 MB more and the disk has 0.1 MB, free some or ' +
        "move the cache with HF_HUB_CACHE",
    );
    expect(hub.asked).toEqual([]);
  });

  it("in the middle ends it, and it goes on from there once there is room", async () => {
    await using hub = await MockHub.open();
    hub.faults.push({ pieces: 10_000 });
    using place = new Place(hub);
    const full = Object.assign(new Error("no space"), { code: "ENOSPC" });
    const sink = async (path: string): Promise<Sink> => {
      const file = await open(path, "a+");
      let room = 123_456;
      return {
        read: file.read.bind(file),
        truncate: (length) => file.truncate(length),
        sync: () => file.sync(),
        close: () => file.close(),
        // A disk takes what it has room for, and then nothing.
        write: (async (buffer: Uint8Array, offset: number, length: number, at: number) => {
          if (room === 0) throw full;
          const taken = Math.min(room, length);
          room -= taken;
          return await file.write(buffer, offset, taken, at);
        }) as unknown as Sink["write"],
      };
    };
    expect(await refusalOf(place.store({ open: sink }).pull(REF))).toBe(
      'Cannot pull "hf:owner/tiny": the disk is full after 0.1 MB of 0.3 MB, free some and pull ' +
        "again, which goes on from there",
    );
    expect(place.blobs).toEqual([`${hub.sha256}.sluice`, `${hub.sha256}.sluice.etag`]);
    expect(place.store().list()).toEqual([]);
    const { path } = await place.store().pull(REF);
    expect(sha256(readFileSync(path))).toBe(hub.sha256);
    expect(hub.ranges).toEqual(["all", "bytes=123456-"]);
  });
});
