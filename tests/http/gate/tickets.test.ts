/** Tickets: whom they are of, where they count, and until when. */
import { describe, expect, it } from "bun:test";
import { Tickets } from "../../../src/server/tickets.ts";

const OWNER = "0123456789abcdef".repeat(2);
const PATH = "/v1/streams/abc";

describe("Tickets", () => {
  it("knows the owner of its own ticket, as often as it comes", async () => {
    const tickets = new Tickets();
    const ticket = await tickets.issue(OWNER, PATH, 60);
    for (let i = 0; i < 3; i++) expect(await tickets.owner(ticket, PATH)).toBe(OWNER);
    expect(encodeURIComponent(ticket)).toBe(ticket);
  });

  it("knows a ticket of nobody in particular", async () => {
    const tickets = new Tickets();
    expect(await tickets.owner(await tickets.issue("", PATH, 60), PATH)).toBe("");
  });

  it("refuses it on another path", async () => {
    const tickets = new Tickets();
    const ticket = await tickets.issue(OWNER, PATH, 60);
    for (const path of ["/v1/streams/abcd", "/v1/streams/ab", "/v1/stream", "", `${PATH}/`]) {
      expect(await tickets.owner(ticket, path)).toBe(undefined);
    }
  });

  it("refuses it from its last second on", async () => {
    let now = 1_000_000;
    const tickets = new Tickets(undefined, () => now);
    const ticket = await tickets.issue(OWNER, PATH, 60);
    now += 59_999;
    expect(await tickets.owner(ticket, PATH)).toBe(OWNER);
    now += 1;
    expect(await tickets.owner(ticket, PATH)).toBe(undefined);
  });

  it("refuses every ticket that was changed", async () => {
    const tickets = new Tickets();
    const ticket = await tickets.issue(OWNER, PATH, 60);
    for (let i = 0; i < ticket.length; i++) {
      const other = `${ticket.slice(0, i)}${ticket[i] === "1" ? "2" : "1"}${ticket.slice(i + 1)}`;
      expect(await tickets.owner(other, PATH)).toBe(undefined);
    }
    for (const other of ["", "..", ticket.slice(1), `${ticket}0`, ticket.replace(OWNER, "")]) {
      expect(await tickets.owner(other, PATH)).toBe(undefined);
    }
  });

  it("takes those of another process with the same secret, and no others", async () => {
    const secret = "a secret that several servers share";
    const ticket = await new Tickets(secret).issue(OWNER, PATH, 60);
    expect(await new Tickets(secret).owner(ticket, PATH)).toBe(OWNER);
    expect(await new Tickets().owner(ticket, PATH)).toBe(undefined);
  });
});
