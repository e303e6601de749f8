/**
 * Blocks of quantized values as floats, for tools that read model files without the library.
 *
 * @module
 */

/** Turns blocks of one type into floats; both hold whole blocks. */
export type Decode = (bytes: Uint8Array, out: Float32Array) => void;

/** Every f16 as a float. */
const halves = new Float32Array(
  new Float16Array(Uint16Array.from({ length: 65_536 }, (_, bits) => bits).buffer),
);

/** The f16 at a place. */
function f16(bytes: Uint8Array, at: number): number {
  return halves[bytes[at]! | (bytes[at + 1]! << 8)]!;
}

/**
 * Decoders by ggml's names of types, with the formulas of ggml-quants.c. A product of these few
 * bits is exact: only the store rounds, as in C.
 */
export const decoders: ReadonlyMap<string, Decode> = new Map<string, Decode>([
  ["f16", (bytes, out) => {
    for (let i = 0; i < out.length; i++) out[i] = f16(bytes, 2 * i);
  }],
  ["bf16", (bytes, out) => {
    const bits = new Uint32Array(out.buffer, out.byteOffset, out.length);
    for (let i = 0; i < out.length; i++) {
      bits[i] = (bytes[2 * i]! << 16) | (bytes[2 * i + 1]! << 24);
    }
  }],
  ["q4_0", (bytes, out) => {
    for (let at = 0, y = 0; y < out.length; at += 18, y += 32) {
      const d = f16(bytes, at);
      for (let i = 0; i < 16; i++) {
        const q = bytes[at + 2 + i]!;
        out[y + i] = ((q & 15) - 8) * d;
        out[y + 16 + i] = ((q >> 4) - 8) * d;
      }
    }
  }],
  ["q4_1", (bytes, out) => {
    for (let at = 0, y = 0; y < out.length; at += 20, y += 32) {
      const d = f16(bytes, at);
      const m = f16(bytes, at + 2);
      for (let i = 0; i < 16; i++) {
        const q = bytes[at + 4 + i]!;
        out[y + i] = (q & 15) * d + m;
        out[y + 16 + i] = (q >> 4) * d + m;
      }
    }
  }],
  ["q5_0", (bytes, out) => {
    for (let at = 0, y = 0; y < out.length; at += 22, y += 32) {
      const d = f16(bytes, at);
      const high = u32At(bytes, at + 2);
      for (let i = 0; i < 16; i++) {
        const q = bytes[at + 6 + i]!;
        out[y + i] = ((q & 15) + ((high >>> i) & 1) * 16 - 16) * d;
        out[y + 16 + i] = ((q >> 4) + ((high >>> (i + 16)) & 1) * 16 - 16) * d;
      }
    }
  }],
  ["q5_1", (bytes, out) => {
    for (let at = 0, y = 0; y < out.length; at += 24, y += 32) {
      const d = f16(bytes, at);
      const m = f16(bytes, at + 2);
      const high = u32At(bytes, at + 4);
      for (let i = 0; i < 16; i++) {
        const q = bytes[at + 8 + i]!;
        out[y + i] = ((q & 15) + ((high >>> i) & 1) * 16) * d + m;
        out[y + 16 + i] = ((q >> 4) + ((high >>> (i + 16)) & 1) * 16) * d + m;
      }
    }
  }],
  ["q8_0", (bytes, out) => {
    for (let at = 0, y = 0; y < out.length; at += 34, y += 32) {
      const d = f16(bytes, at);
      for (let i = 0; i < 32; i++) out[y + i] = i8(bytes[at + 2 + i]!) * d;
    }
  }],
  ["q6_K", (bytes, out) => {
    for (let at = 0, y = 0; y < out.length; at += 210, y += 256) {
      const d = f16(bytes, at + 208);
      for (let i = 0; i < 256; i++) {
        // 128 values share 64 bytes of low halves and 32 bytes of high quarters.
        const half = i >> 7;
        const quarter = (i >> 5) & 3;
        const low = bytes[at + 64 * half + 32 * (quarter & 1) + (i & 31)]! >> (quarter & 2 ? 4 : 0);
        const high = bytes[at + 128 + 32 * half + (i & 31)]! >> (2 * quarter);
        const q = ((low & 15) | ((high & 3) << 4)) - 32;
        const scale = i8(bytes[at + 192 + (i >> 4)]!);
        out[y + i] = d * scale * q;
      }
    }
  }],
]);

function i8(byte: number): number {
  return (byte << 24) >> 24;
}

function u32At(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}
