/** streamRoutes(): what each method does at /v1/streams/{id}, as a table for the handler. */
import { describe, expect, it } from "bun:test";
import { type Control, readControl } from "../../src/server/control.ts";
import { Routes } from "../../src/server/routes.ts";
import { streamRoutes } from "../../src/server/stream_routes.ts";
import type { Streaming, View } from "../../src/server/streaming.ts";
import { get, post } from "../support/requests.ts";

/** Notes what it is asked for. */
class NotingStreaming {
  readonly asked: unknown[] = [];
  read(id: string, owner: string, cursor: string | undefined, view: View): Promise<Response> {
    const { dialect, isLate } = view;
    this.asked.push({ id, owner, cursor, dialect, isLate });
    return Promise.resolve(new Response("read"));
  }
  stop(id: string): Promise<void> {
    this.asked.push({ stop: id });
    return Promise.resolve();
  }
  control(id: string, _owner: string, control: Control): Promise<void> {
    this.asked.push({ id, control });
    return Promise.resolve();
  }
}

function routes() {
  const streaming = new NotingStreaming();
  const table = streamRoutes({
    streaming: streaming as unknown as Streaming,
    routes: new Routes(),
    bodyBytesMax: 64,
  });
  return { asked: streaming.asked, serve: new Map(table) };
}

const ID = "0123456789abcdef0123456789abcdef";
const PATH = `/v1/streams/${ID}`;

describe("streamRoutes()", () => {
  it("GET reads from a cursor, in a dialect, late where it is asked", async () => {
    const { asked, serve } = routes();
    const request = get(`${PATH}?dialect=openai&snapshot=true&from=7`);
    expect(await (await serve.get("GET")!(request, ID)).text()).toBe("read");
    expect(asked).toEqual([{
      id: ID,
      owner: "",
      cursor: "7",
      dialect: "openai",
      isLate: true,
    }]);
  });

  it("GET refuses an unknown dialect before it looks for the stream", async () => {
    const { asked, serve } = routes();
    const reading = serve.get("GET")!(get(`${PATH}?dialect=latin`), ID);
    await expect(reading).rejects.toMatchObject({ code: "unknown_dialect" });
    expect(asked).toEqual([]);
  });

  it("POST takes a control at /control alone", async () => {
    const { asked, serve } = routes();
    const body = { action: "stop" };
    const response = await serve.get("POST")!(post(`${PATH}/control`, body), `${ID}/control`);
    expect(await response.json()).toEqual({ stream: ID, action: "stop" });
    expect(asked).toEqual([{ id: ID, control: readControl(body) }]);
    for (const rest of [ID, `${ID}/other`, `${ID}/control/more`]) {
      const posting = serve.get("POST")!(post(PATH, body), rest);
      await expect(posting).rejects.toMatchObject({ code: "not_found", status: 404 });
    }
  });

  it("POST refuses a body that is too large", async () => {
    const request = post(`${PATH}/control`, { action: "stop", more: "x".repeat(64) });
    const posting = routes().serve.get("POST")!(request, `${ID}/control`);
    await expect(posting).rejects.toMatchObject({ status: 413 });
  });

  it("DELETE stops the stream", async () => {
    const { asked, serve } = routes();
    expect((await serve.get("DELETE")!(get(PATH, {}, "DELETE"), ID)).status).toBe(204);
    expect(asked).toEqual([{ stop: ID }]);
  });

  it.each(["POST", "DELETE"])("%s is refused to a page of another site", async (method) => {
    const { asked, serve } = routes();
    const request = get(PATH, { "sec-fetch-site": "cross-site" }, method);
    await expect(serve.get(method)!(request, `${ID}/control`)).rejects.toMatchObject({
      code: "cross_site",
    });
    expect(asked).toEqual([]);
  });
});
