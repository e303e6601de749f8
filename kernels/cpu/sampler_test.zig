//! The sampler's chain and draw. Its candidates are held against llama.cpp's in tests/sampling.
const std = @import("std");
const failure = @import("../failure.zig");
const logits = @import("logits.zig");
const sampler = @import("sampler.zig");
const variant = @import("variant.zig");
const Params = sampler.Params;
const testing = std.testing;

const low = -std.math.inf(f32);
const nan = std.math.nan(f32);

fn sample(row: []const f32, params: Params) !u32 {
    return sampler.sample(&variant.kernels().logits, row, params, &.{});
}

fn bell(row: []f32) void {
    var generator: std.Random.DefaultPrng = .init(7);
    for (row) |*value| value.* = generator.random().floatNorm(f32) * 2;
}

test "sample() draws each token as often as its probability says" {
    const row = [_]f32{ 0, @log(2.0), low, @log(3.0), nan, @log(4.0) };
    const expected = [_]f64{ 0.1, 0.2, 0, 0.3, 0, 0.4 };
    const n = 40_000;
    const chains = [_]Params{ .{}, .{ .top_k = 5 }, .{ .seed = 3, .top_p = 0.9999 } };
    for (chains) |fixed| {
        var counts: [row.len]f64 = @splat(0);
        for (0..n) |position| {
            var params = fixed;
            params.position = position;
            counts[try sample(&row, params)] += 1;
        }
        for (counts, expected) |count, p| {
            // Five standard deviations.
            const spread = 5 * @sqrt(p * (1 - p) / n);
            try testing.expect(@abs(count / n - p) <= spread);
        }
    }
}

test "sample() depends on seed and position and on nothing else" {
    var row: [5000]f32 = undefined;
    bell(&row);
    var n_equal: usize = 0;
    const chains = [_]Params{
        .{},
        .{ .top_k = 40 },
        .{ .top_p = 0.9 },
        .{ .min_p = 0.05, .temperature = 1.7 },
    };
    for (chains) |fixed| {
        for (0..50) |position| {
            var params = fixed;
            params.seed = 42;
            params.position = position;
            const first = try sample(&row, params);
            for (variant.runnable()) |kernels| {
                const same = try sampler.sample(&kernels.logits, &row, params, &.{});
                try testing.expectEqual(first, same);
            }
            try testing.expectEqual(
                first,
                try sampler.sample(&logits.reference.functions, &row, params, &.{}),
            );
            params.seed = 43;
            n_equal += @intFromBool(first == try sample(&row, params));
        }
    }
    try testing.expect(n_equal < 100);
}

test "sample() at temperature 0 takes the most likely token, the first of equals" {
    const row = [_]f32{ 1, 5, nan, 5, -2 };
    try testing.expectEqual(1, try sample(&row, .{ .temperature = 0 }));
    try testing.expectEqual(1, try sample(&row, .{ .temperature = -1, .top_k = 2 }));
    try testing.expectEqual(1, try sample(&row, .{ .temperature = 1e-45 }));
    const penalized = try sampler.sample(
        &variant.kernels().logits,
        &row,
        .{ .temperature = 0, .repeat_penalty = 2 },
        &.{ 1, 1, 3 },
    );
    try testing.expectEqual(1, penalized); // both 2.5 now
}

test "sample() refuses a row without candidates and a history outside the vocabulary" {
    try testing.expectError(error.Failed, sample(&.{ low, nan, low }, .{}));
    try testing.expectEqualStrings(
        "Cannot sample: none of 3 logits is a number above -inf",
        failure.get(),
    );
    for ([_]i32{ -1, 2 }) |id| {
        const params: Params = .{ .repeat_penalty = 2 };
        const result = sampler.sample(&variant.kernels().logits, &.{ 1, 2 }, params, &.{id});
        try testing.expectError(error.Failed, result);
    }
}

test "sample() takes an infinite logit at once" {
    try testing.expectEqual(2, try sample(&.{ 1, 2, std.math.inf(f32), 3 }, .{}));
}

test "candidates() reports every candidate of a wide nucleus" {
    var row: [20_000]f32 = undefined;
    bell(&row);
    var ids: [20_000]i32 = undefined;
    var p: [20_000]f32 = undefined;
    // Wider than the first guess of the nucleus, so that it has to look again.
    const functions = &variant.kernels().logits;
    const n = try sampler.candidates(functions, &row, .{ .top_p = 0.95 }, &.{}, &ids, &p);
    try testing.expect(n > 4000 and n < 20_000);
    var sum: f64 = 0;
    for (p[0..n]) |probability| sum += probability;
    try testing.expectApproxEqAbs(1, sum, 1e-5);
    for (p[0 .. n - 1], p[1..n]) |a, b| try testing.expect(a >= b);
    // The first few of all are the same tokens.
    var few: [3]i32 = undefined;
    try testing.expectEqual(
        20_000,
        try sampler.candidates(&variant.kernels().logits, &row, .{}, &.{}, &few, p[0..3]),
    );
    try testing.expectEqualSlices(i32, ids[0..3], &few);
}
