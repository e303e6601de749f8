//! Products of quantized weights with quantized activations: one layout for one token and for many.
//! Compiled once for each CPU variant.
//!
//! Weights lie in panels of 16 rows. A panel holds the quants of all its blocks of 32 values, then
//! their scales. In a block, four bytes of each row follow one another, 16 rows to a vector, so
//! that one instruction multiplies 64 weights with 4 activations that it repeats. The bytes are
//! those of the file in another order; 8-bit quants are stored with 128 added, because the
//! instruction wants one operand without a sign.
//!
//! Activations lie in tiles of up to 16 tokens, block after block: the quants of each token, then
//! a scale, the scaled sum of the quants, and what an offset of 8 or of 128 in every weight adds to
//! the integer sum.
//!
//! Each output is a sum over the blocks in order, whatever the number of tokens or of threads.
const std = @import("std");
const builtin = @import("builtin");
const half = @import("half.zig");

/// Rows of a panel.
pub const panel_rows = 16;
/// Values that share a scale.
pub const block_len = 32;
/// Tokens of a tile.
pub const tile_tokens = 16;
/// Bytes that one block of one token takes in a tile.
const token_bytes = block_len + 4 * @sizeOf(f32);

/// Types of weights, by their number in ggml.
pub const Format = enum(c_int) {
    q4_0 = 2,
    q4_1 = 3,
    q8_0 = 8,

    /// The format with this number in ggml, if there is one.
    pub fn of(type_: c_int) ?Format {
        return switch (type_) {
            2 => .q4_0,
            3 => .q4_1,
            8 => .q8_0,
            else => null,
        };
    }

    /// Bytes of a block in a file: first scales, then quants.
    pub fn blockBytes(format: Format) usize {
        return format.scaleBytes() + format.quantBytes();
    }

    fn scaleBytes(format: Format) usize {
        return if (format == .q4_1) 4 else 2;
    }

    fn quantBytes(format: Format) usize {
        return if (format == .q8_0) block_len else block_len / 2;
    }
};

/// A weight [n_in, n_out] in panels.
pub const Weight = extern struct {
    format: Format,
    panels: [*]align(32) const u8,
    n_in: usize,
    n_out: usize,

    /// Bytes of one panel.
    pub fn panelBytes(weight: *const Weight) usize {
        return weight.n_in / block_len * weight.format.blockBytes() * panel_rows;
    }
};

/// Share `index` of `count` of a work.
pub const Share = extern struct {
    index: usize,
    count: usize,

    /// First and end of this share of n units.
    pub fn of(share: Share, n: usize) [2]usize {
        return .{ n * share.index / share.count, n * (share.index + 1) / share.count };
    }
};

/// Quantizes n_tokens rows of n_in values, `stride` values apart, into tiles.
pub const Quantize = *const fn (
    values: [*]const f32,
    stride: usize,
    n_in: usize,
    n_tokens: usize,
    tiles: [*]u8,
    share: Share,
) callconv(.c) void;
/// Writes n_tokens rows of n_out sums, `n_out` values apart.
pub const Multiply = *const fn (
    weight: *const Weight,
    tiles: [*]const u8,
    n_tokens: usize,
    sums: [*]f32,
    share: Share,
) callconv(.c) void;

/// The functions of one variant.
pub const Functions = extern struct { quantize: Quantize, multiply: Multiply };

/// Whether this processor family has kernels for it.
pub const exists = builtin.cpu.arch == .x86_64;

/// Those of the CPU that this module is compiled for.
pub const vector: Functions = .{ .quantize = &quantize, .multiply = &multiply };

/// Bytes of the tiles of so many values.
pub fn tileBytes(n_in: usize, n_tokens: usize) usize {
    return n_in / block_len * n_tokens * token_bytes;
}

/// Puts rows as they lie in a file into panels; their number is a multiple of panel_rows.
pub fn pack(format: Format, rows: []const u8, panels: []u8, n_in: usize) void {
    switch (format) {
        inline else => |f| {
            const panel_bytes = n_in / block_len * f.blockBytes() * panel_rows;
            var at: usize = 0;
            while (at < rows.len) : (at += panel_bytes) {
                packPanel(f, rows[at..][0..panel_bytes], panels[at..][0..panel_bytes]);
            }
        },
    }
}

