import { describe, expect, it } from "bun:test";
import { list, pull, type Terminal } from "../../src/store/cli.ts";
import { MockHub, Place, REF } from "./mock_hub.ts";

/** What was written. */
class Written implements Terminal {
  text = { out: "", err: "" };
  readonly out = { write: (text: string) => this.text.out += text };
  readonly err;

  constructor(isTTY: boolean) {
    this.err = { isTTY, write: (text: string) => this.text.err += text };
  }
}

describe("pull()", () => {
  it("draws a bar on a terminal, and takes it off before it says where the model is", async () => {
    await using hub = await MockHub.open();
    hub.faults.push({ pieces: 100_000 });
    using place = new Place(hub);
    const terminal = new Written(true);
    expect(await pull([REF], terminal, { env: place.env, progressMs: 0 })).toBe(0);
    expect(terminal.text.err).toMatch(/\[#+\.*\] +\d+ % +0\.\d MB of 0\.3 MB/);
    expect(terminal.text.err.endsWith("\r\x1b[2K")).toBe(true);
    expect(terminal.text.out).toMatch(/^\/.*\/tiny-Q8_0\.gguf\n$/);
    const listed = new Written(false);
    expect(list(listed, { env: place.env })).toBe(0);
    expect(listed.text.out).toContain(`${REF}/tiny-Q8_0.gguf `);
  });

  it.each([[[]], [["a", "b"]], [["--help"]]])("says how it is used for %j", async (args) => {
    const terminal = new Written(false);
    expect(await pull(args, terminal)).toBe(2);
    expect(terminal.text.err).toContain("Usage: bun run pull REF");
    expect(terminal.text.out).toBe("");
  });

  it("fails with a sentence for what it cannot find", async () => {
    const terminal = new Written(false);
    expect(await pull(["nowhere.gguf"], terminal)).toBe(1);
    expect(terminal.text.err).toMatch(/^sluice: Cannot load model "nowhere.gguf": no file at /);
  });
});
