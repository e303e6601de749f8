//! Products of many tokens: some blocks of some panels are unpacked once, and then all tiles of
//! tokens pass. What is done with sums is product.zig's, so that an output has the bits that it has
//! with any other number of tokens.
//!
//! Where registers allow it, unpacked panels stand side by side: what an instruction repeats of a
//! token's activations is read once for all of them, for a processor reads hardly more often than
//! it multiplies. One with tiles of its own takes a panel and a tile of tokens (product_amx.zig).
const std = @import("std");
const amx = @import("product_amx.zig");
const blocks = @import("block.zig");
const dots = @import("dot.zig");
const formats = @import("format.zig");
const product = @import("product.zig");
const streams = @import("stream.zig");
const tiling = @import("tiles.zig");
const walk = @import("walk.zig");

const F = formats.F;
const Format = formats.Format;
const Part = walk.Part;
const Work = walk.Work(product.Weight);
const block_len = formats.block_len;
const panel_rows = formats.panel_rows;
const tile_tokens = tiling.tile_tokens;

/// Whether the processor that this module is compiled for gains by it.
const is_used = amx.is_used or dots.has_avx2;
/// Whether registers hold the sums of two panels.
const is_wide = dots.has_vnni and !amx.is_used;
/// Tokens from which on it gains: with AVX-512 VNNI, unpacking takes long beside the products.
pub const tokens_min = if (is_wide) 8 * tile_tokens else tile_tokens;

/// Whether products of so many tokens gain by it. Q8_0 is what it would be unpacked to.
pub inline fn gains(comptime format: Format, n_tokens: usize) bool {
    return is_used and (amx.is_used or format != .q8_0) and n_tokens >= tokens_min;
}

/// Panels that are unpacked together.
const n_panels = if (is_wide) 2 else 1;
/// Most blocks of a panel that are unpacked at once, so that they stay in the nearest cache while
/// tiles of tokens pass; a multiple of those of a group.
const chunk_blocks = if (amx.is_used) 32 else 24;
/// Most tiles of tokens that pass together, and most bytes of them: so much stays in the next cache
/// while panels pass. Fewer do where panels are too few to divide, but so many that unpacking is
/// worth it.
const tiles_most = 16;
const tiles_bytes = 5 << 18;
const tiles_least = 4;
/// Units of a thread that divide evenly enough.
const units_least = 16;
/// Units that a thread takes at a time.
const units_at_once = 8 / n_panels;
/// Bytes of a block of a tile of tokens.
pub const token_block_bytes = tile_tokens * tiling.token_bytes;

/// The panels and tiles of a share. A unit has the panels that are unpacked together and the tiles
/// that pass together; `across` of them have all panels, `down` of them all tiles.
pub fn multiplyTiles(comptime format: Format, work: *const Work, share: product.Share) void {
    const all = work.counts();
    const across = ceil(all.panels, n_panels);
    const fit = tiles_bytes / (work.weight.n_in / block_len * token_block_bytes);
    const down = std.math.clamp(
        ceil(units_least * share.count, across),
        ceil(all.tiles, std.math.clamp(fit, tiles_least, tiles_most)),
        ceil(all.tiles, tiles_least),
    );
    const n_tiles = ceil(all.tiles, down);
    const before = if (amx.is_used) amx.configure(format);
    defer if (amx.is_used) amx.restore(&before);
    var runs = share.runs(across * ceil(all.tiles, n_tiles), units_at_once);
    while (runs.next()) |run| {
        var unit, const end = run;
        while (unit < end) {
            const first = unit % across;
            const n = @min(end - unit, across - first);
            const tile = unit / across * n_tiles;
            multiplyPart(format, work, .{
                .tiles = .{ tile, @min(tile + n_tiles, all.tiles) },
                .panels = .{ n_panels * first, @min(n_panels * (first + n), all.panels) },
            });
            unit += n;
        }
    }
}

/// Full tiles with panels that are unpacked; what is left of both as with few tokens.
fn multiplyPart(comptime format: Format, work: *const Work, part: Part) void {
    const first_tile, const end_tile = part.tiles;
    const end_full = @min(end_tile, work.n_tokens / tile_tokens);
    var p, const end = part.panels;
    while (p + n_panels <= end) : (p += n_panels) {
        multiplyPanels(format, work, p, .{ first_tile, end_full });
        walk.multiplyPart(product, format, work, .{
            .tiles = .{ end_full, end_tile },
            .panels = .{ p, p + n_panels },
        });
    }
    walk.multiplyPart(product, format, work, .{ .tiles = part.tiles, .panels = .{ p, end } });
}

/// Panels from `p` on with some full tiles.
fn multiplyPanels(comptime format: Format, work: *const Work, p: usize, tiles: [2]usize) void {
    const n_blocks = work.weight.n_in / block_len;
    const panel_bytes = work.panels.bytes;
    const per_group = comptime format.blocks();
    const block_bytes = comptime format.groupBytes() * panel_rows / per_group;
    const kernel = if (amx.is_used) amx else @This();
    const step = per_group * evenly(n_blocks / per_group, chunk_blocks / per_group);
    var chunk: Chunk(format) = undefined;
    // Sums between chunks lie side by side: those of an output are as far apart as its rows.
    var between: [tiles_most][tile_tokens * n_panels]F = undefined;
    var first: usize = 0;
    while (first < n_blocks) : (first += step) {
        chunk.first = first;
        chunk.n = @min(step, n_blocks - first);
        inline for (0..n_panels) |i| chunk.unpack(i, work.panel(p + i), n_blocks);
        for (tiles[0]..tiles[1]) |t| {
            const tile = work.tiles + (t * n_blocks + first) * token_block_bytes;
            const near: walk.Place = .{
                .sums = @ptrCast(&between[t - tiles[0]]),
                .added = null,
                .n_out = n_panels * panel_rows,
            };
            const to = if (first + chunk.n < n_blocks) near else work.place(t, p);
            // The same blocks of the next panels are asked for while the first tile passes.
            const next = work.panel(p + n_panels) + first * block_bytes;
            const asked: Ahead = .{ .at = next, .step = panel_bytes };
            const ahead: Ahead = if (t == tiles[0]) asked else .nothing;
            kernel.multiplyTile(format, &chunk, tile, near, to, ahead);
        }
    }
}

