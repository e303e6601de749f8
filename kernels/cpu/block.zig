//! What a block of a weight adds to the sums of some tokens: its products (dot.zig), scaled, and
//! its mins.
//!
//! To scale takes operations that wait for each other. So where a processor gains by it, products
//! of some tokens are added in turns with the multiplication of the next ones.
const std = @import("std");
const dots = @import("dot.zig");
const formats = @import("format.zig");
const half = @import("half.zig");
const order = @import("order.zig");
const tiling = @import("tiles.zig");

const F = formats.F;
const Format = formats.Format;
const Number = tiling.Number;
const Scales = formats.Scales;
const block_len = formats.block_len;

/// What a step has of each of its rows; a panel takes n_steps of them.
const Step = @Vector(dots.rows, f32);
pub const n_steps = formats.panel_rows / dots.rows;
pub const Steps = [n_steps]Step;

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

    /// The same from its token `first` on.
    pub inline fn from(a: Activations, first: usize) Activations {
        return .{
            .quants = a.quants + block_len / 4 * first,
            .numbers = a.numbers + first,
            .n_tile = a.n_tile,
        };
    }

    /// Number `which` of token `i`.
    inline fn number(a: Activations, comptime which: Number, i: usize) f32 {
        return a.numbers[@backingInt(which) * a.n_tile + i];
    }

    /// What the products of token `i` with a part of a block begin with, so that the offset of the
    /// codes is gone at last.
    inline fn start(
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

/// The rows of step `s` of some panels, in a block, and its activations.
pub fn Block(comptime format: Format, comptime s: usize, comptime n_panels: usize) type {
    return struct {
        codes: [n_panels]*const [8]dots.Codes,
        scales: [n_panels]*const Scales(format),
        /// The number of the block in its group.
        part: usize,
        activations: Activations,

        const Self = @This();
        const n_words = 8 / format.parts();
        /// What products begin with.
        const begin = dots.startOf(format);

        fn Found(comptime n: usize) type {
            return [format.parts()][n][n_panels]dots.Sums;
        }

        /// The same from its token `first` on.
        pub inline fn from(block: Self, first: usize) Self {
            var own = block;
            own.activations = block.activations.from(first);
            return own;
        }

        /// Adds to the sums of `n` tokens.
        pub inline fn addTo(block: Self, comptime n: usize, sums: *[n][n_panels]Steps) void {
            if (comptime !dots.takesTurns(format) or n != 2 * dots.together) {
                return block.add(n, &block.multiply(n, dots.no_turns), sums);
            }
            var turns: Turns(format, s) = .start(block, sums[0..dots.together]);
            turns.follow(block.from(dots.together), sums[dots.together..]);
            turns.finish();
        }

        inline fn multiply(block: Self, comptime n: usize, turns: anytype) Found(n) {
            const a = block.activations;
            var found: Found(n) = undefined;
            inline for (&found, 0..) |*some, at| {
                const word = n_words * at;
                var starts: [n]i32 = undefined;
                inline for (&starts, 0..) |*start, i| start.* = a.start(format, at, i);
                var codes: [n_panels]*const [n_words]dots.Codes = undefined;
                inline for (&codes, block.codes) |*to, all| to.* = all[word..][0..n_words];
                const quants = a.quants + word;
                some.* = dots.dots(format, n_words, n, n_panels, codes, quants, starts, turns);
            }
            return found;
        }

        inline fn add(
            block: Self,
            comptime n: usize,
            found: *const Found(n),
            sums: *[n][n_panels]Steps,
        ) void {
            const a = block.activations;
            inline for (sums, 0..) |*own, i| inline for (own, block.scales, 0..) |*to, scales, p| {
                var products: Products(format) = undefined;
                inline for (&products, found) |*one, some| one.* = some[i][p];
                const part = block.part;
                to[s] = addProducts(format, begin, to[s], products, scales, part, s, a, i);
            };
        }
    };
}

/// Adds the products of some tokens with a panel in turns with the multiplication of the next ones,
/// in stages; what those do is that of addProducts().
pub fn Turns(comptime format: Format, comptime s: usize) type {
    const n = dots.together;
    const Own = Block(format, s, 1);
    return struct {
        block: Own,
        found: Own.Found(n),
        sums: *[n][1]Steps,
        /// Of the token that is at work.
        scaled: Step = undefined,

        const Self = @This();
        const Stage = enum { convert, scale, add, add_min };
        const stages = std.enums.values(Stage);
        /// There is one for each word with each token, so each stage takes every other.
        const turns_each = 8 / stages.len;

        pub inline fn start(block: Own, sums: *[n][1]Steps) Self {
            return .{ .block = block, .found = block.multiply(n, dots.no_turns), .sums = sums };
        }

        /// Multiplies the next ones while it adds those before.
        pub inline fn follow(turns: *Self, block: Own, sums: *[n][1]Steps) void {
            turns.found = block.multiply(n, turns);
            turns.block = block;
            turns.sums = sums;
        }

        /// Adds the last ones.
        pub inline fn finish(turns: *const Self) void {
            turns.block.add(n, &turns.found, turns.sums);
        }

        pub inline fn after(turns: *Self, comptime turn: usize) void {
            if (turn % turns_each != 0) return;
            const at = turn / turns_each;
            turns.do(stages[at % stages.len], at / stages.len);
        }

        inline fn do(turns: *Self, comptime stage: Stage, comptime i: usize) void {
            const scales = turns.block.scales[0];
            const part = turns.block.part;
            const a = turns.block.activations;
            const sum = &turns.sums[i][0][s];
            const changed = switch (stage) {
                .convert, .scale => &turns.scaled,
                .add, .add_min => sum,
            };
            const a_scale: Step = @splat(a.number(.scale, i));
            const a_sum: Step = @splat(a.number(.sum, i));
            changed.* = switch (stage) {
                .convert => @floatFromInt(turns.found[0][i][0]),
                .scale => turns.scaled * scales.scale[part],
                .add => half.multiplyAddAs(Step, turns.scaled, a_scale, sum.*),
                .add_min => half.multiplyAddAs(Step, scales.min[part], a_sum, sum.*),
            };
            const parts: *[half.n_parts]half.Part = @ptrCast(changed);
            inline for (parts) |*vector| order.keep(vector);
        }
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
