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
const tiling = @import("tiles.zig");
const unpacked = @import("product_unpacked.zig");

pub const Share = @import("share.zig").Share;
const Runs = @import("share.zig").Runs;
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

/// Tiles that a thread takes at a time where panels are too few to divide.
const tiles_at_once = 4;
/// Panels of a thread that are too few to divide.
const few_panels = 16;
/// Bytes of panels that stay in the cache while all tiles pass.
pub const panels_at_once = 64 << 10;
/// How far ahead of its use a weight is asked for: the processor's own way stops at pages.
pub const prefetch_bytes = 24 << 10;

fn multiply(
    weight: *const Weight,
    tiles: [*]const u8,
    n_tokens: usize,
    added: ?[*]const f32,
    sums: [*]f32,
    share: Share,
) callconv(.c) void {
    const work: Work(Weight) = .of(weight, tiles, n_tokens, added, sums);
    switch (weight.format) {
        inline else => |f| if (unpacked.gains(f, n_tokens))
            unpacked.multiplyTiles(f, &work, share)
        else
            multiplyTiles(@This(), f, &work, share),
    }
}

/// What is multiplied with what, and where the sums go; see Multiply.
pub fn Work(comptime W: type) type {
    return struct {
        weight: *const W,
        panel_bytes: usize,
        tiles: [*]const u8,
        n_tokens: usize,
        added: ?[*]const f32,
        sums: [*]f32,

        const Self = @This();

        /// The arguments of Multiply.
        pub fn of(
            weight: *const W,
            tiles: [*]const u8,
            n_tokens: usize,
            added: ?[*]const f32,
            sums: [*]f32,
        ) Self {
            return .{
                .weight = weight,
                .panel_bytes = weight.panelBytes(),
                .tiles = tiles,
                .n_tokens = n_tokens,
                .added = added,
                .sums = sums,
            };
        }

        pub fn counts(work: *const Self) Parts.Counts {
            return .{
                .tiles = (work.n_tokens + tile_tokens - 1) / tile_tokens,
                .panels = work.weight.n_out / panel_rows,
            };
        }

        pub fn panel(work: *const Self, p: usize) [*]align(panel_rows) const u8 {
            return @alignCast(work.weight.panels + p * work.panel_bytes);
        }

        /// Where the sums of a tile and a panel go.
        pub fn place(work: *const Self, t: usize, p: usize) Place {
            const at = t * tile_tokens * work.weight.n_out + p * panel_rows;
            return .{
                .sums = work.sums + at,
                .added = if (work.added) |added| added + at else null,
                .n_out = work.weight.n_out,
            };
        }
    };
}

/// Where the sums of some tokens and panels go.
pub const Place = struct {
    sums: [*]f32,
    added: ?[*]const f32,
    n_out: usize,

    /// Puts the sums of token `i` and panel `p`, added to what is there to be added.
    pub inline fn put(place: Place, i: usize, p: usize, sum: F) void {
        const at = i * place.n_out + p * panel_rows;
        (place.sums + at)[0..panel_rows].* =
            if (place.added) |added| sum + @as(F, added[at..][0..panel_rows].*) else sum;
    }

    /// What was put there.
    pub inline fn get(place: Place, i: usize, p: usize) F {
        return place.sums[i * place.n_out + p * panel_rows ..][0..panel_rows].*;
    }
};

/// Tiles and panels that a thread multiplies with each other: first and end.
pub const Part = struct {
    tiles: [2]usize,
    panels: [2]usize,
};

/// The parts of a share.
pub const Parts = struct {
    whole: Part,
    is_by_tile: bool,
    runs: Runs,

    /// `most` are the most panels of a part, or tiles where a part has all panels; fewer than `few`
    /// panels for each thread do not divide evenly, many tiles do.
    pub fn of(share: Share, n: Counts, most: Counts, few: usize) Parts {
        const is_by_tile = n.tiles >= 4 * share.count and n.panels < few * share.count;
        return .{
            .whole = .{ .tiles = .{ 0, n.tiles }, .panels = .{ 0, n.panels } },
            .is_by_tile = is_by_tile,
            .runs = if (is_by_tile)
                share.runs(n.tiles, most.tiles)
            else
                share.runs(n.panels, most.panels),
        };
    }

    pub const Counts = struct { tiles: usize, panels: usize };

    pub fn next(parts: *Parts) ?Part {
        const run = parts.runs.next() orelse return null;
        var part = parts.whole;
        if (parts.is_by_tile) part.tiles = run else part.panels = run;
        return part;
    }
};

