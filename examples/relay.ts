/**
 * Every language of the server over a model that runs elsewhere: `bun examples/relay.ts` or
 * `deno serve -A examples/relay.ts`, with the address of vLLM, llama-server or another in
 * `UPSTREAM_URL`.
 *
 * @module
 */
import process from "node:process";
import { createHandler, relay } from "../mod.ts";

const upstream = relay({
  baseURL: process.env["UPSTREAM_URL"] ?? "http://localhost:8000/v1",
  apiKey: process.env["UPSTREAM_KEY"] ?? "not-needed",
  model: process.env["UPSTREAM_MODEL"] ?? "meta-llama/Llama-3.1-8B-Instruct",
});

const server: { fetch: (request: Request) => Promise<Response> } = {
  fetch: createHandler(upstream),
};
export default server;
