//! Products of weights of floats with f32 activations: one layout for one token and for many.
//! Compiled once for each CPU variant.
//!
//! Weights lie in panels of 16 rows: value k of each row side by side, in the type that the file
//! has. Activations lie in tiles as those of quantized products do (tiles.zig), but stay f32.
//!
//! Each output is a sum over groups of 8 blocks of 32 in order, each group and each block summed by
//! itself: several blocks are summed at once where few tokens would leave the processor waiting,
//! and long rows round less.
//!
//! The products of bf16 that processors have (AMX, AVX-512) are not used: they would round each
//! activation to 8 bits, and those of single tokens too, so that a row keeps its bits in any batch.
const std = @import("std");
const builtin = @import("builtin");
const half = @import("half.zig");
const product = @import("product.zig");
const streams = @import("stream.zig");
const tiling = @import("tiles.zig");
const walk = @import("walk.zig");

const F = half.F;
const panel_rows = product.panel_rows;
const block_len = product.block_len;

/// Types of weights, by their number in ggml. F32 is none of them: its sums would be farther from
/// those in double precision than ggml's are.
pub const Format = enum(c_int) {
    f16 = 1,
    bf16 = 30,

    /// The format with this number in ggml, if there is one.
    pub fn of(type_: c_int) ?Format {
        return std.enums.fromInt(Format, type_);
    }
};

const value_bytes = 2;

/// A weight [n_in, n_out] in panels.
pub const Weight = extern struct {
    format: Format,
    panels: [*]align(panel_rows) const u8,
    n_in: usize,
    n_out: usize,
    /// What will be multiplied next, if that is known.
    next: ?*const product.Panels = null,

    /// Bytes of one panel.
    pub fn panelBytes(weight: *const Weight) usize {
        return weight.n_in * value_bytes * panel_rows;
    }
};

/// The functions of one variant.
pub const Functions = extern struct {
    tile: tiling.Tile,
    multiply: *const fn (
        weight: *const Weight,
        tiles: [*]const u8,
        n_tokens: usize,
        added: ?[*]const f32,
        sums: [*]f32,
        share: product.Share,
    ) callconv(.c) void,
};

/// Those of the CPU that this module is compiled for.
pub const vector: Functions = .{ .tile = &tiling.store, .multiply = &multiply };

pub const tileBytes = tiling.floatBytes;
/// Bytes of panels that stay in the cache while all tiles pass.
pub const panels_at_once = 256 << 10;
/// Tokens that one pass over a panel takes; registers hold a sum of each.
pub const passes: []const usize =
    if (has_avx512) &.{ 16, 8, 4, 2, 1 } else if (has_avx2) &.{ 6, 4, 2, 1 } else &.{ 2, 1 };

/// Panels that a pass takes.
pub fn panelsOf(comptime _: Format, comptime _: usize) usize {
    return 1;
}

/// Blocks of a group; what is summed at once divides it.
const group_blocks = 8;
/// Sums that grow side by side, at least: a product is added every half cycle and takes four.
const chains = if (has_avx512) 8 else 4;

const has = std.Target.x86.featureSetHas;
const is_x86 = builtin.cpu.arch == .x86_64;
const has_avx512 = is_x86 and has(builtin.cpu.features, .avx512bw);
const has_avx2 = is_x86 and has(builtin.cpu.features, .avx2);

fn multiply(
    weight: *const Weight,
    tiles: [*]const u8,
    n_tokens: usize,
    added: ?[*]const f32,
    sums: [*]f32,
    share: product.Share,
) callconv(.c) void {
    const work: walk.Work(Weight) = .of(weight, tiles, n_tokens, added, sums);
    switch (weight.format) {
        inline else => |f| walk.multiplyTiles(@This(), f, &work, share),
    }
}

