/**
 * ChatTemplate: messages -> prompt, by the Jinja template that the model file carries.
 *
 * The rendered prompt comes as text in which special tokens may be recognized, because the template writes them. What
 * users wrote must never become one: control texts in their strings are broken by a mark before the template runs, and
 * the marks are taken out of the plain pieces afterwards.
 *
 * @module
 */
import { Template } from "@huggingface/jinja";
import type { ChatMessage } from "../engine/generator.ts";
import { ModelError, RequestError } from "../errors.ts";
import type { Metadata } from "../gguf/metadata.ts";
import type { Segment } from "../text/tokenizer.ts";

/** How messages are rendered. */
export interface RenderOptions {
  /** End with the beginning of the assistant's answer. */
  addGenerationPrompt: boolean;
}

/** What a template needs of the model's vocabulary. */
export interface SpecialTexts {
  /** Texts of the control tokens. */
  readonly controlTexts: readonly string[];
  readonly bosText: string;
  readonly eosText: string;
}

/** A noncharacter: valid in a string, meant for internal use, in no vocabulary. */
const MARK = "\ufdd0";

/** The template of one model. */
export class ChatTemplate {
  readonly #template: Template;
  readonly #vocabulary: SpecialTexts;
  readonly #control: RegExp | undefined;

  /** @throws {ModelError} when the template cannot be parsed */
  constructor(source: string, vocabulary: SpecialTexts) {
    try {
      this.#template = new Template(source);
    } catch (cause) {
      throw new ModelError(
        `Cannot use the model's chat template: ${(cause as Error).message}, send raw prompts`,
        { cause },
      );
    }
    this.#vocabulary = vocabulary;
    this.#control = anyOf(vocabulary.controlTexts ?? []);
  }

  /** The template of a file's metadata, undefined when it has none. */
  static fromMetadata(metadata: Metadata, vocabulary: SpecialTexts): ChatTemplate | undefined {
    const key = "tokenizer.chat_template";
    return metadata.has(key) ? new ChatTemplate(metadata.str(key), vocabulary) : undefined;
  }

  /**
   * The prompt of a chat, cut into special tokens and plain text.
   *
   * @throws {RequestError} when the template refuses the messages
   */
  render(messages: readonly ChatMessage[], options: RenderOptions): Segment[] {
    const { bosText, eosText } = this.#vocabulary;
    let text: string;
    try {
      text = this.#template.render({
        messages: messages.map((message) => this.#markAll(message)),
        add_generation_prompt: options.addGenerationPrompt,
        bos_token: bosText,
        eos_token: eosText,
      });
    } catch (cause) {
      const reason = (cause as Error).message;
      throw new RequestError(`Cannot render the messages: the model's template says: ${reason}`, [
        { field: "messages", message: reason },
      ], { cause });
    }
    // split() with a group puts the matches at the odd places.
    return (this.#control ? text.split(this.#control) : [text])
      .map((piece, i) => ({ text: piece.replaceAll(MARK, ""), special: i % 2 === 1 }))
      .filter((segment) => segment.text !== "");
  }

  #markAll(message: ChatMessage): Record<string, string> {
    const marked: Record<string, string> = {};
    for (const [key, value] of Object.entries(message)) {
      if (typeof value === "string") marked[key] = this.#mark(value);
    }
    return marked;
  }

  /** Breaks every control text, and every end that could become one together with the template's own text. */
  #mark(text: string): string {
    const clean = text.replaceAll(MARK, "\ufffd");
    if (!this.#control) return clean;
    const broken = clean.split(this.#control)
      .map((piece, i) => i % 2 === 1 ? piece[0] + MARK + piece.slice(1) : piece)
      .join("");
    // Templates trim, so the ends are those without white space.
    const [, before, body, after] = /^(\s*)(.*?)(\s*)$/su.exec(broken)!;
    const controls = this.#vocabulary.controlTexts ?? [];
    const completes = controls.some((c) => overlap(c, body!));
    const begins = controls.some((c) => overlap(body!, c));
    return before! + (completes ? MARK : "") + body + (begins ? MARK : "") + after;
  }
}

/** Whether an end of `a` is a beginning of `b`, and both go on. */
function overlap(a: string, b: string): boolean {
  for (let n = Math.min(a.length, b.length) - 1; n > 0; n--) {
    if (a.endsWith(b.slice(0, n))) return true;
  }
  return b.length > 0 && a.length > b.length && a.endsWith(b);
}

function anyOf(texts: readonly string[]): RegExp | undefined {
  if (texts.length === 0) return undefined;
  const escaped = texts.map((text) => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"));
  return new RegExp(`(${escaped.join("|")})`, "u");
}
