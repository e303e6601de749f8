/** API keys: how they are drawn, kept and found. */
import { describe, expect, it } from "bun:test";
import {
  type ApiKey,
  createKey,
  KEY_PATTERN,
  KeyRing,
  parseKeys,
} from "../../../src/server/keys.ts";

const HASH = "ab".repeat(32);
const line = (key: object): string => `${JSON.stringify(key)}\n`;

describe("createKey()", () => {
  it("keeps the SHA-256 of the secret and not the secret", async () => {
    const { secret, key } = await createKey({ name: "ada" });
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(secret));
    expect(parseInt(key.hash.slice(0, 2), 16)).toBe(new Uint8Array(digest)[0]!);
    expect(secret).toMatch(KEY_PATTERN);
    expect(JSON.stringify(key)).not.toContain(secret.slice(-16));
    expect(key.scopes).toEqual(["generate", "read"]);
  });

  it("draws another one each time", async () => {
    const secrets = await Promise.all(
      Array.from({ length: 50 }, async () => (await createKey({ name: "ada" })).secret),
    );
    expect(new Set(secrets).size).toBe(50);
  });
});

describe("KeyRing.find()", () => {
  it("finds each key by its secret, wherever it stands", async () => {
    const made = await Promise.all(["ada", "bob", "cy"].map((name) => createKey({ name })));
    const ring = new KeyRing(made.map(({ key }) => key));
    for (const { secret, key } of made) {
      const found = await ring.find(secret);
      expect(found?.name).toBe(key.name);
      expect(ring.byOwner(found!.owner)?.name).toBe(key.name);
    }
  });

  it("finds nothing for a secret that differs anywhere", async () => {
    const { secret, key } = await createKey({ name: "ada" });
    const ring = new KeyRing([key]);
    for (let i = 0; i < secret.length; i++) {
      const other = `${secret.slice(0, i)}${secret[i] === "0" ? "1" : "0"}${secret.slice(i + 1)}`;
      expect(await ring.find(other)).toBe(undefined);
    }
    for (const other of ["", secret.slice(0, -1), `${secret}0`, secret.toUpperCase(), key.hash]) {
      expect(await ring.find(other)).toBe(undefined);
    }
  });

  it("finds nothing where there is no key", async () => {
    expect(await new KeyRing([]).find("")).toBe(undefined);
  });
});

describe("parseKeys()", () => {
  const ada: ApiKey = { name: "ada", hash: HASH, scopes: ["metrics"], requestsPerMinute: 3 };
  const bob: ApiKey = { name: "bob", hash: HASH.replace("a", "c"), scopes: ["read"] };

  it("takes one object a line, and empty lines between them", () => {
    expect(parseKeys(`${line(ada)}\n  \n${line(bob)}`)).toEqual([ada, bob]);
    expect(parseKeys(`${line(ada).trim()}\r\n`)).toEqual([ada]);
    expect(parseKeys("")).toEqual([]);
  });

  it("takes one array", () => {
    expect(parseKeys(JSON.stringify([ada, bob], null, 2))).toEqual([ada, bob]);
  });

  const wrong: [string, object | string, string][] = [
    ["no JSON", "sk-canary", "it is not valid JSON"],
    ["no object", "3", "it is no JSON object"],
    ["a secret in the place of a hash", { name: "ada", hash: "sk-canary" }, "its hash is not 64"],
    ["no name", { hash: HASH }, "its name is not 1 to 64"],
    ["a name of two lines", { name: "sk-canary\n", hash: HASH }, "its name is not 1 to 64"],
    ["an unknown scope", { ...ada, scopes: ["sk-canary"] }, "its scopes are none of generate"],
    ["no list of scopes", { ...ada, scopes: "read" }, "its scopes are none of generate"],
    ["a limit of nothing", { ...ada, requestsPerMinute: 0 }, "its requestsPerMinute is no"],
    ["half a token", { ...ada, tokensPerMinute: 0.5 }, "its tokensPerMinute is no"],
    ["a misspelt field", { ...ada, tokenPerMinute: 1 }, "it has a field that is none of name"],
  ];
  it.each(wrong)("names the line of %s and shows nothing of it", (_name, row, sentence) => {
    const text = line(bob) + (typeof row === "string" ? row : line(row));
    let message = "";
    try {
      parseKeys(text);
    } catch (error) {
      message = (error as Error).message;
    }
    expect(message).toContain(`Cannot use line 2 of the keys: ${sentence}`);
    expect(message).not.toContain("canary");
  });

  it("leaves a key that is there twice to KeyRing, which refuses it", () => {
    expect(() => new KeyRing([ada, { ...bob, name: "ada" }])).toThrow(/same name or hash/);
    expect(() => new KeyRing([ada, { ...bob, hash: HASH }])).toThrow(/same name or hash/);
  });
});
