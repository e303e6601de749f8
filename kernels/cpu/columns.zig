//! Sixteen reductions at once: the lanes of each of sixteen vectors become one number, and the
//! numbers one vector. A vector reduced by itself takes as many steps for one number.
const std = @import("std");

pub const lanes = 16;

/// Takes two vectors to one, lane by lane; in any order of the lanes it gives the same.
pub const Op = enum { max, sum };

/// Lane i of the result is what `op` makes of all lanes of `rows[i]`.
pub inline fn reduce(comptime op: Op, comptime T: type, rows: *const [lanes]Row(T)) Row(T) {
    @setEvalBranchQuota(20_000);
    const mixed = reduceSome(op, T, rows, 0, lanes);
    comptime var order: [lanes]i32 = undefined;
    comptime for (0..lanes) |row| {
        order[row] = row % 4 * 4 + row / 4;
    };
    return @shuffle(T, mixed, undefined, order);
}

pub fn Row(comptime T: type) type {
    return @Vector(lanes, T);
}

/// `count` rows from `first` on: lanes / count partial results of each.
inline fn reduceSome(
    comptime op: Op,
    comptime T: type,
    rows: *const [lanes]Row(T),
    comptime first: usize,
    comptime count: usize,
) Row(T) {
    if (count == 1) return rows[first];
    const a = reduceSome(op, T, rows, first, count / 2);
    const b = reduceSome(op, T, rows, first + count / 2, count / 2);
    const low, const high = comptime halves(count);
    const x = @shuffle(T, a, b, low);
    const y = @shuffle(T, a, b, high);
    return switch (op) {
        .max => @select(T, x > y, x, y),
        .sum => if (@typeInfo(T) == .int) x +% y else x + y,
    };
}

/// Which lanes of two vectors are taken together: those lanes / count apart. The last two steps
/// stay within 128 bits, where shuffles cost less.
fn halves(comptime count: usize) [2][lanes]i32 {
    var low: [lanes]i32 = undefined;
    var high: [lanes]i32 = undefined;
    const step: i32 = lanes / count;
    for (0..lanes) |at| {
        const lane: i32 = switch (count) {
            2 => at % 8,
            4 => at % 4 + at / 4 % 2 * 8,
            8 => at % 2 + at / 4 * 4,
            16 => at % 2 * 2 + at / 4 * 4,
            else => unreachable,
        };
        const is_second = if (count <= 4) at >= 8 else at % 4 >= 2;
        low[at] = if (is_second) ~lane else lane;
        high[at] = if (is_second) ~(lane + step) else lane + step;
    }
    return .{ low, high };
}

test "reduce() gives the sum and the largest of each row" {
    var prng: std.Random.DefaultPrng = .init(1);
    var rows: [lanes]Row(i32) = undefined;
    for (&rows) |*row| {
        var numbers: [lanes]i32 = undefined;
        for (&numbers) |*number| number.* = prng.random().intRangeAtMost(i32, -1000, 1000);
        row.* = numbers;
    }
    const sums: [lanes]i32 = reduce(.sum, i32, &rows);
    const largest: [lanes]i32 = reduce(.max, i32, &rows);
    for (rows, sums, largest) |row, sum, max| {
        try std.testing.expectEqual(@reduce(.Add, row), sum);
        try std.testing.expectEqual(@reduce(.Max, row), max);
    }
}
