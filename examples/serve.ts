/**
 * A model behind OpenAI's routes: `bun examples/serve.ts` or `deno serve -A examples/serve.ts`.
 *
 * @module
 */
import { createHandler, type Handler, load } from "../mod.ts";

const server: { fetch: Handler } = { fetch: createHandler(load("smollm2")) };
export default server;
