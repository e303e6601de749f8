/**
 * Finds the tokens that end an answer: those that a file names, and those whose text gives them
 * away.
 *
 * Files name one end token, models use several; the texts are those that llama.cpp knows.
 *
 * @module
 */
import type { StringArray } from "../gguf/metadata.ts";

/** Texts of tokens that end an answer in every model that has them. */
const endTexts: readonly string[] = [
  "</s>",
  "<EOT>",
  "<end_of_turn>",
  "<end_of_utterance>",
  "<eos>",
  "<turn|>",
  "<|call|>",
  "<|calls|>",
  "<|endoftext|>",
  "<|end_of_text|>",
  "<|end|>",
  "<|eom_id|>",
  "<|eot_id|>",
  "<|flush|>",
  "<|im_end|>",
  "<|return|>",
  "<|tool_response>",
  "<\uff5cend\u2581of\u2581sentence\uff5c>",
  "[EOS]",
  "[EOT]",
  "[e~[",
  "_<EOT>",
];
/** Ids beside `eos` that a file may name, and the texts that stand in where it does not. */
const endKeys: readonly (readonly [name: string, texts: readonly string[]])[] = [
  ["eot", []],
  ["eom", []],
  ["fim_pad", ["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"]],
  ["fim_rep", ["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"]],
  ["fim_sep", ["<|file_sep|>"]],
];
/** Where all of the first are there, the last is only the end of a part of an answer. */
const exceptions: readonly (readonly string[])[] = [
  ["<|return|>", "<|call|>", "<|end|>"],
  ["<|return|>", "<|calls|>", "<|end|>"],
  ["<|call|>", "<|flush|>", "<|end|>"],
  ["<|calls|>", "<|flush|>", "<|end|>"],
  ["<|tool_response>", "</s>"],
];

/**
 * The ids that end an answer, `eos` among them.
 *
 * @param idOf the id that the file gives for `eos`, `eot` and so on
 */
export function findEndTokens(
  texts: StringArray,
  idOf: (name: string) => number | undefined,
): Set<number> {
  const known = findTexts(texts, [...endTexts, ...endKeys.flatMap(([, standIns]) => standIns)]);
  const ends = new Set<number>();
  const add = (id: number | undefined): void => {
    if (id !== undefined) ends.add(id);
  };
  add(idOf("eos"));
  for (const text of endTexts) add(known.get(text));
  for (const [name, standIns] of endKeys) {
    const standIn = standIns.find((text) => known.has(text));
    add(idOf(name) ?? (standIn === undefined ? undefined : known.get(standIn)));
  }
  for (const exception of exceptions) {
    if (exception.every((text) => known.has(text))) ends.delete(known.get(exception.at(-1)!)!);
  }
  return ends;
}

/** The ids of the tokens that have one of `wanted` as their text. */
function findTexts(texts: StringArray, wanted: readonly string[]): Map<string, number> {
  const found = new Map<string, number>();
  const set = new Set(wanted);
  const firstBytes = new Set(wanted.map((text) => text.charCodeAt(0)));
  const bytesMax = Math.max(...wanted.map((text) => new TextEncoder().encode(text).length));
  const { source } = texts;
  for (let id = 0; id < texts.length; id++) {
    const start = texts.start(id);
    if (texts.end(id) - start > bytesMax || !firstBytes.has(source[start]!)) continue;
    const text = texts.at(id);
    if (set.has(text)) found.set(text, id);
  }
  return found;
}
