/**
 * One version of Unicode for all runtimes: 15.1, which the reference knows as well.
 *
 * Patterns with `\p{...}` follow the runtime's version, and those differ: without this the
 * tokens of a text would depend on what runs it.
 *
 * @module
 */

/** Characters that were assigned or changed after Unicode 15.1, up to 17. */
const newer = new RegExp(
  String.raw`[\u0295\u088f-\u0897\u0c5c\u0cdc\u1acf-\u1aeb\u1b4e-\u1b4f\u1b7f\u1c89-\u1c8a\u20c1` +
    String
      .raw`\u2427-\u2429\u2b96\u31e4-\u31e5\ua7cb-\ua7cf\ua7d2\ua7d4\ua7da-\ua7f1\ufbc3-\ufbd2` +
    String
      .raw`\ufd90-\ufd91\ufdc8-\ufdce\u{105c0}-\u{105f3}\u{10940}-\u{10959}\u{10d40}-\u{10d8f}` +
    String.raw`\u{10ec2}-\u{10efc}\u{11380}-\u{113e2}\u{116d0}-\u{116e3}\u{11b60}-\u{11b67}` +
    String
      .raw`\u{11bc0}-\u{11bf9}\u{11db0}-\u{11de9}\u{11f5a}\u{13460}-\u{143fa}\u{16100}-\u{16139}` +
    String
      .raw`\u{16d40}-\u{16d79}\u{16ea0}-\u{16ed3}\u{16ff2}-\u{16ff6}\u{187f8}-\u{187ff}\u{18cff}` +
    String.raw`\u{18d09}-\u{18d1e}\u{18d80}-\u{18df2}\u{1cc00}-\u{1cef0}\u{1e5d0}-\u{1e5ff}` +
    String
      .raw`\u{1e6c0}-\u{1e6ff}\u{1f6d8}\u{1f777}-\u{1f77a}\u{1f8b2}-\u{1f8d8}\u{1fa54}-\u{1fa57}` +
    String
      .raw`\u{1fa89}-\u{1fa8f}\u{1fabe}\u{1fac6}-\u{1facd}\u{1fadc}-\u{1fadf}\u{1fae9}-\u{1faef}` +
    String
      .raw`\u{1fbcb}-\u{1fbef}\u{1fbfa}\u{2b73a}-\u{2b73f}\u{2cea2}-\u{2cead}\u{323b0}-\u{33479}]`,
  "gu",
);

/**
 * The text with stand-ins for what Unicode 15.1 does not know; it keeps its length in UTF-16.
 *
 * They are noncharacters, which never belong to any category, and for U+0295, which was a small
 * letter, another one.
 */
export function asUnicode15(text: string): string {
  return text.replace(newer, (character) => {
    if (character === "\u0295") return "\u0296";
    return character.length === 1 ? "\uffff" : "\u{1ffff}";
  });
}
