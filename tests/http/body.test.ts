/** readJsonObject(): every limit on a body, before it is parsed. */
import { describe, expect, it } from "bun:test";
import { RequestError } from "../../src/errors.ts";
import { DEPTH_MAX, readJsonObject } from "../../src/server/body.ts";

type Piece = string | Uint8Array<ArrayBuffer>;

function request(body: BodyInit | null): Request {
  return new Request("http://localhost/", { method: "POST", body, duplex: "half" } as RequestInit);
}

/** A body in pieces, and whether it was cancelled. */
function pieces(
  ...all: Piece[]
): { body: ReadableStream<Uint8Array>; wasCancelled: () => boolean } {
  let isCancelled = false;
  let i = 0;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const piece = all[i++];
      if (piece === undefined) controller.close();
      else controller.enqueue(typeof piece === "string" ? new TextEncoder().encode(piece) : piece);
    },
    cancel: () => {
      isCancelled = true;
    },
  }, { highWaterMark: 0 });
  return { body, wasCancelled: () => isCancelled };
}

async function refusal(body: BodyInit | null, bytesMax = 1000): Promise<RequestError> {
  const error = await readJsonObject(request(body), bytesMax).catch((thrown) => thrown);
  expect(error).toBeInstanceOf(RequestError);
  return error as RequestError;
}

describe("readJsonObject()", () => {
  it("reads an object", async () => {
    expect(await readJsonObject(request('{"a":[1,"é"]}'), 1000)).toEqual({ a: [1, "é"] });
  });

  it("reads a body whose code points are split between pieces", async () => {
    const bytes = new TextEncoder().encode('{"a":"😀"}');
    const { body } = pieces(...Array.from(bytes, (byte) => Uint8Array.of(byte)));
    expect(await readJsonObject(request(body), 1000)).toEqual({ a: "😀" });
  });

  it("drops a byte order mark", async () => {
    expect(await readJsonObject(request("\ufeff{}"), 1000)).toEqual({});
  });

  it("takes exactly bytesMax bytes and no more", async () => {
    const text = JSON.stringify({ a: "x".repeat(92) });
    expect(text.length).toBe(100);
    expect(await readJsonObject(request(text), 100)).toEqual(JSON.parse(text));
    expect(await refusal(text, 99)).toMatchObject({ status: 413, code: "body_too_large" });
  });

  it("believes neither an announced length nor its absence", async () => {
    const announced = new Request("http://localhost/", {
      method: "POST",
      headers: { "content-length": "1000000000000" },
      body: "{}",
    });
    await expect(readJsonObject(announced, 1000)).rejects.toThrow("larger than 1000 bytes");
    const { body, wasCancelled } = pieces("{", " ".repeat(600), " ".repeat(600), "}");
    expect((await refusal(body)).status).toBe(413);
    expect(wasCancelled()).toBe(true);
  });

  const refused: [string, BodyInit | null, string][] = [
    ["no body", null, "not valid JSON"],
    ["an empty body", "", "not valid JSON"],
    ["half an object", '{"a":', "not valid JSON"],
    ["two objects", "{}{}", "not valid JSON"],
    ["NaN", '{"a":NaN}', "not valid JSON"],
    ["a form", "prompt=hello", "not valid JSON"],
    ["an array", "[]", "expected a JSON object"],
    ["null", "null", "expected a JSON object"],
    ["a text", '"x"', "expected a JSON object"],
    ["a number", "1", "expected a JSON object"],
    ["invalid UTF-8", Uint8Array.of(0x22, 0xff, 0x22), "not valid UTF-8"],
    ["UTF-8 that is cut", Uint8Array.of(0x7b, 0x7d, 0xc3), "not valid UTF-8"],
    ["a surrogate in UTF-8", Uint8Array.of(0x22, 0xed, 0xa0, 0x80, 0x22), "not valid UTF-8"],
  ];
  it.each(refused)("refuses %s", async (_name, body, message) => {
    const error = await refusal(body);
    expect(error.status).toBe(400);
    expect(error.message).toContain(message);
  });

  it("refuses a body that breaks off", async () => {
    const body = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.error(new Error("connection reset")),
    });
    expect((await refusal(body)).message).toContain("cut short");
  });

  const nested = (depth: number): string =>
    '{"a":' + "[".repeat(depth - 1) + "]".repeat(depth - 1) + "}";
  it(`takes ${DEPTH_MAX} levels and refuses one more`, async () => {
    expect(await readJsonObject(request(nested(DEPTH_MAX)), 1000)).toEqual(
      JSON.parse(nested(DEPTH_MAX)),
    );
    expect((await refusal(nested(DEPTH_MAX + 1))).message).toContain("nested deeper than 64");
  });

  it("refuses half a million open brackets without parsing them", async () => {
    const error = await refusal("[".repeat(500_000), 1_000_000);
    expect(error.message).toContain("nested deeper than 64");
  });

  it("does not count brackets in texts, nor those closed again", async () => {
    const text = JSON.stringify({ a: '[[{{"\\'.repeat(50), b: Array(100).fill([[]]) });
    expect(await readJsonObject(request(text), 10_000)).toEqual(JSON.parse(text));
  });
});
