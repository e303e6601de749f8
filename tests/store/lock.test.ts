import { describe, expect, it } from "bun:test";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { takeLock } from "../../src/store/lock.ts";
import { DownloadError } from "../../src/store/download_error.ts";

const never = new AbortController().signal;
const noWait = (): void => {
  throw new Error("waited for a free lock");
};

function withFolder(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), "sluice-lock-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true }) };
}

describe("takeLock()", () => {
  it("takes a free lock at once, again and again, and makes its folder", async () => {
    using folder = withFolder();
    const file = join(folder.path, "locks", "a");
    for (let i = 0; i < 3; i++) {
      using _ = await takeLock(file, never, noWait);
    }
    expect(readdirSync(join(folder.path, "locks"))).toEqual(["a"]);
  });

  it("lets one in at a time, in this process too", async () => {
    using folder = withFolder();
    const file = join(folder.path, "a");
    let inside = 0;
    const enter = async (): Promise<void> => {
      using _ = await takeLock(file, never, () => undefined);
      expect(++inside).toBe(1);
      await new Promise((resolve) => setTimeout(resolve));
      inside--;
    };
    await Promise.all([enter(), enter(), enter()]);
  });

  it("stops to wait when aborted, with the reason", async () => {
    using folder = withFolder();
    const file = join(folder.path, "a");
    using _ = await takeLock(file, never, noWait);
    const stopper = new AbortController();
    const waiting = takeLock(file, stopper.signal, () => stopper.abort(new Error("enough")));
    await expect(waiting).rejects.toThrow("enough");
  });

  it("refuses a place that cannot be locked", async () => {
    using folder = withFolder();
    const file = join(folder.path, "a");
    writeFileSync(file, "this was never a lock, and it is longer than the header of one".repeat(9));
    const refused = takeLock(file, never, noWait);
    await expect(refused).rejects.toBeInstanceOf(DownloadError);
    await expect(refused).rejects.toThrow("put it on a local disk with HF_HUB_CACHE");
  });
});
