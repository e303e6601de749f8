/**
 * What a stream of tokens looks like on the wire, and how a server refuses.
 *
 * @module
 */
import type { Check } from "./check.ts";
import {
  CHAT,
  COMPLETIONS,
  hold,
  jsonOf,
  member,
  MissingError,
  NATIVE,
  type Probe,
  type Reply,
  type Route,
  textOf,
} from "./probe.ts";

const ALL = [CHAT, COMPLETIONS, NATIVE];
const OPENAI = [CHAT, COMPLETIONS];

const LINE = /^(:.*|(data|event|id|retry): \S.*)$/;

async function headers(probe: Probe, route: Route): Promise<void> {
  const { headers } = await probe.stream(route);
  const type = headers.get("content-type") ?? "no content-type";
  hold(type.startsWith("text/event-stream"), `content-type is ${type}`);
  const cache = headers.get("cache-control") ?? "absent";
  hold(/no-cache|no-store/.test(cache), `cache-control is ${cache}`);
  const buffering = headers.get("x-accel-buffering");
  hold(buffering === "no", `x-accel-buffering is ${buffering}`);
}

async function preamble(probe: Probe, route: Route): Promise<void> {
  const [first] = (await probe.stream(route)).blocks;
  hold(first !== undefined, "the stream is empty");
  hold(first.data === undefined, `the first block is ${first.raw.slice(0, 80)}`);
}

async function fieldLines(probe: Probe, route: Route): Promise<void> {
  const { text } = await probe.stream(route);
  const odd = text.split(/\r?\n/).find((line) => line !== "" && !LINE.test(line));
  hold(odd === undefined, `a line is ${JSON.stringify(odd?.slice(0, 80))}`);
}

/** Whether a message ends what its stream says. */
function isTerminal(route: Route, event: string | undefined, data: unknown): boolean {
  if (route.name === "native") return event === "complete" || event === "error";
  return (member(data, "choices", 0, "finish_reason") ?? member(data, "error") ?? null) !== null;
}

async function oneEnd(probe: Probe, route: Route): Promise<void> {
  const { messages } = await probe.stream(route);
  const ends = messages.filter(({ event, data }) => isTerminal(route, event, jsonOf(data)));
  hold(ends.length === 1, `there are ${ends.length}`);
  const after = messages.slice(messages.indexOf(ends[0]!) + 1);
  hold(textOf(route, after) === "", "text comes after it");
}

async function done(probe: Probe, route: Route): Promise<void> {
  const { messages } = await probe.stream(route);
  const count = messages.filter(({ data }) => data === "[DONE]").length;
  hold(count === 1, `there are ${count}`);
  hold(messages.at(-1)?.data === "[DONE]", `the last message is ${messages.at(-1)?.raw}`);
}

async function usage(probe: Probe, route: Route): Promise<void> {
  const { messages } = await probe.make(route, { stream_options: { include_usage: true } });
  const chunks = messages.map(({ data }) => jsonOf(data));
  const counted = chunks.filter((chunk) => (member(chunk, "usage") ?? null) !== null);
  hold(counted.length === 1, `${counted.length} chunks have a usage`);
  const choices = member(counted[0], "choices");
  hold(Array.isArray(choices) && choices.length === 0, "its chunk has choices");
  const of = (name: string): number => Number(member(counted[0], "usage", name));
  const [prompt, completion] = [of("prompt_tokens"), of("completion_tokens")];
  hold(prompt > 0 && completion > 0, `it counts ${prompt} and ${completion}`);
  hold(of("total_tokens") === prompt + completion, `its total is ${of("total_tokens")}`);
}

async function role(probe: Probe, route: Route): Promise<void> {
  const { messages } = await probe.stream(route);
  const roles = messages.map(({ data }) => member(jsonOf(data), "choices", 0, "delta", "role"));
  hold(roles[0] === "assistant", `the first chunk says ${String(roles[0])}`);
  const again = roles.slice(1).filter((each) => each !== undefined).length;
  hold(again === 0, `${again} more chunks say it`);
}

async function oneHead(probe: Probe, route: Route): Promise<void> {
  const { messages } = await probe.stream(route);
  const chunks = messages.filter(({ data }) => data !== "[DONE]").map(({ data }) => jsonOf(data));
  for (const name of ["id", "object", "created", "model"]) {
    const values = new Set(chunks.map((chunk) => member(chunk, name)));
    hold(values.size === 1 && !values.has(undefined), `${name} has ${values.size} values`);
  }
}

