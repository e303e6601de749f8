/**
 * The server as a Worker, over a model that runs elsewhere: for Cloudflare Workers and what is like
 * them. It reads three settings: `UPSTREAM_URL` with `/v1` at its end, `UPSTREAM_MODEL`, and
 * `UPSTREAM_KEY` where the upstream wants one.
 *
 * @module
 */
import { relay } from "../src/relay/mod.ts";
import { createHandler } from "../src/server/mod.ts";

/** The settings of the Worker. */
export interface Settings {
  /** Where the model is. */
  UPSTREAM_URL: string;
  /** Its name there and here. */
  UPSTREAM_MODEL: string;
  /** Default none. */
  UPSTREAM_KEY?: string;
}

const worker: { fetch: (request: Request, settings: Settings) => Promise<Response> } = {
  fetch(request, { UPSTREAM_URL, UPSTREAM_MODEL, UPSTREAM_KEY }) {
    const upstream = relay({
      baseURL: UPSTREAM_URL,
      model: UPSTREAM_MODEL,
      ...(UPSTREAM_KEY !== undefined && { apiKey: UPSTREAM_KEY }),
    });
    // One for each request: a Worker may not touch what belongs to another one, and the next
    // request may come to another machine. The platform has checked the host.
    return createHandler(upstream, { hosts: "*" })(request);
  },
};
export default worker;