/// The panels and tiles of a share. `kind` is this file or another that has such tiles and blocks.
pub fn multiplyTiles(
    comptime kind: type,
    comptime format: anytype,
    work: anytype,
    share: Share,
) void {
    const n_at_once = @max(1, kind.panels_at_once / work.panel_bytes);
    const most: Parts.Counts = .{ .tiles = tiles_at_once, .panels = n_at_once };
    var parts: Parts = .of(share, work.counts(), most, few_panels);
    while (parts.next()) |part| {
        var from, const end = part.panels;
        while (from < end) : (from += n_at_once) {
            multiplyPart(kind, format, work, .{
                .tiles = part.tiles,
                .panels = .{ from, @min(from + n_at_once, end) },
            });
        }
    }
}

/// The tiles and panels of a part.
pub fn multiplyPart(
    comptime kind: type,
    comptime format: anytype,
    work: anytype,
    part: Part,
) void {
    const n_in = work.weight.n_in;
    const tile_bytes = kind.tileBytes(n_in, tile_tokens);
    for (part.tiles[0]..part.tiles[1]) |t| {
        const n: usize = @min(tile_tokens, work.n_tokens - t * tile_tokens);
        const tile = work.tiles + t * tile_bytes;
        var p, const end = part.panels;
        while (p < end) : (p += panels_most) {
            const panels: [2]usize = .{ p, @min(end, p + panels_most) };
            multiplyTile(kind, format, work, panels, tile, n, work.place(t, p));
        }
    }
}

/// Most panels of a pass.
const panels_most = 2;

/// Some panels with the `n` tokens of a tile, as many at a time as there are registers for.
fn multiplyTile(
    comptime kind: type,
    comptime format: anytype,
    work: anytype,
    panels: [2]usize,
    tile: [*]const u8,
    n: usize,
    place: Place,
) void {
    @setEvalBranchQuota(20_000);
    const n_blocks = work.weight.n_in / block_len;
    var done: usize = 0;
    inline for (kind.passes) |pass| {
        while (n - done >= pass) : (done += pass) {
            const first, const end = panels;
            var p = first;
            inline for (.{ panels_most, 1 }) |count| {
                if (comptime count > kind.panelsOf(format, pass)) continue;
                while (end - p >= count) : (p += count) {
                    const from = work.panel(p);
                    const sums = kind.sumBlocks(format, pass, count, from, n_blocks, tile, n, done);
                    inline for (sums, 0..) |own, i| inline for (own, 0..) |steps, q| {
                        place.put(done + i, p - first + q, @bitCast(steps));
                    };
                }
            }
        }
    }
}

/// The sums of some panels and some tokens of a tile, from token `first` on.
pub inline fn sumBlocks(
    comptime format: Format,
    comptime n_tokens: usize,
    comptime n_panels: usize,
    panel: [*]align(panel_rows) const u8,
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
    const is_long = panel_bytes > prefetch_bytes;
    var sums: [n_tokens][n_panels]Steps = @splat(@splat(@splat(@splat(0))));
    var block = tile;
    for (0..n_groups) |g| {
        var scales: [n_panels]formats.Scales(format) = undefined;
        inline for (&scales, 0..) |*own, p| {
            const group = panel + p * panel_bytes + n_groups * code_bytes + g * side_bytes;
            own.* = formats.scalesOf(format, @alignCast(group));
            if (is_long) inline for (0..(side_bytes + 63) / 64) |i| {
                @prefetch(group + n_panels * panel_bytes + 64 * i, .{ .locality = 2 });
            };
        }
        for (0..per_group) |part| {
            // Panels lie behind one another, so this reaches into the next ones too.
            const ahead = panel + (g * per_group + part) * step_bytes + prefetch_bytes;
            inline for (0..n_panels) |p| inline for (0..(step_bytes + 63) / 64) |i| {
                @prefetch(ahead + p * panel_bytes + 64 * i, .{});
            };
            const activations: Activations = .of(block, n_tile, first);
            inline for (0..n_steps) |s| {
                var weights: [n_panels][8]dots.Codes = undefined;
                inline for (&weights, 0..) |*own, p| {
                    const rows = panel + p * panel_bytes + g * code_bytes + 4 * dots.rows * s;
                    own.* = formats.codes(format, dots.rows, rows, part);
                }
                comptime var i = 0;
                inline while (i < n_tokens) : (i += at_once) {
                    const count = comptime @min(at_once, n_tokens - i);
                    addBlock(format, count, i, &sums, weights, &scales, part, s, activations);
                }
            }
            block += n_tile * token_bytes;
        }
    }
    return sums;
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
            0 => return dots.start,
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
        sum.* = addProducts(format, dots.start, sum.*, own, &scales[p], part, s, activations, t);
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
