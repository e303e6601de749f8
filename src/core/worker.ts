/**
 * The Worker's entry. Its thread is the only one that touches native memory.
 *
 * @module
 */
import { type Port, serveCore } from "./port.ts";

serveCore(globalThis as unknown as Port);
