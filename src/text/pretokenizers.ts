/**
 * Pre-tokenizers: how byte-level BPE cuts text into words before it merges, by
 * `tokenizer.ggml.pre`.
 *
 * One row each. The patterns are facts of the models, told by their names; llama.cpp is the
 * reference.
 *
 * @module
 */
import { ModelError } from "../errors.ts";
import { asUnicode15 } from "./unicode.ts";

/** How one kind of model cuts text. */
export interface PreTokenizer {
  /**
   * Applied in turn: each cuts the pieces that the ones before have left into its matches and
   * what is between.
   */
  readonly patterns: readonly RegExp[];
  /** A word that is a token as it stands is not merged from its bytes. */
  readonly wholeWords: boolean;
  /** A prompt begins with the BOS token where the file does not say. */
  readonly addBos: boolean;
  /** No BOS token where the file does not name one. */
  readonly noBos: boolean;
}

interface Row extends Partial<Omit<PreTokenizer, "patterns">> {
  readonly names: readonly string[];
  readonly patterns: readonly string[];
}

// White space is what Unicode calls so; the `\s` of JavaScript has U+FEFF and lacks U+0085.
const englishEndings = "'s|'t|'re|'ve|'m|'ll|'d";
const anyCaseEndings = "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]";
const spaces = String.raw`\s+(?!\S)|\s+`;
const lineEnds = String.raw`\s*[\r\n]+`;
const gpt2 = String.raw`${englishEndings}| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|${spaces}`;
const llama3 = (digits: string): string =>
  String
    .raw`${anyCaseEndings}|[^\r\n\p{L}\p{N}]?\p{L}+|${digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|${lineEnds}|${spaces}`;
const upper = String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`;
const lower = String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`;
const cased = (digits: string, ending: string): string =>
  String
    .raw`[^\r\n\p{L}\p{N}]?${upper}*${lower}+${ending}|[^\r\n\p{L}\p{N}]?${upper}+${lower}*${ending}` +
  String.raw`|${digits}| ?[^\s\p{L}\p{N}]+[\r\n/]*|${lineEnds}|${spaces}`;
const sentencePunctuation = String.raw` ?[^(\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+`;
// From U+0800 to U+4E00 and from U+AC00 to U+D7FF, without the white space in between.
const eastAsian =
  String.raw`[\u4e00-\u9fa5\u0800-\u167f\u1681-\u1fff\u200b-\u2027\u202a-\u202e\u2030-\u205e` +
  String.raw`\u2060-\u2fff\u3001-\u4e00\uac00-\ud7ff]+`;

