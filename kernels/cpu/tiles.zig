//! Activations of products: tiles of up to 16 tokens, block after block. A block has the values of
//! each token: floats for weights of floats, else quants, and behind them for all tokens one number
//! after the other.
const std = @import("std");
const across = @import("across.zig");
const dots = @import("dot.zig");
const exponential = @import("exponential.zig");
const formats = @import("format.zig");
const half = @import("half.zig");
const Share = @import("share.zig").Share;

const block_len = formats.block_len;
const F = formats.F;

/// Tokens of a tile.
pub const tile_tokens = 16;
/// Numbers that a tile has for each block and token, beside the quants.
const n_numbers = std.enums.values(Number).len;
/// Bytes that one block of one token takes in a tile, quantized.
pub const token_bytes = block_len + n_numbers * @sizeOf(f32);
/// The same of floats.
pub const float_token_bytes = block_len * @sizeOf(f32);

/// What a tile has of each block and token, in this order: the scale, the scaled sum of the quants,
/// those of its halves, what products begin with where every code has an offset of 1, 8, 16 or 128,
/// and what those of a half begin with where it is 32.
pub const Number = enum(usize) {
    scale,
    sum,
    low_sum,
    high_sum,
    start1,
    start8,
    start16,
    start128,
    low_start32,
    high_start32,
};

/// Rows [n_in, n_tokens] that become tiles.
pub const Rows = extern struct {
    values: [*]const f32,
    /// Floats from one row to the next.
    stride: usize,
    n_in: usize,
    n_tokens: usize,
    /// i32 [n_tokens]: the row that each token has; its own without them.
    ids: ?[*]const i32 = null,
    /// What happens to a row first.
    first: First = .nothing,
    /// f32 [n_in], for rms_norm
    weight: ?[*]const f32 = null,
    eps: f32 = 0,

    fn of(rows: *const Rows, token: usize) [*]const f32 {
        const id: usize = if (rows.ids) |ids| @intCast(ids[token]) else token;
        return rows.values + id * rows.stride;
    }

    pub const First = enum(c_int) {
        nothing,
        /// Divided by the root of its mean square plus eps, times weight (Zhang and Sennrich 2019).
        rms_norm,
        /// Its first half, through x / (1 + e^-x), times its second half (Shazeer 2020); rows have
        /// 2 n_in floats.
        swiglu,
    };
};

/// Puts a share of the rows into tiles.
pub const Tile = *const fn (rows: *const Rows, tiles: [*]u8, share: Share) callconv(.c) void;

/// Bytes of the tiles of so many values, quantized.
pub fn bytes(n_in: usize, n_tokens: usize) usize {
    return n_in / block_len * n_tokens * token_bytes;
}

/// The same of floats.
pub fn floatBytes(n_in: usize, n_tokens: usize) usize {
    return n_in / block_len * n_tokens * float_token_bytes;
}

/// Quantizes a share of the rows.
pub fn quantize(rows: *const Rows, tiles: [*]u8, share: Share) callconv(.c) void {
    switch (rows.first) {
        inline else => |first| tileRows(Group, first, rows, tiles, share),
    }
}

/// Puts a share of the rows into tiles of floats.
pub fn store(rows: *const Rows, tiles: [*]u8, share: Share) callconv(.c) void {
    switch (rows.first) {
        inline else => |first| tileRows(Floats, first, rows, tiles, share),
    }
}

