/** Request fields: the edges of every range, all bad fields at once, whatever the JSON. */
import { describe, expect, it } from "bun:test";
import fc from "fast-check";
import { RequestError } from "../../src/errors.ts";
import type { GenerateRequest } from "../../src/engine/generator.ts";
import type { JsonObject } from "../../src/server/fields.ts";
import { native } from "../../src/server/dialects/native.ts";
import { openai } from "../../src/server/dialects/openai.ts";
import { MODEL } from "../support/mock_generator.ts";

const context = { model: MODEL, id: "0", created: 0 };
const routes = [...openai.generates, ...native.generates];

/** A body that the route takes, with more fields. */
function bodyOf(path: string, fields: object): JsonObject {
  const input = path.includes("chat")
    ? { messages: [{ role: "user", content: "Hi" }] }
    : { prompt: "Hi" };
  return { ...input, ...fields };
}

/** What the route makes of a body: the request, or the names of the bad fields. */
function accept(path: string, body: JsonObject): GenerateRequest | string[] {
  const route = routes.find((each) => each.path === path);
  if (route === undefined) throw new TypeError(`No route ${path}`);
  try {
    return route.accept(body, context).request;
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    return error.fields.map(({ field }) => field);
  }
}

const UINT32_MAX = 2 ** 32 - 1;
const INT32_MAX = 2 ** 31 - 1;
/** Per field: what is good, and what is bad beside the values that are bad for all numbers. */
const numbers: Record<string, { good: number[]; bad: number[] }> = {
  max_tokens: { good: [1, INT32_MAX], bad: [0, -1, 1.5, 2 ** 31] },
  temperature: { good: [0, 0.7, 2], bad: [-1, -0.1, 2.01, 2 ** 31] },
  top_k: { good: [0, 1, INT32_MAX], bad: [-1, 0.5, 2 ** 31] },
  top_p: { good: [0, 0.5, 1], bad: [-0.1, 1.1, -1] },
  min_p: { good: [0, 0.5, 1], bad: [-0.1, 1.1, -1] },
  repeat_penalty: { good: [0.1, 1, 10], bad: [0, -1, 11] },
  repeat_last_n: { good: [-1, 0, 64], bad: [-2, 1.5, 2 ** 31] },
  seed: { good: [-1, 0, 2 ** 31, UINT32_MAX], bad: [-2, 1.5, 2 ** 32] },
};
const neverNumbers = [NaN, Infinity, -Infinity, 2 ** 53, "1", "", true, [], [1], {}];

