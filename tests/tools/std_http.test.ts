import { afterAll, beforeAll, describe, expect, it } from "bun:test";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseSse, type SseMessage } from "../../src/stream/sse.ts";
import { serveDir } from "../../tools/std_http/file_server.ts";
import {
  type ServerSentEventMessage,
  ServerSentEventStream,
} from "../../tools/std_http/server_sent_event_stream.ts";
import { STATUS_CODE, STATUS_TEXT } from "../../tools/std_http/status.ts";
import { route } from "../../tools/std_http/unstable_route.ts";

async function write(...messages: ServerSentEventMessage[]): Promise<string> {
  const stream = new ReadableStream<ServerSentEventMessage>({
    start(controller) {
      for (const message of messages) controller.enqueue(message);
      controller.close();
    },
  });
  return await new Response(stream.pipeThrough(new ServerSentEventStream())).text();
}

describe("ServerSentEventStream", () => {
  it("writes each field without a space, and each line of data on a line of its own", async () => {
    expect(await write({ comment: "c", event: "e", data: "1\r\n2\n", id: 3, retry: 4 })).toBe(
      ":c\nevent:e\ndata:1\ndata:2\ndata:\nid:3\nretry:4\n\n",
    );
  });

  it.each([{ event: "a\nb" }, { id: "a\rb" }])(
    "refuses a line break: $event$id",
    async (message) => {
      await expect(write(message)).rejects.toThrow(SyntaxError);
    },
  );

  it("takes our messages, and what it writes is read back the same", async () => {
    const messages: SseMessage[] = [
      { comment: "starting", retry: 3000, id: "b1:0" },
      { event: "token", data: '{"text":" x"}', id: "b1:1" },
      { data: "two\nlines" },
    ];
    const written = new Response(await write(...messages));
    expect(await Array.fromAsync(parseSse(written.body!))).toEqual(messages);
  });
});

describe("route()", () => {
  const handler = route(
    [
      {
        pattern: new URLPattern({ pathname: "/users/:id" }),
        method: ["GET", "head"],
        handler: (_request, params) => new Response(params.pathname.groups["id"] ?? ""),
      },
      { pattern: new URLPattern({ pathname: "/any" }), handler: () => new Response("any") },
    ],
    () => new Response("default", { status: STATUS_CODE.NotFound }),
  );
  const ask = async (path: string, method = "GET"): Promise<string> =>
    await (await handler(new Request(`http://localhost${path}`, { method }))).text();

  it("passes the match to the first route whose method and pattern fit", async () => {
    expect(await ask("/users/7")).toBe("7");
    expect(await ask("/users/7", "HEAD")).toBe("7");
    expect(await ask("/any", "DELETE")).toBe("any");
  });

  it("asks the default where no route fits", async () => {
    expect(await ask("/users/7", "POST")).toBe("default");
    expect(await ask("/")).toBe("default");
  });
});

describe("STATUS_TEXT", () => {
  it("has a phrase for every code", () => {
    const codes = Object.values(STATUS_CODE).map(String);
    expect(Object.keys(STATUS_TEXT).sort()).toEqual(codes.sort());
  });
});

describe("serveDir()", () => {
  let folder = "";
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "sluice-files-"));
    await mkdir(join(folder, "root", "deep"), { recursive: true });
    await writeFile(join(folder, "secret.txt"), "secret");
    await writeFile(join(folder, "root", "index.html"), "<p>hello");
    await writeFile(join(folder, "root", "deep", "a b.json"), "{}");
    await symlink(join(folder, "secret.txt"), join(folder, "root", "link.txt"));
  });
  afterAll(() => rm(folder, { recursive: true }));

  const get = (path: string, urlRoot = "", method = "GET"): Promise<Response> =>
    serveDir(new Request(`http://localhost${path}`, { method }), {
      fsRoot: join(folder, "root"),
      urlRoot,
    });

  it("answers with the file and its type", async () => {
    const response = await get("/deep/a%20b.json");
    expect(response.headers.get("content-type")).toBe("application/json; charset=UTF-8");
    expect(await response.text()).toBe("{}");
  });

  it("answers a folder with its index.html, and HEAD without a body", async () => {
    expect(await (await get("/")).text()).toBe("<p>hello");
    const head = await get("/", "", "HEAD");
    expect([head.status, head.headers.get("content-length"), await head.text()]).toEqual([
      200,
      "8",
      "",
    ]);
  });

  it("takes urlRoot off the path", async () => {
    expect((await get("/ui/deep/a%20b.json", "ui")).status).toBe(200);
    expect((await get("/uideep/a%20b.json", "ui")).status).toBe(404);
  });

  it.each([
    "/missing",
    "/deep",
    "/../secret.txt",
    "/%2e%2e/secret.txt",
    "/..%2fsecret.txt",
    "/link.txt",
    "/index.html%00",
    "/%ff",
  ])("answers 404 to %s", async (path) => {
    expect((await get(path)).status).toBe(404);
  });

  it("answers 405 to anything but GET and HEAD", async () => {
    expect((await get("/", "", "POST")).status).toBe(405);
  });
});