const rows: readonly Row[] = [
  {
    names: ["default"],
    patterns: [String.raw`[\p{P}$+<=>^~|]+`, gpt2, String.raw`\p{N}+`, "[0-9][0-9][0-9]"],
  },
  {
    names: [
      "gpt-2",
      "phi-2",
      "mpt",
      "olmo",
      "jais",
      "trillion",
      "granite-docling",
      "exaone4",
      "gigachat",
      "mellum",
      "a.x-4.0",
    ],
    patterns: [gpt2],
  },
  {
    names: [
      "smollm",
      "starcoder",
      "refact",
      "command-r",
      "codeshell",
      "exaone",
      "minerva-7b",
      "mellum2",
    ],
    patterns: [String.raw`\p{N}`, gpt2],
  },
  {
    names: ["falcon"],
    patterns: ["[\\p{P}$+<=>^~|`]+", gpt2, "[0-9][0-9][0-9]"],
  },
  {
    names: [
      "llama-bpe",
      "llama3",
      "llama-v3",
      "falcon3",
      "falcon-h1",
      "pixtral",
      "midm-2.0",
      "lfm2",
    ],
    patterns: [llama3(String.raw`\p{N}{1,3}`)],
    wholeWords: true,
    addBos: true,
  },
  { names: ["dbrx", "smaug-bpe"], patterns: [llama3(String.raw`\p{N}{1,3}`)] },
  { names: ["glm4", "chatglm-bpe"], patterns: [llama3(String.raw`\p{N}{1,3}`)], noBos: true },
  {
    names: [
      "qwen2",
      "deepseek-r1-qwen",
      "kormo",
      "megrez",
      "stablelm2",
      "hunyuan",
      "solar-open",
      "grok-2",
    ],
    patterns: [llama3(String.raw`\p{N}`)],
  },
  {
    names: ["qwen35"],
    patterns: [
      String
        .raw`${anyCaseEndings}|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|${lineEnds}|${spaces}`,
    ],
  },
  {
    names: ["deepseek-llm"],
    patterns: [
      String.raw`[\r\n]`,
      // Letters of the scripts that tell capitals from small ones.
      String
        .raw`\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af` +
      String
        .raw`\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5` +
      String
        .raw`\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba` +
      String
        .raw`\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45` +
      String
        .raw`\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe` +
      String
        .raw`\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc` +
      String
        .raw`\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139` +
      String
        .raw`\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3` +
      String
        .raw`\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06` +
      String
        .raw`\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\u{10400}-\u{1044f}\u{104b0}-\u{104d3}\u{104d8}-\u{104fb}` +
      String.raw`\u{10c80}-\u{10cb2}\u{10cc0}-\u{10cf2}\u{118a0}-\u{118df}\u{1e900}-\u{1e943}]+`,
      String.raw`\s?[!-\/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3001-\u3002]+`,
      String.raw`(?<!\s)\s+$`,
      eastAsian,
      String.raw`\p{N}+`,
    ],
  },
  {
    names: ["deepseek-coder"],
    patterns: [
      String.raw`[\r\n]`,
      String.raw`\s?\p{L}+`,
      String.raw`\s?\p{P}+`,
      eastAsian,
      String.raw`\p{N}`,
    ],
  },
  {
    names: ["deepseek-v3", "hunyuan-dense", "joyai-llm"],
    patterns: [
      String.raw`\p{N}{1,3}`,
      String.raw`[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+`,
      String
        .raw`[!-\/:-@\[-\x60{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|${lineEnds}|${spaces}`,
    ],
  },
  { names: ["tekken"], patterns: [cased(String.raw`\p{N}`, "")], wholeWords: true, addBos: true },
  {
    names: ["gpt-4o", "llama4", "kanana2", "minimax-m2"],
    patterns: [cased(String.raw`\p{N}{1,3}`, `(?:${anyCaseEndings})?`)],
  },
  {
    names: ["bailingmoe", "bailingmoe2", "llada-moe"],
    patterns: [
      String
        .raw`'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|${spaces}`,
    ],
  },
  {
    names: ["seed-coder"],
    patterns: [
      String
        .raw`${anyCaseEndings}|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|${lineEnds}|${spaces}`,
    ],
  },
  { names: ["bloom", "poro-chat", "gpt3-finnish"], patterns: [sentencePunctuation] },
  { names: ["viking"], patterns: [sentencePunctuation, String.raw`\p{N}`] },
];

/**
 * The pre-tokenizer of that name.
 *
 * @throws {ModelError} listing the known ones
 */
export function preTokenizer(name: string): PreTokenizer {
  const row = rows.find(({ names }) => names.includes(name));
  if (!row) {
    const known = rows.flatMap(({ names }) => names).sort().join(", ");
    throw new ModelError(
      `Cannot load the tokenizer: its pre-tokenizer is "${name}", expected one of ${known}`,
    );
  }
  const { patterns, wholeWords = false, addBos = false, noBos = false } = row;
  return { patterns: patterns.map(compile), wholeWords, addBos, noBos };
}

/** Cuts text by one pattern after the other. */
export function splitWords(text: string, patterns: readonly RegExp[]): string[] {
  const known = asUnicode15(text);
  let ends = [text.length];
  for (const pattern of patterns) {
    // Ranges of code points hold whatever lies in them, categories only what Unicode 15.1 knows.
    const subject = pattern.source.includes("\\p") ? known : text;
    const cut: number[] = [];
    let start = 0;
    for (const end of ends) {
      splitPiece(subject.slice(start, end), start, pattern, cut);
      start = end;
    }
    ends = cut;
  }
  let start = 0;
  return ends.map((end) => text.slice(start, start = end));
}

/** Appends where the matches in a piece begin and end, and where it ends itself. */
function splitPiece(piece: string, start: number, pattern: RegExp, ends: number[]): void {
  let done = 0;
  for (const { 0: match, index } of piece.matchAll(pattern)) {
    if (index > done) ends.push(start + index);
    done = index + match.length;
    if (match !== "") ends.push(start + done);
  }
  if (done < piece.length) ends.push(start + piece.length);
}

function compile(pattern: string): RegExp {
  const source = pattern.replaceAll("\\s", "\\p{White_Space}").replaceAll(
    "\\S",
    "\\P{White_Space}",
  );
  return new RegExp(source, "gu");
}
