/**
 * ChatTemplate: messages -> prompt, by the Jinja template that the model file carries.
 *
 * The prompt comes in segments: control tokens that the template wrote, and plain text, in which
 * nothing is a control token whatever it spells.
 *
 * @module
 */
import type { ChatMessage } from "../engine/generator.ts";
import { ModelError, RequestError } from "../errors.ts";
import type { Metadata } from "../gguf/metadata.ts";
import type { Segment, Tokenizer } from "../text/tokenizer.ts";
import { JinjaProgram, TemplateRefusal } from "./jinja.ts";
import { StandIns } from "./stand_ins.ts";

/** How messages are rendered. */
export interface RenderOptions {
  /** Whether the prompt ends with the beginning of the assistant's answer. */
  addGenerationPrompt: boolean;
  /** Descriptions of tools, as the template expects them. */
  tools?: readonly unknown[];
  /** What the template takes for the time; default now. */
  now?: Date;
}

/** What a template needs of the model's vocabulary. */
export type ControlTexts = Pick<Tokenizer, "controlTexts" | "bosText" | "eosText">;

/** The template of one model. */
export class ChatTemplate {
  readonly #standIns: StandIns;
  readonly #bos: string;
  readonly #eos: string;
  readonly #program: JinjaProgram | ModelError;

  /**
   * A template that cannot be parsed is kept: the model still takes raw prompts, and `render`
   * throws.
   */
  constructor(source: string, vocabulary: ControlTexts) {
    this.#standIns = new StandIns(vocabulary.controlTexts);
    this.#bos = this.#standIns.mark(vocabulary.bosText);
    this.#eos = this.#standIns.mark(vocabulary.eosText);
    this.#program = this.#parse(source);
  }

  /** The template of a file's metadata; undefined when it has none. */
  static fromMetadata(metadata: Metadata, vocabulary: ControlTexts): ChatTemplate | undefined {
    const key = "tokenizer.chat_template";
    return metadata.has(key) ? new ChatTemplate(metadata.str(key), vocabulary) : undefined;
  }

  /**
   * The prompt of a chat.
   *
   * @throws {RequestError} when the template refuses the messages or fails on them
   * @throws {ModelError} when the template cannot be parsed
   */
  render(messages: readonly ChatMessage[], options: RenderOptions): Segment[] {
    if (this.#program instanceof ModelError) throw this.#program;
    const { tools, now, addGenerationPrompt } = options;
    // Templates are written for a caller that passes None for what there is not.
    const variables = {
      messages: this.#standIns.shield(messages),
      tools: this.#standIns.shield(tools) ?? null,
      documents: null,
      add_generation_prompt: addGenerationPrompt,
      bos_token: this.#bos,
      eos_token: this.#eos,
    };
    try {
      return this.#standIns.segments(this.#program.run(variables, now));
    } catch (cause) {
      if (cause instanceof ModelError) throw cause;
      const reason = this.#standIns.plain(cause instanceof Error ? cause.message : String(cause));
      const does = cause instanceof TemplateRefusal ? "refuses" : "fails on";
      throw new RequestError(
        `Cannot render the chat: the model's template ${does} these messages: ${reason}`,
        [{ field: "messages", message: reason }],
        { cause },
      );
    }
  }

  #parse(source: string): JinjaProgram | ModelError {
    try {
      return new JinjaProgram(source, (text) => this.#standIns.mark(text));
    } catch (cause) {
      if (cause instanceof ModelError) return cause;
      const reason = cause instanceof Error ? cause.message : String(cause);
      return new ModelError(
        `Cannot use the model's chat template: ${reason}, send a raw prompt instead of messages`,
        { cause },
      );
    }
  }
}
