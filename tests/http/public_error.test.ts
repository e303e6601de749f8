/** publicError(), publicEvent() and failureOf(): what a client may be told. */
import { describe, expect, it } from "bun:test";
import {
  ContextFullError,
  DisposedError,
  EngineError,
  GgufError,
  LibraryError,
  ModelError,
  OverloadedError,
  RequestError,
  SetupError,
  ShapeError,
  SluiceError,
} from "../../src/errors.ts";
import { failure, failureOf, publicError, publicEvent } from "../../src/server/public_error.ts";
import { complete, START, token, usage } from "../support/mock_generator.ts";

const SECRET = "/home/me/secret.gguf";

describe("publicError()", () => {
  it("tells a refusal as it is, with its fields", () => {
    const fields = [{ field: "n", message: "expected 1, got 2" }];
    expect(publicError(new RequestError("Cannot accept it", fields, { hints: ["Try 1."] })))
      .toEqual({
        status: 400,
        code: "invalid_request",
        message: "Cannot accept it",
        fields,
        hints: ["Try 1."],
      });
  });

  it("tells a full context and an overload as they are", () => {
    expect(publicError(new ContextFullError(9, 8))).toMatchObject({
      status: 400,
      code: "context_length_exceeded",
    });
    expect(publicError(new OverloadedError("No room", 4))).toMatchObject({
      status: 429,
      code: "overloaded",
      retryAfterS: 4,
    });
  });

  const failures: Error[] = [
    new GgufError(SECRET, SECRET, SECRET, 0),
    new ModelError(SECRET),
    new LibraryError(SECRET),
    new ShapeError(SECRET),
    new EngineError(SECRET),
    new DisposedError(SECRET),
    new SetupError(SECRET),
  ];
  for (const error of failures) {
    it(`tells ${error.name} by its code and a sentence of its own`, () => {
      const told = publicError(error);
      expect(told).toMatchObject({ status: 500, code: (error as SluiceError).code });
      expect(told.code).not.toBe("internal_error");
      expect(JSON.stringify(told)).not.toContain("secret");
    });
  }

  it.each([
    [new Error(SECRET)],
    [new SluiceError(SECRET, "secret", 500, { hints: [SECRET] })],
    [new SluiceError(SECRET, "toString", 500)],
    [Object.assign(new Error(SECRET), { status: 400, code: SECRET })],
    [SECRET],
    [{ message: SECRET, status: 400 }],
    [undefined],
    [null],
  ])("tells nothing of case %#, which nobody threw on purpose", (thrown) => {
    expect(publicError(thrown)).toEqual(failure("internal_error"));
  });
});

describe("publicEvent()", () => {
  it("keeps a known code and its hints, and not the message", () => {
    const event = { type: "error", code: "engine_error", message: SECRET, hints: ["h"] } as const;
    expect(publicEvent({ ...event, hints: ["h"] })).toEqual({
      type: "error",
      code: "engine_error",
      message: "Cannot finish the generation: the engine failed",
      hints: ["h"],
    });
  });

  it("makes an internal error of an unknown code", () => {
    const told = publicEvent({ type: "error", code: SECRET, message: SECRET, hints: [SECRET] });
    expect(told.code).toBe("internal_error");
    expect(JSON.stringify(told)).not.toContain("secret");
  });
});

describe("failureOf()", () => {
  it("tells of errors, and of ends that are none", () => {
    const error = publicEvent({ type: "error", code: "engine_error", message: "", hints: ["h"] });
    expect(failureOf(error)).toMatchObject(failure("engine_error", ["h"]));
    for (const reason of ["cancelled", "error"] as const) {
      expect(failureOf(complete(1, reason))).toEqual(failure("cancelled"));
    }
    for (const reason of ["eos", "stop", "length", "tool_calls"] as const) {
      expect(failureOf(complete(1, reason))).toBe(undefined);
    }
    for (const event of [START, token("a", 1), usage(1)]) expect(failureOf(event)).toBe(undefined);
  });
});
