//! Products of quantized weights with quantized activations: one layout for one token and for many.
//! Compiled once for each CPU variant.
//!
//! Weights lie in panels of 16 rows (format.zig), so that one instruction multiplies 64 of them, or
//! as many as a register holds, with 4 activations that it repeats (dot.zig).
//!
//! Activations lie in tiles (tiles.zig), which have what an offset takes away, or what a min adds.
//! Where many tokens gain by it, panels are unpacked once for all of them (product_unpacked.zig).
//!
//! Each output is a sum over the blocks in order, whatever the number of tokens or of threads.
const std = @import("std");
const dots = @import("dot.zig");
const formats = @import("format.zig");
const half = @import("half.zig");
const streams = @import("stream.zig");
const tiling = @import("tiles.zig");
const unpacked = @import("product_unpacked.zig");
const walk = @import("walk.zig");

pub const Panels = streams.Panels;
pub const Share = @import("share.zig").Share;
pub const Rows = tiling.Rows;
pub const tileBytes = tiling.bytes;
pub const Format = formats.Format;
pub const layout_version = formats.layout_version;
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
    /// What will be multiplied next, if that is known.
    next: ?*const Panels = null,

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
pub const Functions = extern struct { quantize: tiling.Tile, multiply: Multiply };

/// Those of the CPU that this module is compiled for.
pub const vector: Functions = .{ .quantize = &tiling.quantize, .multiply = &multiply };

const tile_tokens = tiling.tile_tokens;
const token_bytes = tiling.token_bytes;
const Number = tiling.Number;
const F = formats.F;
/// What a step has of each of its rows; a panel takes n_steps of them.
const Step = @Vector(dots.rows, f32);
const n_steps = panel_rows / dots.rows;
const Steps = [n_steps]Step;

/// Tokens that one pass over a panel takes; registers hold a sum of each.
pub const passes: []const usize = if (!dots.has_avx2)
    &.{ 4, 2, 1 }
else if (unpacked.tokens_min == tile_tokens) &.{ 8, 4, 2, 1 } else &.{ 16, 8, 4, 2, 1 };
/// Those of them that take turns with one block.
const at_once = 8;

/// Panels that a pass takes: two where registers leave room, so that what an instruction repeats
/// of a token's activations is read once for both.
pub fn panelsOf(comptime format: Format, comptime n_tokens: usize) usize {
    const has_room = n_tokens == 4 or n_tokens == 8 and !format.isHalved();
    return if (dots.has_vnni and has_room) 2 else 1;
}

/// Bytes of panels that stay in the cache while all tiles pass.
pub const panels_at_once = 64 << 10;

fn multiply(
    weight: *const Weight,
    tiles: [*]const u8,
    n_tokens: usize,
    added: ?[*]const f32,
    sums: [*]f32,
    share: Share,
) callconv(.c) void {
    const work: walk.Work(Weight) = .of(weight, tiles, n_tokens, added, sums);
    switch (weight.format) {
        inline else => |f| if (unpacked.gains(f, n_tokens))
            unpacked.multiplyTiles(f, &work, share)
        else
            walk.multiplyTiles(@This(), f, &work, share),
    }
}

