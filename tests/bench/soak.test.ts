/** The soak in short, and the reader that counts for it. */
import { describe, expect, it } from "bun:test";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { once } from "node:events";
import { measureResume } from "../../bench/resume.ts";
import { soak } from "../../bench/soak.ts";
import { SoakReader } from "../../bench/soak_reader.ts";

const here = "Deno" in globalThis ? "deno" : "bun";

describe("soak()", () => {
  it("loses and repeats nothing for 50 readers, on the runtime of the test", async () => {
    const run = { runtime: here, live: 50, stalled: 0, seconds: 2 } as const;
    const figures = await soak(run);
    expect(figures).toMatchObject({ lost: 0, duplicated: 0, cut: 0, evicted: 0 });
    expect(figures.startBytes).toBeGreaterThan(1 << 20);
    expect(figures.cpuShare).toBeGreaterThan(0);
  });
});

describe("SoakReader", () => {
  it("counts what is lost and what comes twice, over torn and chunked messages", async () => {
    const server = createServer((socket: Socket) => socket.resume());
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const reader = await SoakReader.open(`http://127.0.0.1:${port}`, "/");
    const say = (position: number): string =>
      `data: {"token":"made:1000","token_id":1,"cumulative_time_ms":1,"position":${position}}\n\n`;
    const all = ["HTTP/1.1 200 OK\r\n\r\n", ...[1, 2, 2, 5].map(say), "event: complete\n"]
      .map((text) => `${text}\r\n5f\r\n`).join("");
    for (const byte of all) reader.take(byte, 1007);
    expect(reader.lost(5)).toBe(2);
    expect(reader.duplicated).toBe(1);
    expect(reader.lagsMs).toEqual([7, 7, 7, 7]);
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
