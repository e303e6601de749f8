//! What surrounds the products of experts, of every variant that this CPU has, against sums in
//! double precision.
const std = @import("std");
const experts = @import("experts.zig");
const variant = @import("variant.zig");
const testing = std.testing;

/// A routing with memory of its own.
fn Routed(comptime n_expert: usize, comptime n_used: usize, comptime n_tokens: usize) type {
    return struct {
        words: [experts.Routing.len(n_expert, n_used, n_tokens)]u32 = @splat(0xaaaa_aaaa),

        fn route(self: *@This(), scores: *const [n_expert * n_tokens]f32) experts.Routing {
            const routing: experts.Routing = .of(&self.words, n_expert, n_used, n_tokens);
            experts.route(&routing, scores);
            return routing;
        }
    };
}

test "route() takes the best scores, the first of equal ones, and puts the best in front" {
    var memory: Routed(5, 2, 3) = .{};
    const routing = memory.route(&.{ 1, 4, 2, 4, 0, 7, 7, 7, 7, 7, -3, -1, -2, -9, -1.5 });
    const found = [_][2]u32{ .{ 1, 3 }, .{ 0, 1 }, .{ 1, 4 } };
    for (found, 0..) |of_token, t| {
        for (of_token, 0..) |expert, rank| {
            const slot = routing.slots[2 * t + rank];
            try testing.expect(slot >= routing.starts[expert]);
            try testing.expect(slot < routing.starts[expert + 1]);
            try testing.expectEqual(@as(i32, @intCast(t)), routing.tokens[slot]);
        }
    }
}

test "route() puts slots in the order of experts, and of tokens for one expert" {
    var memory: Routed(3, 2, 4) = .{};
    const routing = memory.route(&.{ 3, 2, 1, 1, 2, 3, 3, 1, 2, 0, 9, 8 });
    try testing.expectEqualSlices(i32, &.{ 0, 2 }, routing.tokensOf(0));
    try testing.expectEqualSlices(i32, &.{ 0, 1, 3 }, routing.tokensOf(1));
    try testing.expectEqualSlices(i32, &.{ 1, 2, 3 }, routing.tokensOf(2));
    try testing.expectEqualSlices(u32, &.{ 0, 2, 5, 8 }, routing.starts[0..4]);
}

test "route() leaves experts empty that nobody chose" {
    var memory: Routed(4, 1, 2) = .{};
    const routing = memory.route(&.{ 0, 0, 1, 0, 0, 0, 2, 0 });
    for (0..4) |expert| {
        const expected: []const i32 = if (expert == 2) &.{ 0, 1 } else &.{};
        try testing.expectEqualSlices(i32, expected, routing.tokensOf(expert));
    }
    try testing.expectEqual(1, routing.weights[0]);
}

test "route() weighs by the soft max of the chosen scores" {
    var memory: Routed(4, 3, 1) = .{};
    const routing = memory.route(&.{ 0.5, -1.25, 2, 0.75 });
    const powers = [_]f64{ 1, @exp(0.75 - 2.0), @exp(0.5 - 2.0) };
    for (routing.weights[0..3], powers) |found, power| {
        try testing.expectApproxEqRel(power / (powers[0] + powers[1] + powers[2]), found, 1e-6);
    }
}

test "route() chooses different experts even where scores are no numbers" {
    const nan = std.math.nan(f32);
    const inf = std.math.inf(f32);
    for ([_][4]f32{
        @splat(nan),          .{ 1, nan, 3, 2 },     .{ nan, inf, -inf, nan },
        .{ inf, inf, 1, -1 }, .{ -inf, -inf, 0, 0 },
    }) |scores| {
        var memory: Routed(4, 2, 1) = .{};
        const routing = memory.route(&scores);
        var taken: usize = 0;
        for (0..4) |expert| {
            try testing.expect(routing.tokensOf(expert).len <= 1);
            taken += routing.tokensOf(expert).len;
        }
        try testing.expectEqual(2, taken);
    }
}

test "score() sums in one order, for any number of shares" {
    const n_embd = 96;
    const n_expert = 5;
    const n_tokens = 3;
    const stride = n_embd + 7;
    var prng: std.Random.DefaultPrng = .init(1);
    var values: [stride * n_tokens]f32 = undefined;
    for (&values) |*v| v.* = prng.random().floatNorm(f32);
    var router: [n_embd * n_expert]f32 = undefined;
    for (&router) |*w| w.* = prng.random().floatNorm(f32);
    const rows: experts.Rows = .{
        .values = &values,
        .stride = stride,
        .router = &router,
        .n_embd = n_embd,
        .n_expert = n_expert,
        .n_tokens = n_tokens,
    };
    for (variant.runnable()) |kernels| {
        var one: [n_expert * n_tokens]f32 = undefined;
        kernels.experts.score(&rows, &one, .{ .index = 0, .count = 1 });
        for (one, 0..) |found, i| {
            var exact: f64 = 0;
            for (0..n_embd) |k| {
                const value: f64 = values[i / n_expert * stride + k];
                exact += value * router[i % n_expert * n_embd + k];
            }
            try testing.expectApproxEqAbs(exact, found, 1e-5);
        }
        for ([_]usize{ 2, 4, 40 }) |count| {
            var shared: [n_expert * n_tokens]f32 = @splat(std.math.nan(f32));
            for (0..count) |index| {
                kernels.experts.score(&rows, &shared, .{ .index = index, .count = count });
            }
            try testing.expectEqualSlices(f32, &one, &shared);
        }
    }
}

test "combine() adds what the experts of each token gave, for any number of shares" {
    const n_out = 48;
    const n_used = 2;
    const n_tokens = 3;
    var memory: Routed(3, n_used, n_tokens) = .{};
    const routing = memory.route(&.{ 3, 2, 1, 1, 2, 3, 2, 1, 3 });
    var prng: std.Random.DefaultPrng = .init(2);
    var sums: [n_out * n_used * n_tokens]f32 = undefined;
    for (&sums) |*s| s.* = prng.random().floatNorm(f32);
    var added: [n_out * n_tokens]f32 = undefined;
    for (&added) |*a| a.* = prng.random().floatNorm(f32);
    for (variant.runnable()) |kernels| {
        for ([_]?[*]const f32{ null, &added }) |more| {
            for ([_]usize{ 1, 2, 40 }) |count| {
                var out: [n_out * n_tokens]f32 = @splat(std.math.nan(f32));
                for (0..count) |index| {
                    kernels.experts.combine(&routing, &sums, n_out, more, &out, .{
                        .index = index,
                        .count = count,
                    });
                }
                for (out, 0..) |found, i| {
                    var exact: f64 = if (more) |a| a[i] else 0;
                    for (0..n_used) |rank| {
                        const choice = i / n_out * n_used + rank;
                        const row = routing.slots[choice];
                        exact += @as(f64, routing.weights[choice]) * sums[row * n_out + i % n_out];
                    }
                    try testing.expectApproxEqAbs(exact, found, 1e-6);
                }
            }
        }
    }
}