describe.each(routes.map(({ path }) => path))("%s", (path) => {
  for (const [field, { good, bad }] of Object.entries(numbers)) {
    it(`takes ${field} from edge to edge and null`, () => {
      for (const value of [...good, null, undefined]) {
        const request = accept(path, bodyOf(path, { [field]: value }));
        expect(request).not.toBeInstanceOf(Array);
      }
    });

    it(`refuses any other ${field} by its name`, () => {
      for (const value of [...bad, ...neverNumbers]) {
        expect(accept(path, bodyOf(path, { [field]: value }))).toEqual([field]);
      }
    });
  }

  it("names all bad fields of one body at once", () => {
    const fields = Object.fromEntries(Object.keys(numbers).map((field) => [field, "bad"]));
    const found = accept(path, { ...fields, stop: [""], ignore_eos: 1 });
    const input = path === "/v1/completions"
      ? ["prompt"]
      : path.includes("chat")
      ? ["messages"]
      : ["prompt"];
    expect([...found as string[]].sort()).toEqual(
      [...Object.keys(numbers), "stop", "ignore_eos", ...input].sort(),
    );
  });

  it.each([
    ["x"],
    ["x".repeat(256)],
    [[]],
    [["a", "b"]],
    [Array(16).fill("x")],
  ])("takes stop %#", (stop) => {
    const request = accept(path, bodyOf(path, { stop })) as GenerateRequest;
    expect(request.stop).toEqual([stop].flat());
  });

  it.each([[""], [["a", ""]], [[1]], [1], ["x".repeat(257)], [Array(17).fill("x")], [{}]])(
    "refuses stop %#",
    (stop) => expect(accept(path, bodyOf(path, { stop }))).toEqual(["stop"]),
  );

  it("ignores fields that it does not know, of any value", () => {
    fc.assert(fc.property(fc.jsonValue(), (value) => {
      const body = bodyOf(path, { unknown_field: value, ["__proto__"]: value, constructor: value });
      expect(accept(path, body)).toEqual(accept(path, bodyOf(path, {})));
    }));
  });

  it("either accepts or names fields, for any JSON in any field", () => {
    const names = [
      ...Object.keys(numbers),
      "prompt",
      "messages",
      "stop",
      "stream",
      "tools",
      "n",
      "stream_options",
      "detailed_errors",
      "ignore_eos",
      "model",
      "logit_bias",
      "response_format",
    ];
    const field = fc.constantFrom(...names);
    fc.assert(
      fc.property(fc.dictionary(field, fc.jsonValue()), (body) => {
        const result = accept(path, body);
        if (Array.isArray(result)) expect(result.length).toBeGreaterThan(0);
        else expect(result.prompt !== undefined || result.messages !== undefined).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });
});

describe("messages", () => {
  const path = "/v1/chat/completions";
  const bad: [unknown, string[]][] = [
    [[], ["messages"]],
    ["Hi", ["messages"]],
    [{ 0: { role: "user", content: "Hi" } }, ["messages"]],
    [Array(4097).fill({ role: "user", content: "Hi" }), ["messages"]],
    [["Hi"], ["messages[0]"]],
    [[null], ["messages[0]"]],
    [[{}], ["messages[0].role", "messages[0].content"]],
    [[{ role: "user" }], ["messages[0].content"]],
    [[{ role: "user", content: null }], ["messages[0].content"]],
    [[{ role: "User", content: "Hi" }], ["messages[0].role"]],
    [[{ role: "user", content: "Hi", name: 1 }], ["messages[0].name"]],
    [[{ role: "user", content: "Hi" }, { role: "user", content: 5 }], ["messages[1].content"]],
    [[{ role: "user", content: Array(33).fill({ type: "text", text: "" }) }], [
      "messages[0].content",
    ]],
    [[{ role: "user", content: ["Hi"] }], ["messages[0].content[0]"]],
    [[{ role: "user", content: [{ type: "text" }] }], ["messages[0].content[0].text"]],
    [
      [{
        role: "user",
        content: [{ type: "text", text: "" }, { type: "image_url", image_url: {} }],
      }],
      ["messages[0].content[1].type", "messages[0].content[1].text"],
    ],
  ];
  it.each(bad)("refuses case %# by its place", (messages, fields) => {
    expect(accept(path, { messages })).toEqual(fields);
  });

  it("takes empty content, which the user may have typed", () => {
    const messages = [{ role: "user", content: "" }, { role: "user", content: [] }];
    expect(accept(path, { messages })).toMatchObject({
      messages: [{ role: "user", content: "" }, { role: "user", content: "" }],
    });
  });

  it("lists 64 bad fields and counts the rest", () => {
    const body = { messages: Array(100).fill({ role: "user" }) };
    try {
      routes[0]?.accept(body, context);
      throw new TypeError("It was accepted");
    } catch (error) {
      expect(error).toBeInstanceOf(RequestError);
      expect((error as RequestError).fields.length).toBe(64);
      expect((error as RequestError).message).toContain("; and 36 more");
    }
  });

  it("shows long values by their length only", () => {
    const error = ((): unknown => {
      try {
        return routes[0]?.accept({ messages: "secret ".repeat(10) }, context);
      } catch (thrown) {
        return thrown;
      }
    })();
    expect(String(error)).toContain("got a text of 70 characters");
  });
});

describe("fields that are served with one value only", () => {
  it.each(
    [
      ["/v1/chat/completions", "n", 2],
      ["/v1/chat/completions", "presence_penalty", 0.5],
      ["/v1/chat/completions", "frequency_penalty", -1],
      ["/v1/chat/completions", "logit_bias", { 5: -100 }],
      ["/v1/chat/completions", "logprobs", true],
      ["/v1/chat/completions", "top_logprobs", 5],
      ["/v1/chat/completions", "tools", [{ type: "function" }]],
      ["/v1/chat/completions", "functions", [{ name: "f" }]],
      ["/v1/chat/completions", "response_format", { type: "json_object" }],
      ["/v1/completions", "best_of", 2],
      ["/v1/completions", "echo", true],
      ["/v1/completions", "suffix", "end"],
      ["/v1/completions", "logprobs", 3],
    ] as const,
  )("%s refuses another %s rather than pass over it", (path, field, value) => {
    expect(accept(path, bodyOf(path, { [field]: value }))).toEqual([field]);
  });
});

describe("prompt and messages of /v1/stream", () => {
  const messages = [{ role: "user", content: "Hi" }];
  it("are one or the other", () => {
    expect(accept("/v1/stream", { prompt: "Hi", messages: null })).toMatchObject({ prompt: "Hi" });
    expect(accept("/v1/stream", { prompt: null, messages })).toMatchObject({ messages });
    expect(accept("/v1/stream", { prompt: "Hi", messages })).toEqual(["prompt"]);
    expect(accept("/v1/stream", {})).toEqual(["prompt"]);
    expect(accept("/v1/stream", { prompt: "" })).toEqual(["prompt"]);
  });
});
