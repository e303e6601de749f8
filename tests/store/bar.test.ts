import { describe, expect, it } from "bun:test";
import { Bar, type BarOutput } from "../../src/store/bar.ts";

class Written implements BarOutput {
  text = "";
  readonly isTTY: boolean;
  readonly columns = 200;

  constructor(isTTY: boolean) {
    this.isTTY = isTTY;
  }

  write(text: string): void {
    this.text += text;
  }
}

describe("Bar", () => {
  it("redraws its line on a terminal, and takes it off", () => {
    const output = new Written(true);
    let now = 0;
    const bar = new Bar(output, () => now);
    bar.clear();
    expect(output.text).toBe("");
    bar.draw(1e9, 4e9);
    now = 10_000;
    bar.draw(2e9, 4e9);
    bar.clear();
    expect(output.text.split("\r\x1b[2K")).toEqual([
      "",
      "[######..................]  25 %  1.0 GB of 4.0 GB",
      "[############............]  50 %  2.0 GB of 4.0 GB, 100.0 MB per second, 20 s left",
      "",
    ]);
  });

  it("writes a line now and then where there is no terminal", () => {
    const output = new Written(false);
    let now = 0;
    const bar = new Bar(output, () => now);
    for (; now <= 20_000; now += 1000) bar.draw(1e6 * now / 1000, 100e6);
    bar.clear();
    expect(output.text.split("\n").map((line) => line.slice(-17))).toEqual([
      ".0 MB of 100.0 MB",
      ", 1 min 30 s left",
      ", 1 min 20 s left",
      "",
    ]);
  });

  it("counts where the total is unknown", () => {
    const output = new Written(false);
    new Bar(output, () => 0).draw(5e6, null);
    expect(output.text).toBe("5.0 MB\n");
  });
});
