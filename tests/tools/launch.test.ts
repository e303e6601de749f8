import { describe, expect, it } from "bun:test";
import { planLaunch } from "../../tools/launch.ts";

const names = (argv: string[], runtime: "bun" | "deno" = "bun"): string[] =>
  planLaunch(argv, runtime).steps.map((step) => step.name);

describe("planLaunch()", () => {
  it("passes a program's arguments on, as they are", () => {
    const { entry, args } = planLaunch(["serve", "--port", "80", "--model", "a b.gguf"], "bun");
    expect(entry).toEqual(["src/cli.ts", "serve"]);
    expect(args).toEqual(["--port", "80", "--model", "a b.gguf"]);
  });

  it("sets up what running needs, for Deno also @std/http", () => {
    expect(names(["serve"])).toEqual(["model", "packages", "library"]);
    expect(names(["generate", "hi"], "deno")).toEqual(["model", "packages", "jsr", "library"]);
  });

  it("sets up everything for the tests", () => {
    expect(names(["test"])).toEqual(["zig", "ggml", "model", "packages", "library"]);
  });

  it.each([
    [["--model", "x.gguf"], false],
    [["--model=x.gguf"], false],
    [["-m", "x.gguf"], false],
    [["--port", "1", "-t", "2", "-mx.gguf"], false],
    [["--model", "smollm2"], true],
    [["--model=smollm2"], true],
    [["--port", "1"], true],
    [["--model", "x.gguf", "--model", "smollm2"], true],
    [["--", "--model", "x.gguf"], true],
  ])("leaves the default model out when the user brings one: %j", (args, wanted) => {
    expect(names(["serve", ...args]).includes("model")).toBe(wanted);
  });

  it("takes --offline for itself, but not behind --", () => {
    const launch = planLaunch(["generate", "--offline", "--", "--offline"], "bun");
    expect(launch.offline).toBe(true);
    expect(launch.args).toEqual(["--", "--offline"]);
    expect(planLaunch(["generate", "--", "--offline"], "bun").offline).toBe(false);
  });

  it("sets up next to nothing for --help", () => {
    expect(names(["serve", "--help"])).toEqual(["packages"]);
  });

  it.each([[[]], [["start"]], [["constructor"]]])("refuses %j with the names it knows", (argv) => {
    expect(() => planLaunch(argv, "bun")).toThrow("expected one of serve, generate, keys, test");
  });
});
