//! What the keys of a chunk weigh, and the sums of the values that they weigh.
const std = @import("std");
const across = @import("across.zig");
const cell = @import("cell.zig");
const exponential = @import("exponential.zig");
const half = @import("half.zig");
const order = @import("order.zig");
const scores_of = @import("scores.zig");

const F = half.F;
const lanes = half.lanes;
const Ahead = scores_of.Ahead;
const Rows = scores_of.Rows;
const Scores = scores_of.Scores;
const chunk_len = scores_of.chunk_len;
const registers = scores_of.registers;

const numbers = std.simd.iota(u32, lanes);

/// What some keys weigh for `n` queries: the largest score of each, and the sum of the weights when
/// that weighs 1.
pub fn Weights(comptime n: usize) type {
    return struct {
        max: N,
        sum: N,

        const N = @Vector(n, f32);
        const All = @This();

        pub const none: All = .{ .max = @splat(-std.math.inf(f32)), .sum = @splat(0) };

        /// Turns products, of which the first `n_keys` of each query count, into weights.
        pub inline fn of(scores: *[n]Scores, n_keys: [n]usize, scale: f32) All {
            const lowest: F = @splat(-std.math.inf(f32));
            var largest: [n]F = @splat(lowest);
            inline for (scores, &largest, n_keys) |*score, *most, count| {
                const vectors: *align(4) Vectors = @ptrCast(score);
                inline for (vectors, 0..) |*s, i| {
                    const left: @Vector(lanes, u32) = @splat(@intCast(count -| lanes * i));
                    s.* = @select(f32, numbers < left, s.* * @as(F, @splat(scale)), lowest);
                    most.* = @select(f32, most.* > s.*, most.*, s.*);
                }
            }
            const max = across.ofSome(.max, n, &largest);
            var sums: [n]F = @splat(@splat(0));
            inline for (scores, &sums, 0..) |*score, *sum, q| {
                const vectors: *align(4) Vectors = @ptrCast(score);
                inline for (vectors) |*s| {
                    s.* = exponential.fusedExp(s.* - @as(F, @splat(max[q])));
                    sum.* += s.*;
                }
            }
            return .{ .max = max, .sum = across.ofSome(.sum, n, &sums) };
        }

        /// With the next keys, which give `more`: that is added to the values of each query.
        pub inline fn fold(whole: All, next: All, values: [n][]f32, more: [n][*]const f32) All {
            const max = @select(f32, whole.max > next.max, whole.max, next.max);
            const differences: [2]N = .{ whole.max - max, next.max - max };
            const factors = exponential.fusedExp(@as(@Vector(2 * n, f32), @bitCast(differences)));
            const old, const new = @as([2]N, @bitCast(factors));
            const counts = next.max > none.max;
            inline for (values, more, 0..) |to, from, q| if (counts[q]) {
                for (0..to.len / lanes) |i| {
                    const at = to[lanes * i ..][0..lanes];
                    const kept = @as(F, at.*) * @as(F, @splat(old[q]));
                    const added = scores_of.floats(from + lanes * i);
                    at.* = half.multiplyAdd(added, @splat(new[q]), kept);
                }
            };
            const sum = @select(f32, counts, whole.sum * old + next.sum * new, whole.sum);
            return .{ .max = max, .sum = sum };
        }
    };
}

/// Divides the values of a query by the sum of all weights.
pub inline fn divide(values: []f32, sum: f32) void {
    const inverse: F = @splat(1 / sum);
    for (0..values.len / lanes) |i| {
        const at = values[lanes * i ..][0..lanes];
        at.* = @as(F, at.*) * inverse;
    }
}

const Vectors = [chunk_len / lanes]F;

/// Sums of the values of the first `n_keys` rows, each times its weight, for `n` queries. `ahead`
/// is asked for meanwhile.
pub inline fn weigh(
    comptime type_: cell.Type,
    comptime n: usize,
    rows: Rows,
    n_vectors: usize,
    weights: *const [n]Scores,
    n_keys: [n]usize,
    to: [n][*]f32,
    ahead: Ahead,
) void {
    var first: usize = 0;
    inline for (.{ 4, 2, 1 }) |width| {
        if (width == 1 or width * n <= registers) {
            while (n_vectors - first >= width) : (first += width) {
                const own = ahead.after(first);
                weighVectors(type_, n, width, rows, first, weights, n_keys, to, own);
            }
        }
    }
}

/// The same of `width` vectors of each row.
inline fn weighVectors(
    comptime type_: cell.Type,
    comptime n: usize,
    comptime width: usize,
    rows: Rows,
    first: usize,
    weights: *const [n]Scores,
    n_keys: [n]usize,
    to: [n][*]f32,
    ahead: Ahead,
) void {
    var sums: [n][width][half.n_parts]half.Part = @splat(@splat(@splat(@splat(0))));
    var n_common = n_keys[0];
    inline for (n_keys) |n_own| n_common = @min(n_common, n_own);
    for (0..n_common) |key| {
        const row = rows.first + key * rows.stride;
        ahead.ask(key, width);
        inline for (0..width) |i| {
            const value = cell.load(type_, row, first + i);
            inline for (0..half.n_parts) |p| {
                inline for (&sums, weights) |*sum, *weight| {
                    addPart(p, &sum[i][p], value, weight[key]);
                }
                if (half.n_parts > 1) inline for (&sums) |*sum| order.keep(&sum[i][p]);
            }
        }
    }
    // What only some see must not touch the others, not even with weight 0.
    inline for (&sums, weights, n_keys) |*sum, *weight, n_own| {
        for (n_common..n_own) |key| {
            const row = rows.first + key * rows.stride;
            inline for (0..width) |i| {
                const value = cell.load(type_, row, first + i);
                inline for (0..half.n_parts) |p| addPart(p, &sum[i][p], value, weight[key]);
            }
        }
    }
    inline for (sums, to) |sum, place| {
        inline for (sum, 0..) |s, i| place[lanes * (first + i) ..][0..lanes].* = half.whole(s);
    }
}

inline fn addPart(comptime p: usize, sum: *half.Part, values: F, weight: f32) void {
    sum.* = half.multiplyAddAs(half.Part, half.part(values, p), @splat(weight), sum.*);
}
