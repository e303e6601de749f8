/**
 * The routes of streams that there are already: `GET`, `POST …/control` and `DELETE` at
 * `/v1/streams/{id}`.
 *
 * @module
 */
import { RequestError } from "../errors.ts";
import { readJsonObject } from "./body.ts";
import { readControl } from "./control.ts";
import { framingOf } from "./framing.ts";
import { ownerOf, refuseCrossSite } from "./gate.ts";
import { json } from "./json_response.ts";
import type { Routes } from "./routes.ts";
import { cursorOf, type Streaming } from "./streaming.ts";

/** One stream, whoever made it. */
export const STREAM_PATH = "/v1/streams/*";

/** What the routes need from the handler. */
export interface StreamRouteOptions {
  readonly streaming: Streaming;
  readonly routes: Routes;
  /** Largest request body. */
  readonly bodyBytesMax: number;
}

/** Answers a request for the stream of an id, or for what is below it. */
export type ServeStream = (request: Request, id: string) => Promise<Response>;

/** Each route: its method and what it does. */
export function streamRoutes(options: StreamRouteOptions): readonly [string, ServeStream][] {
  return [
    ["GET", (request, id) => read(options, request, id)],
    ["POST", (request, rest) => control(options, request, rest)],
    ["DELETE", (request, id) => stop(options, request, id)],
  ];
}

async function read(
  { streaming, routes }: StreamRouteOptions,
  request: Request,
  id: string,
): Promise<Response> {
  const query = new URL(request.url).searchParams;
  const dialect = query.get("dialect") ?? undefined;
  // An unknown one is told whether there is such a stream or not.
  if (dialect !== undefined) routes.named(dialect);
  const isLate = query.get("snapshot") === "true";
  const view = { framing: framingOf(request), dialect, isLate };
  return await streaming.read(id, await ownerOf(request), cursorOf(request), view);
}

async function control(
  { streaming, bodyBytesMax }: StreamRouteOptions,
  request: Request,
  rest: string,
): Promise<Response> {
  refuseCrossSite(request);
  const [id = "", verb, ...more] = rest.split("/");
  if (verb !== "control" || more.length > 0) {
    throw new RequestError("Cannot find it: a stream takes POST at /control alone", [], {
      code: "not_found",
      status: 404,
    });
  }
  const asked = readControl(await readJsonObject(request, bodyBytesMax));
  await streaming.control(id, await ownerOf(request), asked);
  return json({ stream: id, action: asked.action }, 200);
}

async function stop(
  { streaming }: StreamRouteOptions,
  request: Request,
  id: string,
): Promise<Response> {
  refuseCrossSite(request);
  await streaming.stop(id, await ownerOf(request));
  return new Response(null, { status: 204 });
}