/// The sums of some panels and some tokens of a tile, from token `first` on. `order` says where the
/// panels after the first one lie, and what to ask for: streams.Row or streams.Stream.
pub inline fn sumBlocks(
    comptime format: Format,
    comptime n_tokens: usize,
    comptime n_panels: usize,
    panel: [*]align(panel_rows) const u8,
    order: anytype,
    n_blocks: usize,
    tile: [*]const u8,
    n_tile: usize,
    first: usize,
) [n_tokens][n_panels]Steps {
    @setEvalBranchQuota(20_000);
    const code_bytes = comptime format.codeBytes() * panel_rows;
    const per_group = comptime format.blocks();
    const step_bytes = comptime format.groupBytes() * panel_rows / per_group;
    const side_bytes = comptime formats.sideBytes(format);
    const n_groups = n_blocks / per_group;
    const panel_bytes = n_blocks * step_bytes;
    // Its scales lie farther off than what is asked for, so those of the next are asked for early.
    const is_long = panel_bytes > order.ahead_bytes;
    // Those that share what is repeated; others take turns, so that registers hold their codes.
    const n_sharing = comptime if (dots.has_vnni) n_panels else 1;
    const n_turns = n_panels / n_sharing;
    comptime std.debug.assert(n_turns == 1 or n_tokens == 1);
    var sums: [n_turns][n_tokens][n_sharing]Steps = @splat(@splat(@splat(@splat(@splat(0)))));
    var block = tile;
    for (0..n_groups) |g| {
        var scales: [n_panels]formats.Scales(format) = undefined;
        inline for (&scales, 0..) |*own, p| {
            const group = panel + p * order.apart + n_groups * code_bytes + g * side_bytes;
            own.* = formats.scalesOf(format, @alignCast(group));
            if (is_long) streams.ask(group + order.step(panel_bytes, n_panels), side_bytes, 2);
        }
        for (0..per_group) |part| {
            const here = panel + (g * per_group + part) * step_bytes;
            inline for (0..n_panels) |p| streams.ask(order.ahead(here, p), step_bytes, 3);
            const activations: Activations = .of(block, n_tile, first);
            inline for (0..n_steps) |s| inline for (&sums, 0..) |*turn, at| {
                const from = at * n_sharing;
                var weights: [n_sharing][8]dots.Codes = undefined;
                inline for (&weights, from..) |*own, p| {
                    const rows = panel + p * order.apart + g * code_bytes + 4 * dots.rows * s;
                    own.* = formats.codes(format, dots.rows, rows, part);
                }
                const own_scales = scales[from..][0..n_sharing];
                comptime var i = 0;
                inline while (i < n_tokens) : (i += at_once) {
                    const count = comptime @min(at_once, n_tokens - i);
                    addBlock(format, count, i, turn, weights, own_scales, part, s, activations);
                }
            };
            block += n_tile * token_bytes;
        }
    }
    return @bitCast(sums);
}

/// A block of a tile, from one of its tokens on.
pub const Activations = struct {
    quants: [*]const i32,
    numbers: [*]const f32,
    n_tile: usize,

    pub inline fn of(block: [*]const u8, n_tile: usize, first: usize) Activations {
        return .{
            .quants = @ptrCast(@alignCast(block + first * block_len)),
            .numbers = @ptrCast(@alignCast(block + n_tile * block_len + 4 * first)),
            .n_tile = n_tile,
        };
    }

    /// Number `which` of token `i`.
    inline fn number(a: Activations, comptime which: Number, i: usize) f32 {
        return a.numbers[@backingInt(which) * a.n_tile + i];
    }

    /// What the products of token `i` with a part of a block begin with, so that the offset of the
    /// codes is gone at last.
    pub inline fn start(
        a: Activations,
        comptime format: Format,
        comptime part: usize,
        i: usize,
    ) i32 {
        return @bitCast(a.number(switch (comptime format.offset()) {
            0 => return dots.startOf(format),
            1 => .start1,
            8 => .start8,
            16 => .start16,
            32 => if (part == 0) .low_start32 else .high_start32,
            128 => .start128,
            else => comptime unreachable,
        }, i));
    }
};

