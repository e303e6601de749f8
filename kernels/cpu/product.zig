//! Products of quantized weights with quantized activations: one layout for one token and for many.
//! Compiled once for each CPU variant.
//!
//! Weights lie in panels of 16 rows (format.zig), so that one instruction multiplies 64 of them
//! with 4 activations that it repeats. It wants one operand without a sign, so what has one is
//! stored with 128 added, or has a min.
//!
//! Activations lie in tiles (tiles.zig), which have what an offset takes away, or what a min adds.
//!
//! Each output is a sum over the blocks in order, whatever the number of tokens or of threads.
const std = @import("std");
const builtin = @import("builtin");
const formats = @import("format.zig");
const half = @import("half.zig");
const tiling = @import("tiles.zig");

pub const Share = @import("share.zig").Share;
pub const Rows = tiling.Rows;
pub const tileBytes = tiling.bytes;
pub const Format = formats.Format;
pub const panel_rows = formats.panel_rows;
pub const block_len = formats.block_len;
pub const pack = formats.pack;
pub const readRow = formats.readRow;

/// A weight [n_in, n_out] in panels.
pub const Weight = extern struct {
    format: Format,
    panels: [*]align(panel_rows) const u8,
    n_in: usize,
    n_out: usize,

    /// Bytes of one panel.
    pub fn panelBytes(weight: *const Weight) usize {
        return weight.n_in / weight.format.groupLen() * weight.format.groupBytes() * panel_rows;
    }
};

/// Writes n_tokens rows of n_out sums, `n_out` values apart, each added to what `added` has there.
pub const Multiply = *const fn (
    weight: *const Weight,
    tiles: [*]const u8,
    n_tokens: usize,
    added: ?[*]const f32,
    sums: [*]f32,
    share: Share,
) callconv(.c) void;

/// The functions of one variant.
pub const Functions = extern struct { quantize: tiling.Quantize, multiply: Multiply };

/// Whether this processor family has kernels for it.
pub const exists = builtin.cpu.arch == .x86_64;

/// Those of the CPU that this module is compiled for.
pub const vector: Functions = .{ .quantize = &tiling.quantize, .multiply = &multiply };

const cpu = builtin.cpu;
const has = std.Target.x86.featureSetHas;
const has_vnni = exists and has(cpu.features, .avx512vnni);
const has_avx_vnni = exists and has(cpu.features, .avxvnni);
const has_avx512 = exists and has(cpu.features, .avx512bw);
const has_avx2 = exists and has(cpu.features, .avx2);

const tile_tokens = tiling.tile_tokens;
const token_bytes = tiling.token_bytes;
const Number = tiling.Number;
const F = formats.F;
const I = @Vector(panel_rows, i32);
const Bytes = formats.Bytes;

/// Tokens that one pass over a panel takes; registers hold a sum of each.
const passes: []const usize = if (has_avx512) &.{ 16, 8, 4, 2, 1 } else &.{ 4, 2, 1 };
/// Bytes of panels that stay in the cache while all tiles pass.
const panels_at_once = 64 << 10;
/// How far ahead of its use a weight is asked for: the processor's own way stops at pages.
const prefetch_bytes = 8192;

fn multiply(
    weight: *const Weight,
    tiles: [*]const u8,
    n_tokens: usize,
    added: ?[*]const f32,
    sums: [*]f32,
    share: Share,
) callconv(.c) void {
    switch (weight.format) {
        inline else => |f| multiplyFormat(f, weight, tiles, n_tokens, added, sums, share),
    }
}

fn multiplyFormat(
    comptime format: Format,
    weight: *const Weight,
    tiles: [*]const u8,
    n_tokens: usize,
    added: ?[*]const f32,
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
                const at = t * tile_tokens * weight.n_out + p * panel_rows;
                const more = if (added) |a| a + at else null;
                const panel = weight.panels + p * panel_bytes;
                const tile = tiles + t * tile_bytes;
                multiplyTile(format, @alignCast(panel), weight, tile, n, more, sums + at);
            }
        }
    }
}

/// One panel with the `n` tokens of a tile, as many at a time as there are registers for.
fn multiplyTile(
    comptime format: Format,
    panel: [*]align(panel_rows) const u8,
    weight: *const Weight,
    tile: [*]const u8,
    n: usize,
    added: ?[*]const f32,
    out: [*]f32,
) void {
    @setEvalBranchQuota(20_000);
    var done: usize = 0;
    inline for (passes) |pass| {
        while (n - done >= pass) : (done += pass) {
            const sums = sumBlocks(format, pass, panel, weight.n_in / block_len, tile, n, done);
            inline for (sums, 0..) |sum, i| {
                const at = (done + i) * weight.n_out;
                (out + at)[0..panel_rows].* =
                    if (added) |a| sum + @as(F, a[at..][0..panel_rows].*) else sum;
            }
        }
    }
}

inline fn sumBlocks(
    comptime format: Format,
    comptime n_tokens: usize,
    panel: [*]align(panel_rows) const u8,
    n_blocks: usize,
    tile: [*]const u8,
    n_tile: usize,
    first: usize,
) [n_tokens]F {
    @setEvalBranchQuota(20_000);
    const block_bytes = comptime format.codeBytes() * panel_rows;
    const per_group = comptime format.blocks();
    const step_bytes = comptime format.groupBytes() * panel_rows / per_group;
    const sides: [*]align(panel_rows) const u8 = @alignCast(panel + n_blocks * block_bytes);
    var sums: [n_tokens]F = @splat(@splat(0));
    var block = tile;
    for (0..n_blocks / per_group) |g| {
        const group: [*]align(panel_rows) const u8 =
            @alignCast(sides + g * comptime formats.sideBytes(format));
        const scales = formats.scalesOf(format, group);
        for (0..per_group) |part| {
            const codes = panel + (g * per_group + part) * block_bytes;
            // Panels lie behind one another, so this reaches into the next ones too.
            const ahead = panel + (g * per_group + part) * step_bytes + prefetch_bytes;
            inline for (0..(step_bytes + 63) / 64) |i| @prefetch(ahead + 64 * i, .{});
            const weights = formats.codes(format, @alignCast(codes));
            const activations: Activations = .of(block, n_tile, first);
            inline for (&sums, 0..) |*sum, i| {
                sum.* = addBlock(format, sum.*, weights, &scales, part, activations, i);
            }
            block += n_tile * token_bytes;
        }
    }
    return sums;
}

