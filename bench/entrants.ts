/**
 * Who takes part in a bench: sluice on each runtime, and its peers, all with the same model file,
 * threads, context and number of sequences.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { SluiceError } from "../src/errors.ts";
import { run } from "../tools/setup/command.ts";
import { denoConfig } from "../tools/setup/jsr.ts";
import { type RuntimeName, runtimePath } from "../tools/runtimes.ts";
import type { Entrant } from "./contender.ts";
import { HttpContender } from "./http_contender.ts";
import type { LinearLine } from "./linear.ts";
import { LineContender } from "./line_contender.ts";
import { llamaServer, openVino, type Peer } from "./peers.ts";
import type { TicksLine } from "./ticks.ts";
import type { Workshop } from "./workshop.ts";

/** What everybody runs. */
export interface Field {
  /** Path of the GGUF file. */
  readonly model: string;
  readonly threads: number;
  /** Sequences that run at once. */
  readonly sequences: number;
  /** Tokens that one sequence can hold. */
  readonly tokens: number;
  readonly runtimes: readonly RuntimeName[];
  readonly peers: readonly Peer[];
  /** Whether sluice takes part with one thread too. */
  readonly oneThread: boolean;
}

/** Words that start a script of sluice on a runtime, before its path. */
export async function runtimeWords(runtime: RuntimeName, root: string): Promise<string[]> {
  const path = await runtimePath(runtime);
  if (runtime === "bun") return [path];
  const config = await denoConfig({ root, deno: [path] });
  return [path, "run", "-A", "--config", join(root, config)];
}

/**
 * Prepares everybody; who cannot take part is left out.
 *
 * @param leaveOut told who, and why in one sentence
 */
export async function listEntrants(
  field: Field,
  workshop: Workshop,
  leaveOut: (name: string, why: string) => void,
): Promise<Entrant[]> {
  const others: Entrant[] = [];
  for (const peer of field.peers) {
    try {
      others.push(await peerEntrant(peer, field, workshop));
    } catch (error) {
      if (!(error instanceof SluiceError) || workshop.signal.aborted) throw error;
      leaveOut(peer.name, error.message);
    }
  }
  const rivals = others.map(({ name }) => name);
  const ours: Entrant[] = [];
  for (const runtime of field.runtimes) {
    ours.push(...await sluiceEntrants(runtime, field, workshop, rivals));
  }
  return [...ours, ...others];
}

async function sluiceEntrants(
  runtime: RuntimeName,
  { model, threads, oneThread, sequences, tokens }: Field,
  { root, signal }: Workshop,
  peerNames: readonly string[],
): Promise<Entrant[]> {
  const words = await runtimeWords(runtime, root);
  const purpose = `ask ${runtime} for its version`;
  const printed = await run([words[0]!, "--version"], { purpose, cwd: root, signal });
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const version = `${manifest.version} on ${runtime} ${/\d+\.\d+\.\d+/.exec(printed)?.[0]}`;
  const entrant = (n_threads: number, rivals: readonly string[]): Entrant => {
    const name = `sluice, ${runtime}${n_threads === threads ? "" : ", 1 thread"}`;
    const options = ["--model", model, "--threads", n_threads, "--ctx-size", tokens];
    const limits = ["--parallel", sequences];
    const script = [...words, join("src", "cli.ts"), "serve", ...options, ...limits].map(String);
    const command = (port: number): string[] => [...script, "--port", String(port)];
    const start = () => HttpContender.start(name, command, root);
    const measure = async <Line>(file: string, purpose: string, tokens: number): Promise<Line> => {
      const program = [...words, join("bench", file), model, n_threads, tokens].map(String);
      return JSON.parse(await run(program, { purpose, cwd: root, signal }));
    };
    const linearLayers = (tokens: number) =>
      measure<LinearLine>("linear.ts", "measure linear layers", tokens);
    const ticks = (tokens: number) =>
      measure<TicksLine>("ticks.ts", "measure ticks of the core", tokens);
    return { name, version, threads: n_threads, rivals, start, linearLayers, ticks };
  };
  if (!oneThread || threads === 1) return [entrant(threads, peerNames)];
  const single = entrant(1, []);
  return [entrant(threads, [...peerNames, single.name]), single];
}

function peerEntrant(peer: Peer, field: Field, workshop: Workshop): Promise<Entrant> {
  return peer === llamaServer ? llamaEntrant(field, workshop) : openVinoEntrant(field, workshop);
}

async function llamaEntrant(field: Field, workshop: Workshop): Promise<Entrant> {
  const { model, threads, sequences, tokens } = field;
  const { name } = llamaServer;
  const program = await llamaServer.prepare(workshop);
  // It prints its version where errors go.
  const look = ["sh", "-c", '"$0" --version 2>&1', program];
  const { root: cwd, signal } = workshop;
  const printed = await run(look, { purpose: "ask llama-server for its version", cwd, signal });
  const version = /version: (.*)/.exec(printed)?.[1] ?? "unknown";
  const limits = ["-c", tokens * sequences, "-np", sequences, "-t", threads];
  const quiet = ["--no-ui", "--no-cache-prompt", "--cache-ram", 0, "-lv", 1];
  const script = [program, "-m", model, "--host", "127.0.0.1", ...limits, ...quiet].map(String);
  const command = (port: number): string[] => [...script, "--port", String(port)];
  return { name, version, threads, rivals: [], start: () => HttpContender.start(name, command) };
}

async function openVinoEntrant({ model, threads }: Field, workshop: Workshop): Promise<Entrant> {
  const { name } = openVino;
  const python = await openVino.prepare(workshop);
  const script = [python, join(workshop.root, "bench", "openvino_peer.py")];
  const { root: cwd, signal } = workshop;
  const purpose = "ask OpenVINO GenAI for its version";
  const version = (await run([...script, "--version"], { purpose, cwd, signal })).trim();
  const command = [...script, model, String(threads)];
  const start = () => Promise.resolve(LineContender.start(name, command));
  return { name, version, threads, rivals: [], start };
}
