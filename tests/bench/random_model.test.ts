import { describe, expect, it } from "bun:test";
import { createHash } from "node:crypto";
import { mkdtempSync, openSync, readSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LARGE, type LlamaShape, randomLlama } from "../../bench/random_model.ts";
import { load } from "../../mod.ts";
import { readGguf } from "../../src/gguf/reader.ts";
import { type_name } from "../../src/gguf/types.ts";
import { resolveModel } from "../../src/store/reference.ts";
import { writeWhole } from "../../tools/gguf_copy.ts";
import { openQuantizer } from "../../tools/quantize.ts";

const SMALL: LlamaShape = { n_layer: 2, n_embd: 256, n_head: 2, n_head_kv: 1, n_ff: 512 };
const source = resolveModel("smollm2").path;

/** Runs with a file of the small shape. */
async function withSmall(run: (path: string) => void | Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "sluice-random-"));
  try {
    const path = join(folder, "random.gguf");
    await writeWhole(path, randomLlama(source, await openQuantizer(), SMALL));
    await run(path);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe("randomLlama()", () => {
  it("has the tensors and types of a Q4_K_M file, and heads of 128", async () => {
    await withSmall((path) => {
      const { metadata, tensors } = readGguf(path);
      const typeOf = (name: string): string => type_name(tensors.get(name)!.type);
      expect(tensors.size).toBe(2 + 9 * SMALL.n_layer);
      expect(typeOf("token_embd.weight")).toBe("q6_K");
      expect(typeOf("blk.0.attn_q.weight")).toBe("q4_K");
      expect(tensors.get("blk.1.attn_k.weight")?.ne).toEqual([256, 128, 1, 1]);
      expect(metadata.u32("llama.rope.dimension_count")).toBe(128);
      expect(metadata.u32("general.file_type")).toBe(15);
      expect(metadata.strings("tokenizer.ggml.tokens")).toHaveLength(49_152);
    });
  });

  it("has about a billion parameters in its large shape", () => {
    const { n_layer, n_embd, n_ff, n_head, n_head_kv } = LARGE;
    const layer = n_embd * (2 * n_embd + 2 * n_embd * n_head_kv / n_head + 3 * n_ff);
    expect(n_embd / n_head).toBe(128);
    expect(n_layer * layer + 49_152 * n_embd).toBeGreaterThan(1e9);
  });

  it("is the same file each time", async () => {
    const quantize = await openQuantizer();
    const [first, second] = [1, 2].map(() => {
      const hash = createHash("sha256");
      for (const chunk of randomLlama(source, quantize, SMALL)) hash.update(chunk);
      return hash.digest("hex");
    });
    expect(first).toBe(second!);
  });

  it("has rows of zeros for tokens that are no plain words", async () => {
    await withSmall((path) => {
      const { metadata, tensors } = readGguf(path);
      const { offset } = tensors.get("token_embd.weight")!;
      const row = new Uint8Array(SMALL.n_embd / 256 * 210);
      const fd = openSync(path, "r");
      const isZero = (id: number): boolean => {
        readSync(fd, row, 0, row.length, offset + id * row.length);
        return row.every((byte) => byte === 0);
      };
      const words = metadata.strings("tokenizer.ggml.tokens");
      const idOf = (word: string): number =>
        Array.from({ length: words.length }, (_, id) => id).find((id) => words.at(id) === word)!;
      expect(isZero(idOf("<|im_end|>"))).toBe(true);
      expect(isZero(idOf("\u0120river"))).toBe(false);
    });
  });

  it("runs, and says words", async () => {
    await withSmall(async (path) => {
      await using model = await load(path, { threads: 1, ctxSize: 128, parallel: 1 });
      let text = "";
      let pieces = 0;
      const request = { prompt: "The river stone", maxTokens: 12, ignoreEos: true };
      for await (const event of model.generate({ ...request, sampling: { temperature: 0 } })) {
        if (event.type !== "token") continue;
        text += event.text;
        pieces++;
      }
      expect(pieces).toBe(12);
      expect(text).toMatch(/^[A-Za-z ]+$/);
    });
  });
});