fn packPanel(comptime format: Format, rows: []const u8, panel: []u8) void {
    const block_bytes = comptime format.blockBytes();
    const scale_bytes = comptime format.scaleBytes();
    const quant_bytes = comptime format.quantBytes();
    const n_blocks = rows.len / panel_rows / block_bytes;
    const flip: u32 = if (format == .q8_0) 0x8080_8080 else 0;
    const scales = panel[n_blocks * quant_bytes * panel_rows ..];
    for (0..panel_rows) |row| {
        for (0..n_blocks) |k| {
            const block = rows[(row * n_blocks + k) * block_bytes ..][0..block_bytes];
            const q = panel[k * quant_bytes * panel_rows + 4 * row ..];
            inline for (0..quant_bytes / 4) |i| {
                const four: u32 = @bitCast(block[scale_bytes + 4 * i ..][0..4].*);
                q[4 * panel_rows * i ..][0..4].* = @bitCast(four ^ flip);
            }
            const s = scales[k * scale_bytes * panel_rows + 2 * row ..];
            inline for (0..scale_bytes / 2) |i| {
                s[2 * panel_rows * i ..][0..2].* = block[2 * i ..][0..2].*;
            }
        }
    }
}

const cpu = builtin.cpu;
const has = std.Target.x86.featureSetHas;
const has_vnni = exists and has(cpu.features, .avx512vnni);
const has_avx512 = exists and has(cpu.features, .avx512bw);
const has_avx2 = exists and has(cpu.features, .avx2);

/// One value of each row of a panel.
const F = @Vector(panel_rows, f32);
const I = @Vector(panel_rows, i32);
/// Four quants of each row.
const Bytes = @Vector(4 * panel_rows, u8);

/// Tokens that one pass over a panel takes; registers hold a sum of each.
const passes: []const usize = if (has_avx512) &.{ 16, 8, 4, 2, 1 } else &.{ 4, 2, 1 };
/// Bytes of panels that stay in the cache while all tiles pass.
const panels_at_once = 64 << 10;
/// How far ahead of its use a weight is asked for.
const prefetch_bytes = 256;

fn multiply(
    weight: *const Weight,
    tiles: [*]const u8,
    n_tokens: usize,
    sums: [*]f32,
    share: Share,
) callconv(.c) void {
    switch (weight.format) {
        inline else => |format| multiplyFormat(format, weight, tiles, n_tokens, sums, share),
    }
}

fn multiplyFormat(
    comptime format: Format,
    weight: *const Weight,
    tiles: [*]const u8,
    n_tokens: usize,
    sums: [*]f32,
    share: Share,
) void {
    const n_tiles = (n_tokens + tile_tokens - 1) / tile_tokens;
    const n_panels = weight.n_out / panel_rows;
    // Few panels do not divide evenly; many tiles do.
    const by_tile = n_tiles >= 4 * share.count and n_panels < 16 * share.count;
    const all: Share = .{ .index = 0, .count = 1 };
    const first_tile, const end_tile = (if (by_tile) share else all).of(n_tiles);
    const first_panel, const end_panel = (if (by_tile) all else share).of(n_panels);
    const panel_bytes = weight.panelBytes();
    const tile_bytes = tileBytes(weight.n_in, tile_tokens);
    const step = @max(1, panels_at_once / panel_bytes);
    var from = first_panel;
    while (from < end_panel) : (from += step) {
        for (first_tile..end_tile) |t| {
            const n: usize = @min(tile_tokens, n_tokens - t * tile_tokens);
            for (from..@min(from + step, end_panel)) |p| {
                const out = sums + t * tile_tokens * weight.n_out + p * panel_rows;
                const panel: [*]align(32) const u8 = @alignCast(weight.panels + p * panel_bytes);
                multiplyTile(format, panel, weight, tiles + t * tile_bytes, n, out);
            }
        }
    }
}

/// One panel with the `n` tokens of a tile, as many at a time as there are registers for.
fn multiplyTile(
    comptime format: Format,
    panel: [*]align(32) const u8,
    weight: *const Weight,
    tile: [*]const u8,
    n: usize,
    out: [*]f32,
) void {
    @setEvalBranchQuota(20_000);
    var done: usize = 0;
    inline for (passes) |pass| {
        while (n - done >= pass) : (done += pass) {
            const sums = sumBlocks(format, pass, panel, weight.n_in / block_len, tile, n, done);
            inline for (sums, 0..) |sum, i| {
                (out + (done + i) * weight.n_out)[0..panel_rows].* = sum;
            }
        }
    }
}

