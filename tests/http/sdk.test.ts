/** The SDK suite against a fake: over a port, and in process without one. */
import { createHandler } from "../../src/server/handler.ts";
import { OverloadedError } from "../../src/errors.ts";
import {
  endless,
  MockGenerator,
  saying,
  type Script,
  START,
  token,
} from "../support/mock_generator.ts";
import { serveHere } from "../support/serve_here.ts";
import { sdkSuite, type Target } from "./sdk_suite.ts";

const short = saying("Hello", "", ", wörld");
/** A token each millisecond until somebody ends it. */
const long = endless(() => new Promise((resolve) => setTimeout(resolve, 1)));
const overload: Script = () => [new OverloadedError("The queue is full", 3)];
const breakOff: Script = () => [
  START,
  token("Hello", 1),
  { type: "error", code: "engine_error", message: "The engine died", hints: [] },
];

function fake() {
  let fault: Script | undefined;
  const mock = new MockGenerator((request) => {
    const script = fault ?? (request.ignoreEos ? long : short);
    fault = undefined;
    return script(request);
  });
  const handler = createHandler(mock, { onError: () => undefined });
  const target: Omit<Target, "baseURL"> = {
    model: mock.model.id,
    busy: () => mock.until(() => mock.active > 0),
    idle: () => mock.until(() => mock.active === 0),
    faults: {
      overload: () => fault = overload,
      breakOff: () => fault = breakOff,
    },
    close: () => Promise.resolve(),
  };
  return { handler, target };
}

sdkSuite("SDKs over a port", async () => {
  const { handler, target } = fake();
  const server = await serveHere(handler);
  return { ...target, baseURL: `${server.url}/v1`, close: () => server.stop() };
}, true);

sdkSuite("SDKs in process", () => {
  const { handler, target } = fake();
  return Promise.resolve({
    ...target,
    baseURL: "http://localhost/v1",
    fetch: (url, init) => handler(new Request(url, init)),
  });
}, true);
