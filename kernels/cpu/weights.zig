//! What the keys of a chunk weigh, and the sums of the values that they weigh.
const std = @import("std");
const across = @import("across.zig");
const cell = @import("cell.zig");
const exponential = @import("exponential.zig");
const half = @import("half.zig");
const scores_of = @import("scores.zig");

const F = half.F;
const lanes = half.lanes;
const Rows = scores_of.Rows;
const Scores = scores_of.Scores;
const chunk_len = scores_of.chunk_len;
const registers = scores_of.registers;

const numbers = std.simd.iota(u32, lanes);

/// What some keys weigh.
pub const Weights = struct {
    /// The largest score, and the sum of the weights when that weighs 1.
    max: f32,
    sum: f32,

    pub const none: Weights = .{ .max = -std.math.inf(f32), .sum = 0 };

    /// Turns products of which the first `n` count into weights.
    pub inline fn of(scores: *Scores, n: usize, scale: f32) Weights {
        const vectors: *align(4) [chunk_len / lanes]F = @ptrCast(scores);
        const lowest: F = @splat(-std.math.inf(f32));
        var largest = lowest;
        inline for (vectors, 0..) |*s, i| {
            const left: @Vector(lanes, u32) = @splat(@intCast(n -| lanes * i));
            const counts = numbers < left;
            s.* = @select(f32, counts, s.* * @as(F, @splat(scale)), lowest);
            largest = @select(f32, largest > s.*, largest, s.*);
        }
        const max = across.all(.max, largest);
        var sum: F = @splat(0);
        inline for (vectors) |*s| {
            s.* = exponential.exp(s.* - @as(F, @splat(max)));
            sum += s.*;
        }
        return .{ .max = max, .sum = across.all(.sum, sum) };
    }

    /// Adds what the next keys give.
    pub inline fn fold(whole: *Weights, values: []f32, next: Weights, more: [*]const f32) void {
        if (next.max == -std.math.inf(f32)) return;
        const max = if (whole.max > next.max) whole.max else next.max;
        const both: [2]f32 = .{ whole.max - max, next.max - max };
        const old, const new = @as([2]f32, exponential.exp(@as(@Vector(2, f32), both)));
        whole.* = .{ .max = max, .sum = whole.sum * old + next.sum * new };
        for (0..values.len / lanes) |i| {
            const at = values[lanes * i ..][0..lanes];
            const kept = @as(F, at.*) * @as(F, @splat(old));
            at.* = half.multiplyAdd(scores_of.floats(more + lanes * i), @splat(new), kept);
        }
    }

    pub inline fn finish(whole: Weights, values: []f32) void {
        const inverse: F = @splat(1 / whole.sum);
        for (0..values.len / lanes) |i| {
            const at = values[lanes * i ..][0..lanes];
            at.* = @as(F, at.*) * inverse;
        }
    }
};

/// Sums of the values of the first `n_keys` rows, each times its weight, for `n` queries.
pub inline fn weigh(
    comptime type_: cell.Type,
    comptime n: usize,
    rows: Rows,
    n_vectors: usize,
    weights: *const [n]Scores,
    n_keys: [n]usize,
    to: [n][*]f32,
) void {
    var first: usize = 0;
    inline for (.{ 4, 2, 1 }) |width| {
        if (width == 1 or width * n <= registers) {
            while (n_vectors - first >= width) : (first += width) {
                weighVectors(type_, n, width, rows, first, weights, n_keys, to);
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
) void {
    var sums: [n][width]F = @splat(@splat(@splat(0)));
    var n_common = n_keys[0];
    inline for (n_keys) |n_own| n_common = @min(n_common, n_own);
    for (0..n_common) |key| {
        const row = rows.first + key * rows.stride;
        inline for (0..width) |i| {
            const value = cell.load(type_, row, first + i);
            inline for (&sums, weights) |*sum, *weight| {
                sum[i] = half.multiplyAdd(value, @splat(weight[key]), sum[i]);
            }
        }
    }
    // What only some see must not touch the others, not even with weight 0.
    inline for (&sums, weights, n_keys) |*sum, *weight, n_own| {
        for (n_common..n_own) |key| {
            const row = rows.first + key * rows.stride;
            inline for (0..width) |i| {
                const value = cell.load(type_, row, first + i);
                sum[i] = half.multiplyAdd(value, @splat(weight[key]), sum[i]);
            }
        }
    }
    inline for (sums, to) |sum, place| {
        inline for (sum, 0..) |s, i| place[lanes * (first + i) ..][0..lanes].* = s;
    }
}
