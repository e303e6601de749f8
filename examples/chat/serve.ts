/**
 * A chat in the browser, page and model from one server: `bun examples/chat/serve.ts [MODEL]` or
 * `deno serve -A examples/chat/serve.ts [MODEL]`.
 *
 * @module
 */
import process from "node:process";
import { createHandler, load } from "../../mod.ts";
import { loadPage } from "./page.ts";

const page = await loadPage();
const sluice = createHandler(load(process.argv[2] ?? "smollm2"));

const server: { fetch: (request: Request) => Promise<Response> } = {
  fetch: async (request) => page(request) ?? await sluice(request),
};
export default server;