/// `Blocks` writes the blocks that it is given.
fn tileRows(
    comptime Blocks: type,
    comptime what: Rows.First,
    rows: *const Rows,
    tiles: [*]u8,
    share: Share,
) void {
    const n_blocks = rows.n_in / block_len;
    const n_tiles = (rows.n_tokens + tile_tokens - 1) / tile_tokens;
    const first, const end = share.of(n_tiles * n_blocks);
    var at = first;
    while (at < end) {
        const token = at / n_blocks * tile_tokens;
        const n: usize = @min(tile_tokens, rows.n_tokens - token);
        const first_block = at % n_blocks;
        const end_block = @min(n_blocks, first_block + end - at);
        const tile = tiles + n_blocks * token * Blocks.per_token;
        var sources: [tile_tokens][*]const f32 = undefined;
        for (sources[0..n], token..) |*source, t| source.* = rows.of(t);
        var scales: [tile_tokens]f32 = undefined;
        // Threads that share a tile each look at its whole rows: a barrier would cost more.
        if (what == .rms_norm) for (scales[0..n], sources[0..n]) |*scale, source| {
            scale.* = normScale(source[0..rows.n_in], rows.eps);
        };
        var blocks: Blocks = .{};
        for (first_block..end_block) |k| {
            const from = k * block_len;
            const block = tile + k * n * Blocks.per_token;
            for (sources[0..n], 0..) |row, i| {
                const values: Block = row[from..][0..block_len].*;
                blocks.add(switch (what) {
                    .nothing => values,
                    .rms_norm => values * @as(Block, @splat(scales[i])) *
                        @as(Block, rows.weight.?[from..][0..block_len].*),
                    .swiglu => silu(values) *
                        @as(Block, row[rows.n_in + from ..][0..block_len].*),
                }, .{ .block = block, .n = n, .token = i });
            }
        }
        blocks.finish();
        at += end_block - first_block;
    }
}

const Block = @Vector(block_len, f32);

/// 1 / sqrt(mean square + eps).
inline fn normScale(row: []const f32, eps: f32) f32 {
    var squares: Block = @splat(0);
    var k: usize = 0;
    while (k < row.len) : (k += block_len) {
        const values: Block = row[k..][0..block_len].*;
        squares += values * values;
    }
    return 1 / @sqrt(across.all(.sum, squares) / @as(f32, @floatFromInt(row.len)) + eps);
}

/// x / (1 + e^-x), with powers of what is not above 0 alone.
inline fn silu(x: Block) Block {
    const power = exponential.fusedExp(-@abs(x));
    const part = x * reciprocal(@as(Block, @splat(1)) + power);
    return @select(f32, x < @as(Block, @splat(0)), part * power, part);
}

/// 1 / x for x from 1 to 2, within 2e-7 of it: the polynomial of degree 2 whose largest error is
/// least (1 %), and two of Newton's steps. A division takes the time of sixteen additions.
inline fn reciprocal(x: Block) Block {
    const start: Block = @splat(210.0 / 99.0);
    const slope: Block = @splat(-144.0 / 99.0);
    const curve: Block = @splat(32.0 / 99.0);
    const one: Block = @splat(1);
    var found = half.multiplyAddAs(Block, half.multiplyAddAs(Block, curve, x, slope), x, start);
    inline for (0..2) |_| {
        const rest = half.multiplyAddAs(Block, -x, found, one);
        found = half.multiplyAddAs(Block, found, rest, found);
    }
    return found;
}

/// Where a block of token `token` of a tile of `n` goes.
const Place = struct {
    block: [*]u8,
    n: usize,
    token: usize,

    /// The first number of the block.
    inline fn numbers(place: Place) [*]f32 {
        return @ptrCast(@alignCast(place.block + place.n * block_len));
    }
};

/// Blocks that stay floats.
const Floats = struct {
    const per_token = float_token_bytes;

    inline fn add(_: *Floats, values: Block, place: Place) void {
        const to = place.block + place.token * per_token;
        @as(*align(4) Block, @ptrCast(@alignCast(to))).* = values;
    }

    fn finish(_: *Floats) void {}
};

