//! Sine and cosine, and the frequencies of rotary embeddings, without a math library: plain
//! arithmetic in double precision, so every machine gets the same bits.
const std = @import("std");

/// Pi / 2 in three parts of 33 bits; products of the first two with whole numbers below 2^20 are
/// exact (Cody and Waite 1980).
const half_pi = [3]f64{
    1.57079632673412561417e+00,
    6.07710050630396597660e-11,
    2.02226624879595063154e-21,
};
/// Adding and subtracting it rounds to the nearest integer.
const rounder: f64 = 6755399441055744.0;

/// Sine and cosine of x, |x| below 10^6, within 10^-13.
pub fn sinCos(x: f64) [2]f64 {
    const n = x * (2.0 / std.math.pi) + rounder - rounder;
    const r = x - n * half_pi[0] - n * half_pi[1] - n * half_pi[2];
    const s = series(r, r, 1);
    const c = series(1, r, 0);
    const quarter: u2 = @truncate(@as(u64, @bitCast(@as(i64, @intFromFloat(n)))));
    return switch (quarter) {
        0 => .{ s, c },
        1 => .{ c, -s },
        2 => .{ -s, -c },
        3 => .{ -c, s },
    };
}

/// Eight terms of the Taylor series that begins with `first`, of degree `degree`; |r| <= pi / 4.
fn series(first: f64, r: f64, comptime degree: comptime_int) f64 {
    const square = r * r;
    var sum: f64 = 1;
    comptime var k = 7;
    inline while (k > 0) : (k -= 1) {
        const divisor: f64 = (2 * k + degree) * (2 * k + degree - 1);
        sum = 1 - sum * square / divisor;
    }
    return first * sum;
}

/// base^(-1 / n) for base >= 1, by Newton's method from above.
pub fn inverseRoot(base: f64, n: usize) f64 {
    const degree: f64 = @floatFromInt(n);
    var root: f64 = 1;
    // Far away a step takes an n-th off, so the logarithm of the base counts the steps; near by,
    // digits double.
    for (0..1024) |_| {
        const last = root;
        root -= (root - 1 / (base * power(root, n - 1))) / degree;
        if (@abs(root - last) <= root * 0x1p-51) break;
    }
    return root;
}

fn power(x: f64, n: usize) f64 {
    var product: f64 = 1;
    for (0..n) |_| product *= x;
    return product;
}

test "sinCos() is within 1e-13 of sine and cosine" {
    var worst: f64 = 0;
    var x: f64 = -20;
    while (x < 1e6) : (x += @max(0.37, @abs(x) * 0.0113)) {
        const s, const c = sinCos(x);
        worst = @max(worst, @max(@abs(s - @sin(x)), @abs(c - @cos(x))));
    }
    try std.testing.expect(worst < 1e-13);
    try std.testing.expectEqual([2]f64{ 0, 1 }, sinCos(0));
}

test "inverseRoot() is within 1e-14 of base^(-1 / n)" {
    for ([_]f64{ 1, 1.5, 10_000, 500_000, 1e7 }) |base| {
        for ([_]usize{ 1, 2, 16, 32, 64, 128 }) |n| {
            const expected = @exp(-@log(base) / @as(f64, @floatFromInt(n)));
            const found = inverseRoot(base, n);
            try std.testing.expect(@abs(found / expected - 1) < 1e-14);
        }
    }
}