inline fn sumBlocks(
    comptime format: Format,
    comptime n_tokens: usize,
    panel: [*]align(32) const u8,
    n_blocks: usize,
    tile: [*]const u8,
    n_tile: usize,
    first: usize,
) [n_tokens]F {
    @setEvalBranchQuota(20_000);
    const quant_bytes = comptime format.quantBytes() * panel_rows;
    const scale_bytes = comptime format.scaleBytes() * panel_rows;
    const scales = panel + n_blocks * quant_bytes;
    var sums: [n_tokens]F = @splat(@splat(0));
    var block = tile;
    for (0..n_blocks) |k| {
        const quants: [*]align(32) const u8 = @alignCast(panel + k * quant_bytes);
        const weights = unpack(format, quants);
        if (n_tokens <= 8) {
            inline for (0..quant_bytes / 64) |i| @prefetch(quants + prefetch_bytes + 64 * i, .{});
        }
        const scale = half.load(scales + k * scale_bytes);
        const mins = scales + k * scale_bytes + 2 * panel_rows;
        const min = if (format == .q4_1) half.load(mins) else {};
        const values: [*]const i32 = @ptrCast(@alignCast(block + first * block_len));
        const floats: [*]const f32 = @ptrCast(@alignCast(block + n_tile * block_len + 4 * first));
        const zeros: [*]const i32 = @ptrCast(floats + (if (format == .q8_0) 3 else 2) * n_tile);
        inline for (0..n_tokens) |i| {
            const zero = if (format == .q4_1) 0 else zeros[i];
            const dots = dot(format, weights, values[8 * i ..][0..8], zero);
            const scaled = @as(F, @floatFromInt(dots)) * scale;
            sums[i] = half.multiplyAdd(scaled, @splat(floats[i]), sums[i]);
            if (format == .q4_1) {
                sums[i] = half.multiplyAdd(min, @splat(floats[n_tile + i]), sums[i]);
            }
        }
        block += n_tile * token_bytes;
    }
    return sums;
}

/// The quants of a block: vector i has values 4 i to 4 i + 3 of each row.
inline fn unpack(comptime format: Format, quants: [*]align(32) const u8) [8]Bytes {
    const vectors: [*]align(32) const Bytes = @ptrCast(quants);
    if (format == .q8_0) return vectors[0..8].*;
    var low_high: [8]Bytes = undefined;
    inline for (0..4) |i| {
        low_high[i] = vectors[i] & @as(Bytes, @splat(15));
        low_high[i + 4] = vectors[i] >> @as(@Vector(64, u3), @splat(4));
    }
    return low_high;
}

extern fn @"llvm.x86.avx512.vpdpbusd.512"(I, I, I) I;
extern fn @"llvm.x86.avx2.pmadd.ub.sw"(@Vector(32, u8), @Vector(32, i8)) @Vector(16, i16);
extern fn @"llvm.x86.avx2.pmadd.wd"(@Vector(16, i16), @Vector(16, i16)) @Vector(8, i32);
extern fn @"llvm.x86.avx2.psign.b"(@Vector(32, i8), @Vector(32, i8)) @Vector(32, i8);
extern fn @"llvm.x86.ssse3.pmadd.ub.sw.128"(@Vector(16, u8), @Vector(16, i8)) @Vector(8, i16);
extern fn @"llvm.x86.sse2.pmadd.wd"(@Vector(8, i16), @Vector(8, i16)) @Vector(4, i32);
extern fn @"llvm.x86.ssse3.psign.b.128"(@Vector(16, i8), @Vector(16, i8)) @Vector(16, i8);

/// Bytes of a vector register below AVX-512.
const n_bytes = if (has_avx2) 32 else 16;
const n_parts = 64 / n_bytes;
const Signed = @Vector(n_bytes, i8);
const Words = @Vector(n_bytes / 2, i16);
const Ints = @Vector(n_bytes / 4, i32);

