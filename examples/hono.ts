/**
 * A model inside a Hono app, beside routes of its own: `bun examples/hono.ts` or `deno serve -A
 * examples/hono.ts`.
 *
 * @module
 */
import { Hono } from "hono";
import { createHandler, load } from "../mod.ts";

const sluice = createHandler(load("smollm2"));

const app = new Hono();
app.get("/", (c) => c.text("POST /v1/chat/completions"));
app.all("/v1/*", (c) => sluice(c.req.raw));
app.all("/health/*", (c) => sluice(c.req.raw));

const server: { fetch: (request: Request) => Response | Promise<Response> } = { fetch: app.fetch };
export default server;
