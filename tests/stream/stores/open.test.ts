/** openStreamStore(): a store by its name. */
import { expect, it } from "bun:test";
import { openStreamStore } from "../../../src/stream/stores/open.ts";

it("openStreamStore() is nothing for memory, and SQLite by its path", async () => {
  expect(await openStreamStore("memory")).toBe(undefined);
  await using store = await openStreamStore("sqlite::memory:");
  expect(store?.kind).toBe("sqlite");
});

it.each(["", "sqlite:", "postgres://x", "disk"])(
  "openStreamStore() refuses %j",
  async (name) => {
    await expect(openStreamStore(name)).rejects.toThrow("expected memory, sqlite:PATH");
  },
);

it("openStreamStore() says which file cannot be opened", async () => {
  await expect(openStreamStore("sqlite:/no/such/folder/x.db")).rejects.toThrow("/no/such/folder");
});