/// How many of `n` to take at once, at most `most`, so that the last ones are not far fewer.
fn evenly(n: usize, most: usize) usize {
    return ceil(n, @max(1, ceil(n, most)));
}

fn ceil(n: usize, of: usize) usize {
    return (n + of - 1) / of;
}

/// Blocks of panels that will be wanted soon.
pub const Ahead = struct {
    /// The first of the first panel.
    at: ?[*]const u8,
    /// Bytes from panel to panel.
    step: usize,

    pub const nothing: Ahead = .{ .at = null, .step = 0 };

    /// Asks for block `i` of each.
    pub inline fn ask(ahead: Ahead, comptime format: Format, i: usize) void {
        const bytes = comptime format.groupBytes() * panel_rows / format.blocks();
        const at = ahead.at orelse return;
        inline for (0..n_panels) |p| {
            streams.ask(at + p * ahead.step + i * bytes, bytes, 2);
        }
    }
};

/// Some blocks of panels, unpacked.
pub fn Chunk(comptime format: Format) type {
    const per_group = format.blocks();
    return struct {
        /// The number of the first block.
        first: usize,
        n: usize,
        codes: [n_panels][chunk_blocks][8]dots.Codes,
        scales: [n_panels][chunk_blocks / per_group]formats.Scales(format),

        const Self = @This();

        /// Block `b` with the tokens of a tile, from `first` on.
        inline fn with(
            chunk: *const Self,
            b: usize,
            tile: [*]const u8,
            first: usize,
        ) blocks.Block(format, 0, n_panels) {
            var codes: [n_panels]*const [8]dots.Codes = undefined;
            var scales: [n_panels]*const formats.Scales(format) = undefined;
            inline for (&codes, &scales, 0..) |*own_codes, *own_scales, p| {
                own_codes.* = &chunk.codes[p][b];
                own_scales.* = &chunk.scales[p][b / per_group];
            }
            return .{
                .codes = codes,
                .scales = scales,
                .part = b % per_group,
                .activations = .of(tile + b * token_block_bytes, tile_tokens, first),
            };
        }

        fn unpack(
            chunk: *Self,
            p: usize,
            panel: [*]align(panel_rows) const u8,
            n_blocks: usize,
        ) void {
            const code_bytes = comptime format.codeBytes() * panel_rows;
            const side_bytes = comptime formats.sideBytes(format);
            const sides = panel + n_blocks / per_group * code_bytes;
            for (chunk.codes[p][0..chunk.n], chunk.first..) |*to, b| {
                const group = panel + b / per_group * code_bytes;
                to.* = formats.codes(format, panel_rows, group, b % per_group);
                if (amx.is_used) for (to) |*vector| {
                    vector.* = amx.withSign(format, vector.*);
                };
            }
            const n_groups = chunk.n / per_group;
            for (chunk.scales[p][0..n_groups], chunk.first / per_group..) |*to, g| {
                to.* = formats.scalesOf(format, @alignCast(sides + g * side_bytes));
            }
        }
    };
}

/// Puts into `to` the sums of a tile of tokens with what these blocks add to those in `from`; the
/// first ones begin.
fn multiplyTile(
    comptime format: Format,
    chunk: *const Chunk(format),
    tile: [*]const u8,
    from: walk.Place,
    to: walk.Place,
    ahead: Ahead,
) void {
    const n = comptime if (is_wide and !format.isHalved()) 8 else 4;
    var first: usize = 0;
    while (first < tile_tokens) : (first += n) {
        var sums: [n][n_panels]blocks.Steps = @splat(@splat(@splat(@splat(0))));
        if (chunk.first > 0) {
            inline for (&sums, 0..) |*own, i| inline for (own, 0..) |*sum, p| {
                sum.* = @bitCast(from.get(first + i, p));
            };
        }
        sumBlocks(format, n, chunk, tile, first, &sums, if (first == 0) ahead else .nothing);
        inline for (sums, 0..) |own, i| inline for (own, 0..) |sum, p| {
            to.put(first + i, p, @bitCast(sum));
        };
    }
}

inline fn sumBlocks(
    comptime format: Format,
    comptime n_tokens: usize,
    chunk: *const Chunk(format),
    tile: [*]const u8,
    first: usize,
    sums: *[n_tokens][n_panels]blocks.Steps,
    ahead: Ahead,
) void {
    @setEvalBranchQuota(20_000);
    if (comptime !dots.takesTurns(format)) {
        for (0..chunk.n) |b| {
            ahead.ask(format, b);
            chunk.with(b, tile, first).addTo(n_tokens, sums);
        }
        return;
    }
    ahead.ask(format, 0);
    var turns: blocks.Turns(format, 0) = .start(chunk.with(0, tile, first), sums);
    for (1..chunk.n) |b| {
        ahead.ask(format, b);
        turns.follow(chunk.with(b, tile, first), sums);
    }
    turns.finish();
}
