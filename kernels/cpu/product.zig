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
const blocks = @import("block.zig");
const dots = @import("dot.zig");
const formats = @import("format.zig");
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
const Steps = blocks.Steps;

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
            const activations: blocks.Activations = .of(block, n_tile, first);
            inline for (0..blocks.n_steps) |s| inline for (&sums, 0..) |*turn, at| {
                const from = at * n_sharing;
                var weights: [n_sharing][8]dots.Codes = undefined;
                inline for (&weights, from..) |*own, p| {
                    const rows = panel + p * order.apart + g * code_bytes + 4 * dots.rows * s;
                    own.* = formats.codes(format, dots.rows, rows, part);
                }
                var codes: [n_sharing]*const [8]dots.Codes = undefined;
                var own_scales: [n_sharing]*const formats.Scales(format) = undefined;
                inline for (&codes, &weights) |*to, *all| to.* = all;
                inline for (&own_scales, scales[from..][0..n_sharing]) |*to, *own| to.* = own;
                const met: blocks.Block(format, s, n_sharing) = .{
                    .codes = codes,
                    .scales = own_scales,
                    .part = part,
                    .activations = activations,
                };
                comptime var i = 0;
                inline while (i < n_tokens) : (i += at_once) {
                    const count = comptime @min(at_once, n_tokens - i);
                    met.from(i).addTo(count, turn[i..][0..count]);
                }
            };
            block += n_tile * token_bytes;
        }
    }
    return @bitCast(sums);
}
