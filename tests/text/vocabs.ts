/**
 * Vocabularies for the tests of text: small ones made here, two of 512 tokens, and that of the
 * default model.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import type { Metadata } from "../../src/gguf/metadata.ts";
import { parseGguf, readGguf } from "../../src/gguf/reader.ts";
import { resolveModel } from "../../src/store/reference.ts";
import {
  bool,
  f32s,
  type GgufValue,
  i32s,
  str,
  strings,
  u32,
  writeGguf,
} from "../support/gguf_writer.ts";

/** A vocabulary as a test writes it down; keys are those of GGUF without `tokenizer.ggml.`. */
export interface TestVocab {
  model?: string;
  pre?: string;
  tokens: readonly string[];
  /** By token: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte. */
  types?: readonly number[];
  merges?: readonly string[];
  scores?: readonly number[];
  /** Other keys of `tokenizer.ggml.`. */
  ids?: Readonly<Record<string, number>>;
  flags?: Readonly<Record<string, boolean>>;
  /** `general.name`. */
  name?: string;
}

/** The metadata that a file with the vocabulary has. */
export function metadataOf(vocab: TestVocab): Metadata {
  const pairs: [string, GgufValue][] = [];
  const put = (key: string, value: GgufValue): void => {
    pairs.push([`tokenizer.ggml.${key}`, value]);
  };
  if (vocab.name !== undefined) pairs.push(["general.name", str(vocab.name)]);
  put("model", str(vocab.model ?? (vocab.merges ? "gpt2" : "llama")));
  if (vocab.pre !== undefined) put("pre", str(vocab.pre));
  put("tokens", strings(vocab.tokens));
  if (vocab.types) put("token_type", i32s(vocab.types));
  if (vocab.merges) put("merges", strings(vocab.merges));
  if (vocab.scores) put("scores", f32s(vocab.scores));
  for (const [key, id] of Object.entries(vocab.ids ?? {})) put(key, u32(id));
  for (const [key, flag] of Object.entries(vocab.flags ?? {})) put(key, bool(flag));
  const { bytes } = writeGguf({ metadata: pairs });
  return parseGguf(bytes, bytes.length, "vocab.gguf").metadata;
}

interface StoredVocab {
  tokens: string[];
  types: number[];
  merges?: string[];
  pre?: string;
  scores?: number[];
  bos?: number;
  eos?: number;
}

/** Metadata of a vocabulary that golden figures exist for. */
export function goldenMetadata(name: "smollm2" | "tiny-bpe" | "tiny-spm"): Metadata {
  if (name === "smollm2") return readGguf(resolveModel("smollm2").path).metadata;
  const { bos, eos, ...vocab } =
    (readGolden("tiny_vocabs.json") as Record<string, StoredVocab>)[name]!;
  return metadataOf(
    bos === undefined ? vocab : {
      ...vocab,
      ids: { bos_token_id: bos, eos_token_id: eos! },
    },
  );
}

/** Figures of llama.cpp for one vocabulary; see the note in the file. */
export interface GoldenVocab {
  endIds: number[];
  bos: number;
  eos: number;
  wordsWithBosAndEos: number[];
  plain: (number[] | null)[];
  special: Record<string, number[]>;
  back: Record<string, string>;
}

/** Texts and figures of `golden/tokenizer_cases.json`. */
export interface GoldenCases {
  cases: { name: string; text: string }[];
  vocabs: Record<string, GoldenVocab>;
}

/** The texts and what llama.cpp makes of them. */
export function goldenCases(): GoldenCases {
  return readGolden("tokenizer_cases.json") as GoldenCases;
}

function readGolden(file: string): unknown {
  return JSON.parse(readFileSync(new URL(`golden/${file}`, import.meta.url), "utf8"));
}

/** The bytes of several tokens in a row. */
export function bytesOf(
  tokenizer: { bytes(id: number): Uint8Array },
  ids: readonly number[],
): Uint8Array {
  return Uint8Array.from(ids.flatMap((id) => [...tokenizer.bytes(id)]));
}
