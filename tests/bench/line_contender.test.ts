import { describe, expect, it } from "bun:test";
import { LineContender } from "../../bench/line_contender.ts";

const shell = (script: string) => LineContender.start("the script", ["sh", "-c", script]);
const ask = { prompts: ["hello"], maxTokens: 4 };

describe("LineContender", () => {
  it("gives a line for each ask and reads the answer to it", async () => {
    const line = '{"prompt_tokens":2,"tokens":4,"first_ms":10,"last_ms":40}';
    await using contender = shell(`while read -r ask; do echo '${line}'; done`);
    const answer = { promptTokens: 2, tokens: 4, firstMs: 10, lastMs: 40 };
    expect(await contender.ask(ask)).toEqual([answer]);
    expect(await contender.ask(ask)).toEqual([answer]);
  });

  it("sends prompts, tokens and the way", async () => {
    await using contender = shell(`read -r ask; echo '{"tokens":4}'; echo "$ask"`);
    await contender.askOne({ ...ask, chat: true }, "slowly");
    const sent = { prompts: ["hello"], max_tokens: 4, chat: true, way: "slowly" };
    expect(await contender.readLine<unknown>()).toEqual(sent);
  });

  it("says how the program ended and what it said last", async () => {
    await using contender = shell("echo 'no such model' >&2; exit 3");
    await expect(contender.ask(ask)).rejects.toThrow(
      'Cannot measure the script: it ended (3) and said "no such model"',
    );
  });

  it("says that a program does not start", async () => {
    await using contender = LineContender.start("the peer", ["/nowhere/peer"]);
    await expect(contender.ask(ask)).rejects.toThrow("Cannot measure the peer");
  });
});
