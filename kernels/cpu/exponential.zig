//! e^x for x <= 0, without a math library: with the same bits from every CPU variant, vector or
//! not, or sooner.
//!
//! e^x = 2^n e^r with n the nearest integer to x / ln 2, and e^r = 1 + r + r^2 q(r) with q a
//! minimax polynomial of degree 4 on |r| <= ln 2 / 2 (own Remez fit, 3.1e-9). Relative error below
//! 1.2e-7.
const std = @import("std");
const half = @import("half.zig");

const log2_e: f32 = 1.4426950408889634;
/// ln 2 in two parts; n * high is exact for every n that occurs.
const ln2_high: f32 = 0.693145751953125;
const ln2_low: f32 = 1.428606765330187e-6;
/// Adding and subtracting it rounds to the nearest integer.
const rounder: f32 = 12582912.0;
/// Below it the result is 0; e^x would no longer be a normal number.
const x_min: f32 = -87.0;

/// `x` is an f32 or a vector of them, none above 0. NaN gives 0.
pub inline fn exp(x: anytype) @TypeOf(x) {
    return expBy(separate, x);
}

/// The same, sooner where the variant has a fused multiply-add: its bits depend on that.
pub inline fn fusedExp(x: anytype) @TypeOf(x) {
    return expBy(half.multiplyAddAs, x);
}

inline fn separate(comptime V: type, a: V, b: V, c: V) V {
    return a * b + c;
}

inline fn expBy(comptime multiplyAdd: anytype, x: anytype) @TypeOf(x) {
    const V = @TypeOf(x);
    const n = multiplyAdd(V, x, of(V, log2_e), of(V, rounder)) - of(V, rounder);
    const r = multiplyAdd(V, n, of(V, -ln2_low), multiplyAdd(V, n, of(V, -ln2_high), x));
    var q = of(V, 0.00138144672);
    inline for (.{ 0.00836878084, 0.0416683927, 0.166665196, 0.49999994 }) |c| {
        q = multiplyAdd(V, q, r, of(V, c));
    }
    const y = multiplyAdd(V, r * r, q, r) + of(V, 1);
    return choose(x >= of(V, x_min), y * exp2(n), of(V, 0));
}

/// The least x <= 0 with exp(x) >= `value`, found by halving over the floats; 0 for 1 and above.
pub fn inverse(value: f32) f32 {
    if (!(value < 1)) return 0;
    // Floats below zero order by their bits; `high` is always low enough, `low` never.
    var low: u32 = @bitCast(@as(f32, -0.0));
    var high: u32 = @bitCast(@as(f32, x_min));
    if (exp(x_min) >= value) return -std.math.inf(f32);
    while (high - low > 1) {
        const middle = low + (high - low) / 2;
        if (exp(@as(f32, @bitCast(middle))) >= value) low = middle else high = middle;
    }
    return @bitCast(low);
}

/// 2^n for whole n in [-126, 0]; anything for others.
inline fn exp2(n: anytype) @TypeOf(n) {
    const V = @TypeOf(n);
    // n + 127 + 2^23 holds the biased exponent in its low bits.
    const bits = if (V == f32) u32 else @Vector(@typeInfo(V).vector.len, u32);
    const shift = if (V == f32) 23 else @as(bits, @splat(23));
    const biased: bits = @bitCast(n + of(V, 127 + 8388608.0));
    return @bitCast(biased << shift);
}

inline fn of(comptime V: type, value: f32) V {
    return if (V == f32) value else @splat(value);
}

inline fn choose(condition: anytype, yes: anytype, no: @TypeOf(yes)) @TypeOf(yes) {
    if (@TypeOf(yes) == f32) return if (condition) yes else no;
    return @select(f32, condition, yes, no);
}

test "exp() and fusedExp() stay within 1.2e-7 of e^x" {
    inline for (.{ exp, fusedExp }) |one| {
        var worst: f64 = 0;
        var x: f32 = 0;
        while (x > x_min) : (x -= 0.00173) {
            const expected = @exp(@as(f64, x));
            worst = @max(worst, @abs(one(x) / expected - 1));
        }
        try std.testing.expect(worst < 1.2e-7);
        try std.testing.expectEqual(1, one(@as(f32, 0)));
        try std.testing.expectEqual(0, one(-std.math.inf(f32)));
        try std.testing.expectEqual(0, one(std.math.nan(f32)));
    }
}

test "exp() of a vector has the bits of exp() of each element" {
    const V = @Vector(8, f32);
    const x: V = .{ 0, -0.1, -0.5, -1, -10.25, -33.3, -86.9, -90 };
    const y = exp(x);
    inline for (0..8) |i| try std.testing.expectEqual(exp(x[i]), y[i]);
}

test "inverse() gives the last argument that reaches a value" {
    for ([_]f32{ 0.05, 0.3, 0.999, 1e-6, 0.5 }) |value| {
        const x = inverse(value);
        const below: f32 = @bitCast(@as(u32, @bitCast(x)) + 1);
        try std.testing.expect(exp(x) >= value);
        try std.testing.expect(exp(below) < value);
    }
    try std.testing.expectEqual(0, inverse(1));
    try std.testing.expectEqual(-std.math.inf(f32), inverse(0));
}
