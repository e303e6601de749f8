/**
 * What a server does whatever the route: methods, paths, and a sign of life while the model thinks.
 *
 * @module
 */
import type { Check } from "./check.ts";
import { CHAT, hold, jsonOf, member, type Probe } from "./probe.ts";

async function models(probe: Probe): Promise<void> {
  const { status, text } = await probe.ask("/v1/models");
  hold(status === 200, `the status is ${status}`);
  hold(typeof member(jsonOf(text), "data", 0, "id") === "string", `it says ${text.slice(0, 80)}`);
}

async function head(probe: Probe): Promise<void> {
  const [get, head] = [
    await probe.ask("/health"),
    await probe.ask("/health", { method: "HEAD" }),
  ];
  hold(head.status === get.status, `${head.status} beside ${get.status}`);
  hold(head.text === "", "there is a body");
}

async function options(probe: Probe): Promise<void> {
  const { status, headers } = await probe.ask(CHAT.path, { method: "OPTIONS" });
  const allow = headers.get("allow") ?? "absent";
  hold(status < 300 && allow.includes("POST"), `${status}, Allow is ${allow}`);
}

async function wrongMethod(probe: Probe): Promise<void> {
  const { status, headers, text } = await probe.ask(CHAT.path, { method: "PUT", body: {} });
  const allow = headers.get("allow") ?? "absent";
  hold(status === 405 && allow.includes("POST"), `${status}, Allow is ${allow}`);
  hold(typeof member(jsonOf(text), "error", "message") === "string", "the body has no error");
}

async function unknownPath(probe: Probe): Promise<void> {
  const { status, text } = await probe.ask("/v1/there_is_no_such_path");
  hold(status === 404, `the status is ${status}`);
  hold(typeof member(jsonOf(text), "error", "message") === "string", "the body has no error");
}

async function crossSite(probe: Probe): Promise<void> {
  const { status } = await probe.ask(CHAT.path, {
    body: await probe.bodyOf(CHAT),
    headers: { "sec-fetch-site": "cross-site" },
  });
  hold(status === 403, `the status is ${status}`);
}

/** The order is that of the print. */
export const SERVER_CHECKS: readonly Check[] = [
  { name: "lists its model", routes: [], run: models },
  { name: "answers HEAD as GET without a body", routes: [], run: head },
  { name: "answers OPTIONS with Allow", routes: [], run: options },
  { name: "answers a wrong method with 405 and Allow", routes: [], run: wrongMethod },
  { name: "answers an unknown path with 404 as JSON", routes: [], run: unknownPath },
  { name: "refuses what a page of another site sends", routes: [], run: crossSite },
];

/**
 * The rule on pings, which needs a prompt at which this very server is silent for longer than its
 * time between two.
 */
export function pingCheck(silentPrompt: string): Check {
  return {
    name: "writes comments while the model thinks",
    routes: [CHAT],
    run: async (probe, route) => {
      const messages = [{ role: "user", content: silentPrompt }];
      const { blocks } = await probe.make(route, { messages });
      const [first, ...rest] = blocks.filter(({ raw }) => /^:/m.test(raw));
      hold(first !== undefined && rest.length > 0, "only the preamble has a comment");
    },
  };
}
