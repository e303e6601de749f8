/**
 * Who gets what: key, tenant, host, origin, route and method against each other, each cell of the
 * tables a test. 101 is a WebSocket that was opened.
 */
import { beforeAll, describe, expect, it } from "bun:test";
import { createHandler, type Handler } from "../../../src/server/handler.ts";
import { type ApiKey, createKey, type Scope } from "../../../src/server/keys.ts";
import { HANDSHAKE } from "../../support/fake_socket.ts";
import { MockGenerator, saying } from "../../support/mock_generator.ts";

/** STREAM is a stream of ada; url has its key in the query. */
const WHO = `
                            nobody wrong ada bob reader writer meter ticket url
GET     /health             200    200   200 200 200    200    200   200    400
HEAD    /health             200    200   200 200 200    200    200   200    400
GET     /health/live        200    200   200 200 200    200    200   200    400
GET     /health/ready       200    200   200 200 200    200    200   200    400
POST    /health             405    405   405 405 405    405    405   405    400
GET     /v1/models          401    401   200 200 200    403    403   200    400
HEAD    /v1/models          401    401   200 200 200    403    403   200    400
GET     /v1/models/mock     401    401   200 200 200    403    403   200    400
GET     /v1/models/none     401    401   404 404 404    403    403   404    400
POST    /v1/chat/completions 401   401   200 200 403    200    403   401    400
POST    /v1/completions     401    401   200 200 403    200    403   401    400
POST    /v1/stream          401    401   200 200 403    200    403   401    400
SOCKET  /v1/stream          401    401   101 101 403    101    403   101    400
GET     STREAM              401    401   200 404 404    403    403   200    400
HEAD    STREAM              401    401   200 404 404    403    403   200    400
POST    STREAM/control      401    401   200 404 403    404    403   401    400
DELETE  STREAM              401    401   204 404 403    404    403   401    400
GET     /v1/streams/none    401    401   404 404 404    403    403   404    400
POST    /v1/tickets         401    401   200 200 200    200    200   401    400
GET     /v1/tickets         405    405   405 405 405    405    405   405    400
PUT     /v1/stream          405    405   405 405 405    405    405   405    400
OPTIONS /v1/stream          204    204   204 204 204    204    204   204    400
GET     /none               404    404   404 404 404    404    404   404    400
`;

/** With the key of ada. */
const HOSTS = `
                        health models stream socket none
localhost               200    200    200    101    404
LOCALHOST:8080          200    200    200    101    404
127.0.0.1:1             200    200    200    101    404
[::1]:8080              200    200    200    101    404
model.example           200    200    200    101    404
model.example:443       200    200    200    101    404
evil.test               403    403    403    403    403
localhost.evil.test     403    403    403    403    403
model.example.evil.test 403    403    403    403    403
127.0.0.2               403    403    403    403    403
localhost,evil.test     400    400    400    400    400
user@localhost          400    400    400    400    400
localhost:999999        400    400    400    400    400
`;

/** With the key of ada; the site is what the browser says of where the request comes from. */
const ORIGINS = `
                                       models stream delete tickets socket
-                          -           200    200    204    200     101
-                          none        200    200    204    200     101
-                          same-origin 200    200    204    200     101
-                          same-site   200    200    204    200     101
-                          cross-site  200    403    403    403     403
http://localhost           -           200    200    204    200     101
http://localhost           same-origin 200    200    204    200     101
http://localhost:5173      -           200    403    403    403     403
http://localhost:5173      same-site   200    200    204    200     403
https://chat.example       -           200    200    204    200     101
https://chat.example       cross-site  200    200    204    200     101
http://chat.example        cross-site  200    403    403    403     403
https://chat.example.test  -           200    403    403    403     403
https://evil.test          -           200    403    403    403     403
https://evil.test          cross-site  200    403    403    403     403
https://evil.test          same-origin 200    200    204    200     403
null                       -           200    403    403    403     403
null                       cross-site  200    403    403    403     403
`;

/** What the columns of hosts and origins ask for. */
const ASKED: Readonly<Record<string, readonly [method: string, path: string]>> = {
  health: ["GET", "/health"],
  models: ["GET", "/v1/models"],
  stream: ["POST", "/v1/stream"],
  delete: ["DELETE", "STREAM"],
  tickets: ["POST", "/v1/tickets"],
  socket: ["SOCKET", "/v1/stream"],
  none: ["GET", "/none"],
};

type Cell = readonly [row: readonly string[], column: string, status: number];

/** The cells of a table whose rows begin with `heads` words. */
function cellsOf(table: string, heads: number): Cell[] {
  const [columns = [], ...rows] = table.trim().split("\n").map((line) => line.trim().split(/\s+/));
  return rows.flatMap((words) =>
    columns.map((column, i): Cell => [words.slice(0, heads), column, Number(words[heads + i])])
  );
}

