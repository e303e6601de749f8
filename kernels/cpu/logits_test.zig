//! Every variant that this processor runs gives the bits of the plain loops.
const std = @import("std");
const logits = @import("logits.zig");
const variant = @import("variant.zig");
const testing = std.testing;

/// Lengths around the vector widths, and a whole vocabulary.
const lengths = [_]usize{ 1, 2, 15, 16, 17, 63, 64, 65, 257, 1000, 1024, 1025, 2100, 49_152 };

const Kind = enum { bell, ties, rising, masked, huge };

/// Fills `values` with logits of a kind, the same in every run.
fn fill(values: []f32, kind: Kind) void {
    var generator: std.Random.DefaultPrng = .init(values.len);
    const random = generator.random();
    for (values, 0..) |*value, i| value.* = switch (kind) {
        .bell => random.floatNorm(f32) * 3,
        .ties => @round(random.floatNorm(f32)),
        .rising => @as(f32, @floatFromInt(i)) * 1e-3,
        .masked => switch (i % 3) {
            0 => -std.math.inf(f32),
            1 => std.math.nan(f32),
            else => random.floatNorm(f32),
        },
        .huge => random.floatNorm(f32) * 1e38,
    };
}

const Case = struct { values: []f32, kind: Kind };

fn forEachCase(comptime check: fn (*const logits.Functions, Case) anyerror!void) !void {
    const values = try testing.allocator.alloc(f32, lengths[lengths.len - 1]);
    defer testing.allocator.free(values);
    for (std.enums.values(Kind)) |kind| for (lengths) |n| {
        fill(values[0..n], kind);
        const case: Case = .{ .values = values[0..n], .kind = kind };
        for (variant.runnable()) |kernels| try check(&kernels.logits, case);
    };
}

const plain = &logits.reference.functions;

test "argmax() finds the first of the largest values" {
    try forEachCase(struct {
        fn check(functions: *const logits.Functions, case: Case) !void {
            const v = case.values;
            try testing.expectEqual(plain.argmax(v.ptr, v.len), functions.argmax(v.ptr, v.len));
        }
    }.check);
}

test "argmax() never chooses NaN" {
    const nan = std.math.nan(f32);
    const low = -std.math.inf(f32);
    const values: [70]f32 = @splat(nan);
    for (variant.runnable()) |kernels| {
        const argmax = kernels.logits.argmax;
        try testing.expectEqual(-1, argmax(&values, values.len));
        try testing.expectEqual(-1, argmax(&values, 0));
        var one = values;
        one[69] = low;
        try testing.expectEqual(69, argmax(&one, one.len));
        one[3] = 1;
        one[5] = 1;
        try testing.expectEqual(3, argmax(&one, one.len));
    }
}

test "select() finds the k largest" {
    try forEachCase(struct {
        fn check(functions: *const logits.Functions, case: Case) !void {
            const v = case.values;
            const room = logits.selectRoom(v.len);
            const expected = try testing.allocator.alloc(logits.Key, room);
            defer testing.allocator.free(expected);
            const found = try testing.allocator.alloc(logits.Key, room);
            defer testing.allocator.free(found);
            for ([_]usize{ 1, 5, 40, 256, v.len }) |k_| {
                const k = @min(k_, v.len);
                if (k > 256 and v.len > 1000) continue; // the plain loop takes k * n steps
                const n = plain.select(v.ptr, v.len, k, expected.ptr);
                try testing.expectEqual(n, functions.select(v.ptr, v.len, k, found.ptr));
                std.sort.pdq(logits.Key, expected[0..n], {}, std.sort.desc(logits.Key));
                std.sort.pdq(logits.Key, found[0..n], {}, std.sort.desc(logits.Key));
                try testing.expectEqualSlices(logits.Key, expected[0..n], found[0..n]);
            }
        }
    }.check);
}

test "select() of a whole vocabulary sorts like its values" {
    const n = 49_152;
    const values = try testing.allocator.alloc(f32, n);
    defer testing.allocator.free(values);
    fill(values, .bell);
    const keys = try testing.allocator.alloc(logits.Key, logits.selectRoom(n));
    defer testing.allocator.free(keys);
    for (variant.runnable()) |kernels| {
        for ([_]usize{ 5000, n }) |k| {
            try testing.expectEqual(k, kernels.logits.select(values.ptr, n, k, keys.ptr));
            std.sort.pdq(logits.Key, keys[0..k], {}, std.sort.desc(logits.Key));
            for (keys[0 .. k - 1], keys[1..k]) |a, b| {
                try testing.expect(logits.valueOf(a) >= logits.valueOf(b));
                try testing.expectEqual(values[logits.idOf(a)], logits.valueOf(a));
            }
        }
    }
}

test "weigh() and find() give the bits of the plain loops" {
    try forEachCase(struct {
        fn check(functions: *const logits.Functions, case: Case) !void {
            const v = case.values;
            const best = plain.argmax(v.ptr, v.len);
            if (best < 0 or !std.math.isFinite(v[@intCast(best)])) return;
            const expected = try testing.allocator.alloc(u32, v.len);
            defer testing.allocator.free(expected);
            const found = try testing.allocator.alloc(u32, v.len);
            defer testing.allocator.free(found);
            const max = v[@intCast(best)];
            for ([_]logits.Scale{
                .{ .max = max },
                .{ .max = max, .inverse_temperature = 1.25, .cut = -2.5 },
                .{ .max = max, .inverse_temperature = 0.1 },
            }) |scale| {
                var n_expected: usize = undefined;
                var n_found: usize = undefined;
                const total = plain.weigh(v.ptr, v.len, &scale, expected.ptr, &n_expected);
                const sum = functions.weigh(v.ptr, v.len, &scale, found.ptr, &n_found);
                try testing.expectEqual(total, sum);
                try testing.expectEqual(n_expected, n_found);
                try testing.expectEqualSlices(u32, expected, found);
                for ([_]u64{ 0, 1, total / 3, total / 2, total - 1 }) |target| {
                    try testing.expectEqual(
                        plain.find(expected.ptr, v.len, target),
                        functions.find(found.ptr, v.len, target),
                    );
                }
            }
        }
    }.check);
}
