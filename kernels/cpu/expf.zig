//! expf for ggml's own kernels: the compiler's is slow, and libm's bits differ between its
//! versions.
//!
//! Hidden, so that only this library calls it. In f64 with a Taylor polynomial of degree 9 on
//! |r| <= ln 2 / 2 (relative error below 1e-11), then rounded once to f32.
const std = @import("std");

const log2_e: f64 = 1.4426950408889634;
const ln2: f64 = 0.6931471805599453;
/// Beyond these the result is infinite, or less than half of the smallest f32.
const x_max: f32 = 88.73;
const x_min: f32 = -103.98;

comptime {
    @export(&expf, .{ .name = "expf", .visibility = .hidden });
}

fn expf(x: f32) callconv(.c) f32 {
    if (x > x_max) return std.math.inf(f32);
    if (x < x_min) return 0;
    // NaN passes every comparison and stays NaN, but must not become an exponent.
    if (x != x) return x;
    const z: f64 = x;
    const n = @floor(z * log2_e + 0.5);
    const r = z - n * ln2;
    var p: f64 = 1.0 / 362880.0;
    inline for (.{ 40320.0, 5040.0, 720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0 }) |factorial| {
        p = p * r + 1.0 / factorial;
    }
    const biased: u64 = @intCast(@as(i64, @intFromFloat(n)) + 1023);
    return @floatCast(p * @as(f64, @bitCast(biased << 52)));
}

test "expf() is within 0.51 units in the last place of e^x" {
    var x: f32 = -87;
    while (x < 88.7) : (x += 0.00371) {
        const expected = @exp(@as(f64, x));
        const got: f64 = expf(x);
        const bits: u32 = @bitCast(expf(x));
        const unit = @as(f64, @as(f32, @bitCast(bits + 1))) - got;
        try std.testing.expect(@abs(got - expected) <= 0.51 * unit);
    }
}

test "expf() has the ends of libm's" {
    try std.testing.expectEqual(1, expf(0));
    try std.testing.expectEqual(0, expf(-std.math.inf(f32)));
    try std.testing.expectEqual(std.math.inf(f32), expf(89));
    try std.testing.expectEqual(std.math.inf(f32), expf(std.math.inf(f32)));
    try std.testing.expect(std.math.isNan(expf(std.math.nan(f32))));
    try std.testing.expectEqual(std.math.floatTrueMin(f32), expf(-103));
}