/// Adds what the rows of step `s` of a block give to `count` tokens, from `first` on.
inline fn addBlock(
    comptime format: Format,
    comptime count: usize,
    comptime first: usize,
    sums: anytype,
    weights: anytype,
    scales: *const [weights.len]formats.Scales(format),
    part: usize,
    comptime s: usize,
    activations: Activations,
) void {
    const n_panels = weights.len;
    const n_words = comptime 8 / format.parts();
    const begin = comptime dots.startOf(format);
    var found: [format.parts()][count][n_panels]dots.Sums = undefined;
    inline for (&found, 0..) |*some, at| {
        var starts: [count]i32 = undefined;
        inline for (&starts, first..) |*start, i| start.* = activations.start(format, at, i);
        var codes: [n_panels]*const [n_words]dots.Codes = undefined;
        inline for (&codes, &weights) |*own, *all| own.* = all[n_words * at ..][0..n_words];
        const quants = activations.quants + 8 * first + n_words * at;
        some.* = dots.dots(format, n_words, count, n_panels, codes, quants, starts);
    }
    inline for (0..count) |i| inline for (0..n_panels) |p| {
        var own: Products(format) = undefined;
        inline for (&own, found) |*to, some| to.* = some[i][p];
        const sum = &sums[first + i][p][s];
        const t = first + i;
        sum.* = addProducts(format, begin, sum.*, own, &scales[p], part, s, activations, t);
    };
}

/// Sums of the products of a block, or of each half of one whose halves have scales.
pub fn Products(comptime format: Format) type {
    return [format.parts()]dots.Sums;
}

/// `sum` and what the products of a block with token `i`, which began with `begin`, add to it.
pub inline fn addProducts(
    comptime format: Format,
    comptime begin: i32,
    sum: Step,
    products: Products(format),
    scales: *const formats.Scales(format),
    part: usize,
    comptime s: usize,
    activations: Activations,
    comptime i: usize,
) Step {
    const a_scale: Step = @splat(activations.number(.scale, i));
    if (comptime format.isHalved()) {
        const low_scale, const high_scale = scales.scale[2 * part ..][0..2].*;
        const scaled_low = scaledBy(format, begin, products[0], step(low_scale, s));
        const high = valueOf(begin, products[1]);
        const scaled = half.multiplyAddAs(Step, high, step(high_scale, s), scaled_low);
        if (comptime !format.hasMin()) return half.multiplyAddAs(Step, scaled, a_scale, sum);
        const low_min, const high_min = scales.min[2 * part ..][0..2].*;
        const low_sum: Step = @splat(activations.number(.low_sum, i));
        const high_sum: Step = @splat(activations.number(.high_sum, i));
        const with_low = half.multiplyAddAs(Step, step(low_min, s), low_sum, sum);
        const with_mins = half.multiplyAddAs(Step, step(high_min, s), high_sum, with_low);
        return half.multiplyAddAs(Step, scaled, a_scale, with_mins);
    }
    const scaled = scaledBy(format, begin, products[0], step(scales.scale[part], s));
    const with_block = half.multiplyAddAs(Step, scaled, a_scale, sum);
    if (comptime !format.hasMin()) return with_block;
    const a_sum: Step = @splat(activations.number(.sum, i));
    return half.multiplyAddAs(Step, step(scales.min[part], s), a_sum, with_block);
}

/// Sums of products that began with `begin`, times their scales, rounded once.
inline fn scaledBy(
    comptime format: Format,
    comptime begin: i32,
    products: dots.Sums,
    scale: Step,
) Step {
    // MXFP4 has scales that are too large for what follows.
    if (begin == 0 or format == .mxfp4) return valueOf(begin, products) * scale;
    // One step less for each token. Scales have no more than 18 bits, so this product is exact.
    const less = scale * @as(Step, @splat(-dots.start_float));
    return half.multiplyAddAs(Step, @bitCast(products), scale, less);
}

/// Sums of products that began with `begin`, without it.
inline fn valueOf(comptime begin: i32, products: dots.Sums) Step {
    if (begin == 0) return @floatFromInt(products);
    return @as(Step, @bitCast(products)) - @as(Step, @splat(dots.start_float));
}

/// What a step takes of the numbers of all rows.
inline fn step(numbers: F, comptime s: usize) Step {
    return @as(Steps, @bitCast(numbers))[s];
}