/// For each row the sum of 32 products with the four times eight activations of one token; `zero`
/// is what takes the offset of the weights away.
inline fn dot(comptime format: Format, weights: [8]Bytes, values: *const [8]i32, zero: i32) I {
    if (has_vnni) {
        var sums: I = @splat(zero);
        inline for (weights, values) |w, a| {
            sums = @"llvm.x86.avx512.vpdpbusd.512"(sums, @bitCast(w), @splat(a));
        }
        return sums;
    }
    if (format == .q8_0) return dotSigned(weights, values);
    // Eight times two products of at most 15 * 127 fit 16 bits.
    var words: [n_parts]Words = @splat(@splat(0));
    inline for (weights, values) |w, a| {
        const repeated: Signed = @bitCast(@as(Ints, @splat(a)));
        const parts: [n_parts]@Vector(n_bytes, u8) = @bitCast(w);
        inline for (&words, parts) |*word, part| word.* +%= pairSums(part, repeated);
    }
    var sums: [n_parts]Ints = @splat(@splat(zero));
    inline for (&sums, words) |*sum, word| sum.* +%= widen(word);
    return @bitCast(sums);
}

/// The same for 8 bits: |weight| times the activation with its sign, so that pairs fit 16 bits. The
/// other way round a weight of -128 would have no opposite.
inline fn dotSigned(weights: [8]Bytes, values: *const [8]i32) I {
    var sums: [n_parts]Ints = @splat(@splat(0));
    inline for (weights, values) |w, a| {
        const repeated: Signed = @bitCast(@as(Ints, @splat(a)));
        const parts: [n_parts]Signed = @bitCast(w ^ @as(Bytes, @splat(128)));
        inline for (&sums, parts) |*sum, part| {
            const signed = if (has_avx2)
                @"llvm.x86.avx2.psign.b"(repeated, part)
            else
                @"llvm.x86.ssse3.psign.b.128"(repeated, part);
            sum.* +%= widen(pairSums(@abs(part), signed));
        }
    }
    return @bitCast(sums);
}

inline fn pairSums(a: @Vector(n_bytes, u8), b: Signed) Words {
    return if (has_avx2)
        @"llvm.x86.avx2.pmadd.ub.sw"(a, b)
    else
        @"llvm.x86.ssse3.pmadd.ub.sw.128"(a, b);
}

inline fn widen(words: Words) Ints {
    const ones: Words = @splat(1);
    return if (has_avx2)
        @"llvm.x86.avx2.pmadd.wd"(words, ones)
    else
        @"llvm.x86.sse2.pmadd.wd"(words, ones);
}

fn quantize(
    values: [*]const f32,
    stride: usize,
    n_in: usize,
    n_tokens: usize,
    tiles: [*]u8,
    share: Share,
) callconv(.c) void {
    const n_blocks = n_in / block_len;
    const n_tiles = (n_tokens + tile_tokens - 1) / tile_tokens;
    const first, const end = share.of(n_tiles * n_blocks);
    for (first..end) |at| {
        const token = at / n_blocks * tile_tokens;
        const k = at % n_blocks;
        const n: usize = @min(tile_tokens, n_tokens - token);
        const block = tiles + tileBytes(n_in, token) + k * n * token_bytes;
        const floats: [*]f32 = @ptrCast(@alignCast(block + n * block_len));
        for (0..n) |i| {
            const row = values + (token + i) * stride + k * block_len;
            quantizeBlock(row[0..block_len], block + i * block_len, floats + i, n);
        }
    }
}

fn quantizeBlock(values: *const [block_len]f32, quants: [*]u8, floats: [*]f32, n: usize) void {
    const V = @Vector(block_len, f32);
    const v: V = values.*;
    const largest = @reduce(.Max, @abs(v));
    const scale = largest / 127;
    const inverse: f32 = if (largest > 0) 127 / largest else 0;
    // Adding 1.5 * 2^23 leaves the nearest whole number in the low bits, to even where two are.
    const magic: f32 = 0x1.8p23;
    const N = @Vector(block_len, i32);
    const rounded: N = @bitCast(v * @as(V, @splat(inverse)) + @as(V, @splat(magic)));
    const whole = rounded -% @as(N, @splat(@bitCast(magic)));
    @as(*align(1) @Vector(block_len, i8), @ptrCast(quants)).* = @truncate(whole);
    const sum = @reduce(.Add, whole);
    floats[0] = scale;
    floats[n] = scale * @as(f32, @floatFromInt(sum));
    const zeros: [*]i32 = @ptrCast(floats + 2 * n);
    zeros[0] = -%(sum *% 8);
    zeros[n] = -%(sum *% 128);
}