/// A block of a tile, from one of its tokens on.
const Activations = struct {
    quants: [*]const i32,
    numbers: [*]const f32,
    n_tile: usize,

    inline fn of(block: [*]const u8, n_tile: usize, first: usize) Activations {
        return .{
            .quants = @ptrCast(@alignCast(block + first * block_len)),
            .numbers = @ptrCast(@alignCast(block + n_tile * block_len + 4 * first)),
            .n_tile = n_tile,
        };
    }

    /// Number `which` of token `i`, for every row.
    inline fn number(a: Activations, comptime which: Number, i: usize) F {
        return @splat(a.numbers[@backingInt(which) * a.n_tile + i]);
    }
};

/// `sum` and what a block gives to token `i`.
inline fn addBlock(
    comptime format: Format,
    sum: F,
    weights: [8]Bytes,
    scales: *const formats.Scales(format),
    part: usize,
    activations: Activations,
    comptime i: usize,
) F {
    const quants = activations.quants[8 * i ..][0..8];
    const a_scale = activations.number(.scale, i);
    if (comptime format.isHalved()) {
        const low: F = @floatFromInt(dot(format, 4, weights[0..4], quants[0..4], 0));
        const high: F = @floatFromInt(dot(format, 4, weights[4..8], quants[4..8], 0));
        const low_scale, const high_scale = scales.scale[2 * part ..][0..2].*;
        const low_min, const high_min = scales.min[2 * part ..][0..2].*;
        const scaled = half.multiplyAdd(high, high_scale, low * low_scale);
        const with_low = half.multiplyAdd(low_min, activations.number(.low_sum, i), sum);
        const with_mins = half.multiplyAdd(high_min, activations.number(.high_sum, i), with_low);
        return half.multiplyAdd(scaled, a_scale, with_mins);
    }
    const zero: i32 = if (format == .q4_0)
        @bitCast(activations.numbers[@backingInt(Number.zero8) * activations.n_tile + i])
    else if (comptime format.isByte())
        @bitCast(activations.numbers[@backingInt(Number.zero128) * activations.n_tile + i])
    else
        0;
    const dots: F = @floatFromInt(dot(format, 8, &weights, quants, zero));
    const scaled = half.multiplyAdd(dots * scales.scale[part], a_scale, sum);
    if (comptime !format.hasMin()) return scaled;
    return half.multiplyAdd(scales.min[part], activations.number(.sum, i), scaled);
}

extern fn @"llvm.x86.avx512.vpdpbusd.512"(I, I, I) I;
const Ints8 = @Vector(8, i32);
extern fn @"llvm.x86.avx512.vpdpbusd.256"(Ints8, Ints8, Ints8) Ints8;
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

/// For each row the sum of 4 * n products with activations of one token; `zero` is what takes the
/// offset of the weights away.
inline fn dot(
    comptime format: Format,
    comptime n: usize,
    weights: *const [n]Bytes,
    quants: *const [n]i32,
    zero: i32,
) I {
    if (has_vnni) {
        var sums: I = @splat(zero);
        inline for (weights, quants) |w, a| {
            sums = @"llvm.x86.avx512.vpdpbusd.512"(sums, @bitCast(w), @splat(a));
        }
        return sums;
    }
    if (has_avx_vnni) {
        var sums: [n_parts]Ints = @splat(@splat(zero));
        inline for (weights, quants) |w, a| {
            const parts: [n_parts]Ints = @bitCast(w);
            inline for (&sums, parts) |*sum, part| {
                sum.* = @"llvm.x86.avx512.vpdpbusd.256"(sum.*, part, @splat(a));
            }
        }
        return @bitCast(sums);
    }
    if (comptime format.isByte()) return dotSigned(n, weights, quants);
    // So many times two products fit 16 bits.
    const n_fit = comptime @min(n, std.math.maxInt(i16) / (2 * 127 * format.codeMax()));
    var sums: [n_parts]Ints = @splat(@splat(zero));
    comptime var from = 0;
    inline while (from < n) : (from += n_fit) {
        var words: [n_parts]Words = @splat(@splat(0));
        inline for (weights[from..][0..n_fit], quants[from..][0..n_fit]) |w, a| {
            const repeated: Signed = @bitCast(@as(Ints, @splat(a)));
            const parts: [n_parts]@Vector(n_bytes, u8) = @bitCast(w);
            inline for (&words, parts) |*word, part| word.* +%= pairSums(part, repeated);
        }
        inline for (&sums, words) |*sum, word| sum.* +%= widen(word);
    }
    return @bitCast(sums);
}

/// The same for 8 bits: |weight| times the activation with its sign, so that pairs fit 16 bits. The
/// other way round a weight of -128 would have no opposite.
inline fn dotSigned(comptime n: usize, weights: *const [n]Bytes, quants: *const [n]i32) I {
    var sums: [n_parts]Ints = @splat(@splat(0));
    inline for (weights, quants) |w, a| {
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