const SCOPES: Readonly<Record<string, readonly Scope[]>> = {
  ada: ["generate", "read"],
  bob: ["generate", "read"],
  reader: ["read"],
  writer: ["generate"],
  meter: ["metrics"],
};
const BODIES: Readonly<Record<string, object>> = {
  "/v1/chat/completions": { messages: [{ role: "user", content: "Hi" }] },
  "/v1/tickets": { path: "/v1/stream" },
};
const made: Record<string, { secret: string; key: ApiKey }> = {};
beforeAll(async () => {
  for (const [name, scopes] of Object.entries(SCOPES)) {
    made[name] = await createKey({ name, scopes });
  }
});

const bearer = (who: string): Record<string, string> => ({
  authorization: `Bearer ${made[who]?.secret ?? "wrong"}`,
});

/** A handler with a stream of ada, and the path of that stream. */
async function site(): Promise<{ handler: Handler; stream: string }> {
  const handler = createHandler(new MockGenerator(saying("a")), {
    keys: Object.values(made).map(({ key }) => key),
    hosts: ["model.example"],
    corsOrigins: ["https://chat.example"],
  });
  const response = await ask(handler, "POST", "/v1/stream", bearer("ada"));
  await response.text();
  return { handler, stream: `/v1/streams/${response.headers.get("x-stream-id")}` };
}

function ask(
  handler: Handler,
  method: string,
  path: string,
  headers: Record<string, string>,
): Promise<Response> {
  const body = path.endsWith("/control")
    ? { action: "stop" }
    : BODIES[path.split("?")[0] ?? ""] ?? { prompt: "Hi" };
  return handler(
    new Request(`http://localhost${path}`, {
      method,
      headers,
      ...(method === "POST" ? { body: JSON.stringify(body) } : {}),
    }),
  );
}

/** The status of what a client gets; SOCKET asks for a WebSocket. */
async function statusOf(
  handler: Handler,
  method: string,
  path: string,
  headers: Record<string, string>,
): Promise<number> {
  if (method !== "SOCKET") {
    const response = await ask(handler, method, path, headers);
    await response.body?.cancel();
    return response.status;
  }
  const handshake = { ...HANDSHAKE, ...headers };
  const opened = await handler.upgrade!(
    new Request(`http://localhost${path}`, { headers: handshake }),
  );
  return typeof opened === "function" ? 101 : opened?.status ?? 0;
}

async function ticketFor(handler: Handler, path: string): Promise<string> {
  const response = await handler(
    new Request("http://localhost/v1/tickets", {
      method: "POST",
      headers: bearer("ada"),
      body: JSON.stringify({ path }),
    }),
  );
  return (await response.json() as { ticket: string }).ticket;
}

describe("A client by its key", () => {
  for (const [[method = "", path = ""], who, status] of cellsOf(WHO, 2)) {
    it(`asks ${method} ${path} as ${who} and gets ${status}`, async () => {
      const { handler, stream } = await site();
      const place = path.replace("STREAM", stream);
      const [query, headers] = who === "nobody"
        ? ["", {}]
        : who === "ticket"
        ? [`?ticket=${await ticketFor(handler, place)}`, {}]
        : who === "url"
        ? [`?api_key=${made["ada"]!.secret}`, {}]
        : ["", bearer(who)];
      expect(await statusOf(handler, method, place + query, headers)).toBe(status);
    });
  }
});

describe("A client of a host", () => {
  for (const [[host = ""], asked, status] of cellsOf(HOSTS, 1)) {
    it(`asks ${host} for ${asked} and gets ${status}`, async () => {
      const { handler } = await site();
      const [method, path] = ASKED[asked]!;
      const headers = { ...bearer("ada"), host: host.replace(",", ", ") };
      expect(await statusOf(handler, method, path, headers)).toBe(status);
    });
  }
});

describe("A page", () => {
  for (const [[origin = "", from = ""], asked, status] of cellsOf(ORIGINS, 2)) {
    it(`of origin ${origin}, site ${from}, asks ${asked} and gets ${status}`, async () => {
      const { handler, stream } = await site();
      const [method, path] = ASKED[asked]!;
      const headers = {
        ...bearer("ada"),
        ...(origin === "-" ? {} : { origin }),
        ...(from === "-" ? {} : { "sec-fetch-site": from }),
      };
      expect(await statusOf(handler, method, path.replace("STREAM", stream), headers)).toBe(status);
    });
  }
});

describe("The tables", () => {
  it("are whole, and have more than 350 cells", () => {
    const cells = [...cellsOf(WHO, 2), ...cellsOf(HOSTS, 1), ...cellsOf(ORIGINS, 2)];
    expect(cells.filter(([, , status]) => !(status >= 101 && status <= 405))).toEqual([]);
    expect(cells.length).toBeGreaterThan(350);
  });
});
