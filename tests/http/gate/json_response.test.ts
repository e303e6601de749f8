/** json() and refusal(): whole bodies and what stands above them. */
import { describe, expect, it } from "bun:test";
import { json, refusal } from "../../../src/server/json_response.ts";
import { failure } from "../../../src/server/public_error.ts";

const told = (response: Response) => Object.fromEntries(response.headers);

describe("json()", () => {
  it("writes a body that nobody may keep", async () => {
    const response = json({ a: [1, "ö"] }, 201, { "x-more": "y" });
    expect([response.status, await response.text()]).toEqual([201, '{"a":[1,"ö"]}']);
    expect(told(response)).toEqual({
      "content-type": "application/json",
      "cache-control": "no-store",
      "x-more": "y",
    });
  });
});

describe("refusal()", () => {
  it.each([[0, "1"], [0.2, "1"], [1, "1"], [29.1, "30"]] as const)(
    "says Retry-After of %d s in whole seconds",
    async (retryAfterS, text) => {
      const error = { ...failure("internal_error"), status: 429, retryAfterS };
      const response = refusal(error, ({ code }) => ({ said: code }));
      expect([response.status, await response.text()]).toEqual([429, '{"said":"internal_error"}']);
      expect(told(response)["retry-after"]).toBe(text);
    },
  );

  it("says none where there is no time to wait", () => {
    expect(told(refusal(failure("disposed"), () => ({})))["retry-after"]).toBe(undefined);
  });
});
