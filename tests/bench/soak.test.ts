/** The soak in short, and the reader that counts for it. */
import { describe, expect, it } from "bun:test";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { once } from "node:events";
import { measureResume } from "../../bench/resume.ts";
import { soak } from "../../bench/soak.ts";
import { SoakReader } from "../../bench/soak_reader.ts";

const here = "Deno" in globalThis ? "deno" : "bun";

describe("soak()", () => {
  const few = { runtime: here, live: 10, seconds: 4 } as const;

  it("loses and repeats nothing for 50 readers, on the runtime of the test", async () => {
    const run = { runtime: here, live: 50, stalled: 0, seconds: 2 } as const;
    const figures = await soak(run);
    expect(figures).toMatchObject({ lost: 0, duplicated: 0, cut: 0, evicted: 0 });
    const { opening, steady, crowded, memory, cpuShare } = figures;
    for (const { p50, p99, most } of [opening, steady]) {
      expect(p99).toBeGreaterThanOrEqual(p50);
      expect(most).toBeGreaterThanOrEqual(p99);
    }
    expect(crowded).toBeUndefined();
    expect(memory.start).toBeGreaterThan(1 << 20);
    expect(memory.most).toBeGreaterThanOrEqual(memory.grown);
    for (const bytes of [...memory.collected, ...memory.logs]) expect(bytes).toBeGreaterThan(0);
    expect(cpuShare).toBeGreaterThan(0);
  });

  it("puts out stalled readers and tells their time from that of the others", async () => {
    const figures = await soak({ ...few, stalled: 3, stallMs: 300 });
    expect(figures).toMatchObject({ lost: 0, duplicated: 0, cut: 0, evicted: 3 });
    expect(figures.crowded?.most).toBeGreaterThanOrEqual(0);
  });
});

describe("SoakReader", () => {
  it("counts what is lost and what comes twice, over torn and chunked messages", async () => {
    const server = createServer((socket: Socket) => socket.resume());
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const reader = await SoakReader.open(`http://127.0.0.1:${port}`, "/");
    const dueMs = Date.now() + 1000;
    const say = (position: number): string =>
      `data: {"token":"due:${dueMs}","token_id":1,"cumulative_time_ms":1,"position":${position}}\n\n`;
    const all = ["HTTP/1.1 200 OK\r\n\r\n", ...[1, 2, 2, 5].map(say), "event: complete\n"]
      .map((text) => `${text}\r\n5f\r\n`).join("");
    for (const byte of all) reader.take(byte, dueMs + 7);
    expect(reader.lost(5)).toBe(2);
    expect(reader.duplicated).toBe(1);
    expect(reader.takeLags()).toEqual([7, 7, 7, 7]);
    expect(reader.takeLags()).toEqual([]);
    expect(reader.isComplete).toBe(true);
    reader.close();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  });
});

describe("measureResume()", () => {
  it("gives the times of both ways", async () => {
    const figures = await measureResume(200, 2);
    expect(figures.map(({ way }) => way)).toEqual(["memory", "sqlite"]);
    for (const { best, median, most } of figures) {
      expect(best).toBeGreaterThan(0);
      expect(median).toBeGreaterThanOrEqual(best);
      expect(most).toBeGreaterThanOrEqual(median);
    }
  });
});