/// Blocks that are quantized together, because what is largest in sixteen of them, and their sums,
/// take hardly longer than those of one.
const Group = struct {
    n: usize = 0,
    values: [across.lanes]Block = undefined,
    places: [across.lanes]Place = undefined,

    const per_token = token_bytes;
    const I16 = across.Row(i32);

    inline fn add(group: *Group, values: Block, place: Place) void {
        group.values[group.n] = values;
        group.places[group.n] = place;
        group.n += 1;
        if (group.n == across.lanes) group.finish();
    }

    fn finish(group: *Group) void {
        if (group.n == 0) return;
        @memset(group.values[group.n..], @splat(0));
        const inverses, const scales = group.scale();
        var lows: [across.lanes]I16 = undefined;
        var highs: [across.lanes]I16 = undefined;
        // Adding 1.5 * 2^23 leaves the nearest whole number in the low bits, to even where two are.
        const magic: f32 = 0x1.8p23;
        const offset: I16 = @splat(@bitCast(magic));
        for (&group.values, inverses, &lows, &highs, 0..) |values, inverse, *low, *high, i| {
            const factor: F = @splat(inverse);
            const halves: [2]F = @bitCast(values);
            low.* = @as(I16, @bitCast(halves[0] * factor + @as(F, @splat(magic)))) -% offset;
            high.* = @as(I16, @bitCast(halves[1] * factor + @as(F, @splat(magic)))) -% offset;
            if (i >= group.n) continue;
            const place = group.places[i];
            const quants = place.block + place.token * block_len;
            quants[0..16].* = @bitCast(@as(@Vector(16, i8), @truncate(low.*)));
            quants[16..32].* = @bitCast(@as(@Vector(16, i8), @truncate(high.*)));
        }
        const low_sums = across.each(.sum, i32, &lows);
        group.putNumbers(scales, low_sums, across.each(.sum, i32, &highs));
        group.n = 0;
    }

    /// What makes the largest value of each block 127, and what undoes it.
    inline fn scale(group: *const Group) struct { [across.lanes]f32, F } {
        var sizes: [across.lanes]I16 = undefined;
        const mask: I16 = @splat(std.math.maxInt(i32));
        // Floats without a sign are in the order of their bits.
        for (&sizes, group.values) |*size, values| {
            const halves: [2]I16 = @bitCast(values);
            const a = halves[0] & mask;
            const b = halves[1] & mask;
            size.* = @select(i32, a > b, a, b);
        }
        const largest: F = @bitCast(across.each(.max, i32, &sizes));
        const zero: F = @splat(0);
        const most: F = @splat(127);
        return .{ @select(f32, largest > zero, most / largest, zero), largest / most };
    }

    /// What products begin with, so that at last they are without an offset of their codes.
    inline fn startOf(comptime offset: i32, sum: I16) F {
        return @bitCast(@as(I16, @splat(dots.start)) -% sum *% @as(I16, @splat(offset)));
    }

    inline fn putNumbers(group: *const Group, scales: F, low: I16, high: I16) void {
        const sum = low +% high;
        const numbers = [n_numbers]F{
            scales,
            scales * @as(F, @floatFromInt(sum)),
            scales * @as(F, @floatFromInt(low)),
            scales * @as(F, @floatFromInt(high)),
            startOf(1, sum),
            startOf(8, sum),
            startOf(16, sum),
            startOf(128, sum),
            startOf(32, low),
            startOf(32, high),
        };
        // Groups begin with a block: most have whole ones.
        switch (group.places[0].n) {
            across.lanes => {
                const all: *align(4) [n_numbers]F = @ptrCast(group.places[0].numbers());
                all.* = numbers;
            },
            inline 4, 8 => |n| for (0..group.n / n) |b| {
                const some: *[n_numbers][n]f32 = @ptrCast(group.places[b * n].numbers());
                inline for (some, numbers) |*to, number| {
                    to.* = @as([across.lanes]f32, number)[b * n ..][0..n].*;
                }
            },
            else => for (group.places[0..group.n], 0..) |place, i| {
                inline for (numbers, 0..) |number, which| {
                    const at = which * place.n + place.token;
                    place.numbers()[at] = @as([across.lanes]f32, number)[i];
                }
            },
        }
    }
};
