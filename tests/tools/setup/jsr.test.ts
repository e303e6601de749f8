import { describe, expect, it } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { denoConfig, forgetAnswers, jsr } from "../../../tools/setup/jsr.ts";
import { Workplace } from "./workplace.ts";

/** A Deno that reaches JSR when it finds a file, and counts how often it was started. */
function prepare(place: Workplace, range = "^1.1.3"): () => Promise<string> {
  place.write("deno.json", JSON.stringify({ imports: { "@std/http": `jsr:@std/http@${range}` } }));
  place.script("deno", `echo "$*" >> '${place.folder}/asked'; [ -e '${place.root}/reachable' ]`);
  const deno = [join(place.programs, "deno")];
  return () => denoConfig({ root: place.root, cache: place.cache, deno });
}

const asked = (place: Workplace): string[] => {
  const file = join(place.folder, "asked");
  return existsSync(file) ? readFileSync(file, "utf8").trim().split("\n") : [];
};

describe("denoConfig()", () => {
  it("asks once, with the module that imports from JSR, and keeps a yes", async () => {
    using place = new Workplace();
    const config = prepare(place);
    place.write("reachable", "");
    expect(await config()).toBe("deno.json");
    expect(await config()).toBe("deno.json");
    const question = `--config ${place.root}/deno.json ${place.root}/src/server/adapters/deno.ts`;
    expect(asked(place)).toEqual([`cache ${question}`]);
  });

  it("keeps a no too, until it is told to forget", async () => {
    using place = new Workplace();
    const config = prepare(place);
    expect(await config()).toBe("deno.offline.json");
    place.write("reachable", "");
    expect(await config()).toBe("deno.offline.json");
    expect(asked(place).length).toBe(1);
    expect(jsr.ready(place)).toBe(true);
    forgetAnswers(place.cache);
    expect(jsr.ready(place)).toBe(false);
    expect(await config()).toBe("deno.json");
  });

  it("asks again when the package asked for is another", async () => {
    using place = new Workplace();
    await prepare(place)();
    await prepare(place, "^2.0.0")();
    expect(asked(place).length).toBe(2);
  });

  it("does not ask when told so: no answer is no", async () => {
    using place = new Workplace();
    prepare(place);
    const options = { root: place.root, cache: place.cache, deno: ["deno"], ask: false };
    expect(await denoConfig(options)).toBe("deno.offline.json");
    expect(asked(place)).toEqual([]);
  });
});