async function sameText(probe: Probe, route: Route): Promise<void> {
  const { messages } = await probe.stream(route);
  const whole = await probe.ask(route.path, { body: await probe.bodyOf(route, { stream: false }) });
  const choice = member(jsonOf(whole.text), "choices", 0);
  const text = route === CHAT ? member(choice, "message", "content") : member(choice, "text");
  const seen = textOf(route, messages);
  hold(text === seen, `${JSON.stringify(seen)} beside ${JSON.stringify(text)}`);
}

async function tokenLimit(probe: Probe, route: Route): Promise<void> {
  const { messages } = await probe.make(route, { max_tokens: 2, ignore_eos: true });
  if (route === NATIVE) {
    const tokens = messages.filter(({ event }) => event === "token").length;
    return hold(tokens === 2, `there are ${tokens} tokens`);
  }
  const reasons = messages.map(({ data }) => member(jsonOf(data), "choices", 0, "finish_reason"));
  hold(reasons.includes("length"), `the reasons are ${reasons.filter((each) => each)}`);
}

/** A refusal with the envelope of its dialect. */
function expectEnvelope(route: Route, { status, headers, text }: Reply, wanted: number): void {
  if (route === NATIVE && status === 404) throw new MissingError(`${route.path} answers 404`);
  hold(status === wanted, `the status is ${status}`);
  const type = headers.get("content-type") ?? "no content-type";
  hold(type.startsWith("application/json"), `content-type is ${type}`);
  const body = jsonOf(text);
  const [message, kind] = route === NATIVE
    ? [member(body, "message"), member(body, "error_type")]
    : [member(body, "error", "message"), member(body, "error", "type")];
  hold(typeof message === "string" && typeof kind === "string", `the body is ${text.slice(0, 80)}`);
}

async function refusesBadField(probe: Probe, route: Route): Promise<void> {
  const body = await probe.bodyOf(route, { temperature: "hot" });
  expectEnvelope(route, await probe.ask(route.path, { body }), 400);
}

async function refusesNoJson(probe: Probe, route: Route): Promise<void> {
  expectEnvelope(route, await probe.ask(route.path, { body: '{"prompt": ' }), 400);
}

async function namesAllFields(probe: Probe, route: Route): Promise<void> {
  const bad = { temperature: -1, top_p: 7, max_tokens: "many" };
  const reply = await probe.ask(route.path, { body: await probe.bodyOf(route, bad) });
  expectEnvelope(route, reply, 400);
  const unnamed = Object.keys(bad).filter((name) => !reply.text.includes(name));
  hold(unnamed.length === 0, `it does not name ${unnamed}`);
}

async function ignoresUnknown(probe: Probe, route: Route): Promise<void> {
  const more = { a_field_that_no_server_knows: { a: [1] }, user: null, stop: null };
  const { messages } = await probe.make(route, more);
  const { messages: plain } = await probe.stream(route);
  hold(textOf(route, messages) === textOf(route, plain), "the text is another one");
}

/** The order is that of the print. */
export const WIRE_CHECKS: readonly Check[] = [
  { name: "sends headers that no proxy buffers or caches", routes: ALL, run: headers },
  { name: "says something before the first token", routes: ALL, run: preamble },
  { name: "writes `data: ` and every other field with one space", routes: ALL, run: fieldLines },
  { name: "ends with exactly one terminal event", routes: ALL, run: oneEnd },
  { name: "sends [DONE] once, last", routes: OPENAI, run: done },
  { name: "sends the usage once, in a chunk without choices", routes: OPENAI, run: usage },
  { name: "names the role in the first chunk only", routes: [CHAT], run: role },
  { name: "keeps id, object, created and model in all chunks", routes: OPENAI, run: oneHead },
  { name: "adds up to the text of the answer in one piece", routes: OPENAI, run: sameText },
  { name: "ends at max_tokens", routes: ALL, run: tokenLimit },
  { name: "refuses a bad field by JSON before the headers", routes: ALL, run: refusesBadField },
  { name: "refuses what is no JSON by JSON", routes: ALL, run: refusesNoJson },
  { name: "names every bad field at once", routes: ALL, run: namesAllFields },
  {
    name: "ignores unknown fields, and known ones that are null",
    routes: ALL,
    run: ignoresUnknown,
  },
];
