//! Reductions across the lanes of vectors: of one by halves, and of sixteen at once, whose lanes
//! become one number each. A vector reduced by itself takes as many steps for one number.
const std = @import("std");

pub const lanes = 16;

pub const Op = enum { max, sum };

/// Lane by lane. No number is NaN: @max would look for one.
inline fn apply(comptime op: Op, a: anytype, b: @TypeOf(a)) @TypeOf(a) {
    const T = @typeInfo(@TypeOf(a)).vector.child;
    return switch (op) {
        .max => @select(T, a > b, a, b),
        .sum => if (@typeInfo(T) == .int) a +% b else a + b,
    };
}

/// All lanes, by halves: one step after another would wait for each.
pub inline fn all(comptime op: Op, values: anytype) @typeInfo(@TypeOf(values)).vector.child {
    const vector = @typeInfo(@TypeOf(values)).vector;
    if (vector.len == 1) return values[0];
    const halves: [2]@Vector(vector.len / 2, vector.child) = @bitCast(values);
    return all(op, apply(op, halves[0], halves[1]));
}

pub fn Row(comptime T: type) type {
    return @Vector(lanes, T);
}

/// Lane i of the result is what `op` makes of all lanes of `rows[i]`.
pub inline fn each(comptime op: Op, comptime T: type, rows: *const [lanes]Row(T)) Row(T) {
    @setEvalBranchQuota(20_000);
    return inRowOrder(T, halveAll(op, T, 1, lanes, rows));
}

/// `count` rows as one with lanes / count partial results of each; every one that is given already
/// has lanes / some of `some` rows.
pub inline fn halveAll(
    comptime op: Op,
    comptime T: type,
    comptime some: usize,
    comptime count: usize,
    rows: *const [count / some]Row(T),
) Row(T) {
    if (count == some) return rows[0];
    const middle = count / some / 2;
    const a = halveAll(op, T, some, count / 2, rows[0..middle]);
    const b = halveAll(op, T, some, count / 2, rows[middle..][0..middle]);
    return halve(op, T, count, a, b);
}

/// What `op` makes of all lanes of each of a few rows, in the order of all(): together, because
/// each step of one would wait for the last.
pub inline fn ofSome(
    comptime op: Op,
    comptime n: usize,
    rows: *const [n]Row(f32),
) @Vector(n, f32) {
    @setEvalBranchQuota(20_000);
    comptime var count = std.math.ceilPowerOfTwoAssert(usize, n);
    var padded: [count]Row(f32) = @splat(rows[0]);
    padded[0..n].* = rows.*;
    var results = halveAll(op, f32, 1, count, &padded);
    inline while (count < lanes) {
        count *= 2;
        results = halve(op, f32, count, results, results);
    }
    return @shuffle(f32, inRowOrder(f32, results), undefined, std.simd.iota(i32, n));
}

/// Two vectors with 2 * lanes / count partial results of each row become one with half as many of
/// each: those lanes / count apart are taken together. So the lanes of a row are taken in one
/// order, whatever rows stand beside it.
pub inline fn halve(
    comptime op: Op,
    comptime T: type,
    comptime count: usize,
    a: Row(T),
    b: Row(T),
) Row(T) {
    const low, const high = comptime partners(count);
    return apply(op, @as(Row(T), @shuffle(T, a, b, low)), @shuffle(T, a, b, high));
}

/// The last two steps stay within 128 bits, where shuffles cost less.
fn partners(count: usize) [2][lanes]i32 {
    var low: [lanes]i32 = undefined;
    var high: [lanes]i32 = undefined;
    const step: i32 = @intCast(lanes / count);
    for (0..lanes) |at| {
        const lane: i32 = @intCast(switch (count) {
            2 => at % 8,
            4 => at % 4 + at / 4 % 2 * 8,
            8 => at % 2 + at / 4 * 4,
            16 => at % 2 * 2 + at / 4 * 4,
            else => unreachable,
        });
        const is_second = if (count <= 4) at >= 8 else at % 4 >= 2;
        low[at] = if (is_second) ~lane else lane;
        high[at] = if (is_second) ~(lane + step) else lane + step;
    }
    return .{ low, high };
}

/// The results of sixteen rows as halve() leaves them, by row.
pub inline fn inRowOrder(comptime T: type, results: Row(T)) Row(T) {
    comptime var order: [lanes]i32 = undefined;
    comptime for (0..lanes) |row| {
        order[row] = row % 4 * 4 + row / 4;
    };
    return @shuffle(T, results, undefined, order);
}

test "each() and all() give the sum and the largest of each row" {
    var prng: std.Random.DefaultPrng = .init(1);
    var rows: [lanes]Row(i32) = undefined;
    for (&rows) |*row| {
        var numbers: [lanes]i32 = undefined;
        for (&numbers) |*number| number.* = prng.random().intRangeAtMost(i32, -1000, 1000);
        row.* = numbers;
    }
    const sums: [lanes]i32 = each(.sum, i32, &rows);
    const largest: [lanes]i32 = each(.max, i32, &rows);
    for (rows, sums, largest) |row, sum, max| {
        try std.testing.expectEqual(@reduce(.Add, row), sum);
        try std.testing.expectEqual(@reduce(.Max, row), max);
    }
}

test "ofSome() gives the bits that all() gives of each row" {
    var prng: std.Random.DefaultPrng = .init(2);
    inline for (.{ 1, 2, 3, 4 }) |n| {
        var rows: [n]Row(f32) = undefined;
        for (&rows) |*row| {
            var numbers: [lanes]f32 = undefined;
            for (&numbers) |*number| number.* = prng.random().floatNorm(f32);
            row.* = numbers;
        }
        const sums: [n]f32 = ofSome(.sum, n, &rows);
        const largest: [n]f32 = ofSome(.max, n, &rows);
        for (rows, sums, largest) |row, sum, max| {
            try std.testing.expectEqual(all(.sum, row), sum);
            try std.testing.expectEqual(all(.max, row), max);
        }
    }
}
