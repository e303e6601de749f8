/**
 * StandIns: keeps control tokens that a template writes apart from the same characters written
 * by a user.
 *
 * Before a template runs, each control token in its own text is replaced by two noncharacters,
 * its stand-in, and the noncharacters in a user's strings by halves of surrogate pairs, which no
 * well-formed string has. So whatever a template does to strings (cut, join, replace, change of
 * case), a stand-in in the result came from the template.
 *
 * @module
 */
import { ModelError } from "../errors.ts";
import type { Segment } from "../text/tokenizer.ts";

/**
 * U+FDD0 to U+FDEF are noncharacters: 14 first halves of stand-ins, two brackets, 16 second
 * halves.
 */
const FIRST = 0xfdd0;
const SECOND = 0xfde0;
const OPEN = "\ufdde";
const CLOSE = "\ufddf";
const TOKENS_MAX = 14 * 16;
const LONE_SURROGATE = 0xdc00;
/** Who may speak in a token that a template puts together, as in `'<|' + role + '|>'`. */
const roles = [
  "system",
  "developer",
  "user",
  "assistant",
  "tool",
  "function",
  "observation",
  "ipython",
];

/** The stand-ins of one template. */
export class StandIns {
  /** Control texts in the order in which they got their stand-ins. */
  readonly #tokens: string[] = [];
  readonly #controls: ReadonlySet<string>;
  readonly #anyControl: RegExp | undefined;
  /** What control tokens have before and after a role. */
  readonly #before: readonly string[];
  readonly #after: readonly string[];
  readonly #anyRoleToken: RegExp | undefined;

  /** @param controlTexts texts of the control tokens */
  constructor(controlTexts: readonly string[]) {
    // A token that is a plain word cannot be told from a name in the template.
    const texts = controlTexts.filter((text) => /\W/.test(text));
    this.#controls = new Set(texts);
    this.#anyControl = texts.length > 0 ? new RegExp(anyOf(texts), "g") : undefined;
    const around = texts.flatMap((text) =>
      roles.filter((role) => text.includes(role)).map((role) =>
        [
          text.slice(0, text.indexOf(role)),
          text.slice(text.indexOf(role) + role.length),
        ] as const
      )
    ).filter(([before, after]) => /\W/.test(before) && /\W/.test(after));
    this.#before = around.map(([before]) => before);
    this.#after = around.map(([, after]) => after);
    this.#anyRoleToken = around.length > 0
      ? new RegExp(
        `(${anyOf(this.#before)})${OPEN}(${anyOf(roles)})${CLOSE}(${anyOf(this.#after)})`,
        "g",
      )
      : undefined;
  }

  /** A text of the template, its control tokens replaced. */
  mark(text: string): string {
    let marked = this.#anyControl
      ? text.replace(this.#anyControl, (token) => this.#standIn(token))
      : text;
    if (this.#after.some((after) => marked.startsWith(after))) marked = CLOSE + marked;
    if (this.#before.some((before) => marked.endsWith(before))) marked += OPEN;
    return marked;
  }

  /** A user's value, with nothing in its strings that could be taken for a stand-in. */
  shield(value: unknown): unknown {
    if (typeof value === "string") return shieldText(value);
    if (Array.isArray(value)) return value.map((item) => this.shield(item));
    if (typeof value !== "object" || value === null) return value;
    const fields = Object.entries(value).filter(([, field]) => field !== undefined);
    return Object.fromEntries(fields.map(([key, field]) => [shieldText(key), this.shield(field)]));
  }

  /** What a template rendered, cut into control tokens and plain text. */
  segments(rendered: string): Segment[] {
    const text = this.#anyRoleToken
      ? rendered.replace(
        this.#anyRoleToken,
        (match, before: string, role: string, after: string) => {
          const token = before + role + after;
          return this.#controls.has(token) ? this.#standIn(token) : match;
        },
      )
      : rendered;
    // split() with a group puts the matches at the odd places.
    return text.split(/([\ufdd0-\ufddd][\ufde0-\ufdef])/)
      .map((piece, i) =>
        i % 2 === 1
          ? { text: this.#tokens[numberOf(piece)]!, special: true }
          : { text: unshield(piece), special: false }
      )
      .filter((segment) => segment.text !== "");
  }

  /** What a template rendered, as people read it. */
  plain(rendered: string): string {
    return this.segments(rendered).map(({ text }) => text).join("");
  }

  #standIn(token: string): string {
    let number = this.#tokens.indexOf(token);
    if (number < 0) number = this.#tokens.push(token) - 1;
    if (number < TOKENS_MAX) {
      return String.fromCharCode(FIRST + (number >> 4), SECOND + (number & 15));
    }
    throw new ModelError(
      `Cannot use the model's chat template: it writes more than ${TOKENS_MAX} different control tokens, send a raw prompt`,
    );
  }
}

function numberOf(standIn: string): number {
  return ((standIn.charCodeAt(0) - FIRST) << 4) + standIn.charCodeAt(1) - SECOND;
}

function shieldText(text: string): string {
  return text.toWellFormed().replace(
    /[\ufdd0-\ufdef]/g,
    (character) => String.fromCharCode(LONE_SURROGATE + character.charCodeAt(0) - FIRST),
  );
}

/** Plain text as it was written: without brackets, and with the user's noncharacters again. */
function unshield(text: string): string {
  return text.replace(/[\ufdde\ufddf]/g, "").replace(
    /[\udc00-\udc1f]/gu,
    (character) => String.fromCharCode(FIRST + character.charCodeAt(0) - LONE_SURROGATE),
  ).toWellFormed();
}

/** A pattern of any of the texts, the longest first. */
function anyOf(texts: readonly string[]): string {
  return [...new Set(texts)].sort((a, b) => b.length - a.length)
    .map((text) => text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&")).join("|");
}