/// The sums of some panels and some tokens of a tile, from token `first` on.
pub inline fn sumBlocks(
    comptime format: Format,
    comptime n_tokens: usize,
    comptime n_panels: usize,
    panel: [*]align(panel_rows) const u8,
    order: anytype,
    n_blocks: usize,
    from: [*]const u8,
    n_tile: usize,
    first: usize,
) [n_tokens][n_panels]F {
    const column_bytes = value_bytes * panel_rows;
    const together = comptime @max(1, chains / n_tokens / n_panels);
    const values: [*]const f32 = @ptrCast(@alignCast(from + first * tiling.float_token_bytes));
    var sums: [n_tokens * n_panels]F = @splat(@splat(0));
    var group: [n_tokens * n_panels]F = @splat(@splat(0));
    var b: usize = 0;
    inline for (.{ together, 1 }) |n| {
        while (n_blocks - b >= n) : (b += n) {
            const columns = panel + b * block_len * column_bytes;
            const block = values + b * n_tile * block_len;
            const parts = sumEach(format, n_tokens, n_panels, n, columns, order, block, n_tile);
            inline for (parts) |part| {
                inline for (&group, part) |*sum, more| sum.* += more;
            }
            if ((b + n) % group_blocks != 0) continue;
            inline for (&sums, &group) |*sum, *more| {
                sum.* += more.*;
                more.* = @splat(0);
            }
        }
    }
    inline for (&sums, group) |*sum, more| sum.* += more;
    return @bitCast(sums);
}

/// Sums of `n` neighbouring blocks, each by itself: of each token those of each panel.
inline fn sumEach(
    comptime format: Format,
    comptime n_tokens: usize,
    comptime n_panels: usize,
    comptime n: usize,
    columns: [*]const u8,
    order: anytype,
    values: [*]const f32,
    n_tile: usize,
) [n][n_tokens * n_panels]F {
    const column_bytes = value_bytes * panel_rows;
    const block_bytes = column_bytes * block_len;
    const unrolled = 4;
    var sums: [n][n_tokens * n_panels]F = @splat(@splat(@splat(0)));
    for (0..block_len / unrolled) |step| {
        inline for (&sums, 0..) |*block, b| {
            const some = columns + b * block_bytes + step * unrolled * column_bytes;
            inline for (0..n_panels) |p| {
                streams.ask(order.ahead(some, p), unrolled * column_bytes, 3);
            }
            const tokens = values + b * n_tile * block_len + step * unrolled;
            inline for (0..unrolled) |k| inline for (0..n_panels) |p| {
                const weights = load(format, some + p * order.apart + k * column_bytes);
                inline for (0..n_tokens) |i| {
                    const value: F = @splat(tokens[i * block_len + k]);
                    const sum = &block[i * n_panels + p];
                    sum.* = half.multiplyAdd(weights, value, sum.*);
                }
            };
        }
    }
    return sums;
}

/// One value of each row of a panel.
inline fn load(comptime format: Format, column: [*]const u8) F {
    if (format == .f16) return half.load(column);
    const bits = @as(*align(1) const @Vector(panel_rows, u16), @ptrCast(column)).*;
    // A bfloat16 is the upper half of an f32.
    return @bitCast(@as(@Vector(panel_rows, u32), bits) << @splat(16));
}

/// Puts rows as they lie in a file into panels; their number is a multiple of panel_rows.
pub fn pack(rows: []const u8, panels: []u8, n_in: usize) void {
    const from: []align(1) const u16 = std.mem.bytesAsSlice(u16, rows);
    const to: []align(1) u16 = std.mem.bytesAsSlice(u16, panels);
    for (0..from.len / n_in) |row| {
        const panel = to[row / panel_rows * panel_rows * n_in ..];
        for (from[row * n_in ..][0..n_in], 0..) |bits, k| {
            panel[k * panel_rows + row % panel_rows] = bits;
        }
    }
}

/// Reads row `row` of a weight in panels.
pub fn readRow(format: Format, panels: [*]const u8, n_in: usize, row: usize, out: []f32) void {
    switch (format) {
        inline else => |f| {
            const column_bytes = value_bytes * panel_rows;
            const panel = panels + row / panel_rows * n_in * column_bytes;
            for (out[0..n_in], 0..) |*value, k| {
                value.* = @as([panel_rows]f32, load(f, panel + k * column_bytes))[row % panel_rows];
            }
        },
    }
}
