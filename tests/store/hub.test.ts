import { describe, expect, it } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Hub, type HubFile } from "../../src/store/hub.ts";
import { COMMIT, MockHub, refusalOf } from "./mock_hub.ts";

const never = new AbortController().signal;
const HOME = { HOME: "/nowhere" };
const file: HubFile = {
  repo: "owner/tiny",
  commit: COMMIT,
  path: "a b/c?d#e%.gguf",
  sha256: "0".repeat(64),
  bytes: 1,
};

describe("Hub", () => {
  it("is Hugging Face's, whose name may mean no private address", async () => {
    const lookup = () => Promise.resolve([{ address: "127.0.0.1", family: 4 }]);
    const hub = new Hub({ env: HOME, lookup });
    expect(hub.urlOf(file).origin).toBe("https://huggingface.co");
    expect(await refusalOf(hub.files('pull "x"', "owner/tiny", never))).toMatch(
      /^Cannot pull "x": it would come from huggingface\.co at 127\.0\.0\.1, a private address; /,
    );
  });

  it("is the one at HF_ENDPOINT, wherever that is", async () => {
    await using mock = await MockHub.open();
    const hub = new Hub({ env: { ...HOME, HF_ENDPOINT: `${mock.origin}/` } });
    expect((await hub.files("pull", "owner/tiny", never)).length).toBe(1);
    const below = new Hub({ env: { ...HOME, HF_ENDPOINT: "https://example.com/hf" } });
    expect(below.urlOf(file).href).toBe(
      `https://example.com/hf/owner/tiny/resolve/${COMMIT}/a%20b/c%3Fd%23e%25.gguf`,
    );
  });

  it("says when there is no such host, or nobody there", async () => {
    const lookup = () => Promise.reject(Object.assign(new Error("no"), { code: "ENOTFOUND" }));
    expect(await refusalOf(new Hub({ env: HOME, lookup }).files("pull", "owner/tiny", never))).toBe(
      "Cannot pull: the connection to huggingface.co fails (ENOTFOUND), check the network",
    );
    const mock = await MockHub.open();
    const hub = new Hub({ env: { ...HOME, HF_ENDPOINT: mock.origin } });
    await mock[Symbol.asyncDispose]();
    expect(await refusalOf(hub.files("pull", "owner/tiny", never))).toContain("(ECONNREFUSED)");
  });

  it.each([
    ["HF_ENDPOINT", "huggingface.co"],
    ["HF_ENDPOINT", "ftp://example.com"],
    ["HF_ENDPOINT", "https://me:secret@example.com"],
    ["SLUICE_HUB_ORIGINS", "https://example.com, cdn"],
  ])("refuses %s=%s", (name, value) => {
    expect(() => new Hub({ env: { ...HOME, [name]: value } })).toThrow(`Cannot use ${name} "`);
  });

  it("takes the token of HF_TOKEN, else of the file that Hugging Face's tools write", () => {
    const folder = mkdtempSync(join(tmpdir(), "sluice-token-"));
    try {
      const tokenOf = (env: Record<string, string>) => new Hub({ env }).access.token?.value;
      expect(tokenOf({ HF_HOME: folder })).toBeUndefined();
      writeFileSync(join(folder, "token"), "hf_file\n");
      expect(tokenOf({ HF_HOME: folder })).toBe("hf_file");
      expect(tokenOf({ HF_HOME: folder, HF_TOKEN: "hf_env" })).toBe("hf_env");
      expect(tokenOf({ HF_HOME: folder, HF_TOKEN: "hf\r\nx: y" })).toBeUndefined();
      mkdirSync(join(folder, "more"));
      writeFileSync(join(folder, "more", "t"), "hf_path");
      const path = join(folder, "more", "t");
      expect(tokenOf({ HF_HOME: folder, HF_TOKEN_PATH: path })).toBe("hf_path");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
