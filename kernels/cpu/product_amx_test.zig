//! Products by the processor's tiles against those without, bit for bit. Where this processor has
//! none they are played by amx_emulator.zig.
const std = @import("std");
const emulation = @import("amx_emulator.zig");
const product = @import("product.zig");
const variant = @import("variant.zig");
const cases = @import("product_test.zig");
const testing = std.testing;
const allocator = testing.allocator;
const Case = cases.Case;
const Format = product.Format;

/// All else of the variant is compiled for AVX-512 VNNI.
fn skipWithoutVnni() error{SkipZigTest}!void {
    const needed = variant.kernelsOf(.x86_64_v4_vnni);
    for (variant.runnable()) |kernels| {
        if (kernels == needed) return;
    }
    return error.SkipZigTest;
}

test "multiply() by tiles gives the bits of products without (needs AVX-512 VNNI)" {
    try skipWithoutVnni();
    const emulator: emulation.Emulator = try .start();
    defer emulator.stop();
    var prng: std.Random.DefaultPrng = .init(1);
    const random = prng.random();
    for (std.enums.values(Format)) |format| {
        // Blocks that fill no chunk, one, and one and a part; then more tiles than pass together.
        const n_blocks: [3]usize = if (format.groupLen() == 32) .{ 1, 32, 37 } else .{ 8, 32, 40 };
        for (n_blocks) |n| {
            const n_in = n * product.block_len;
            var case: Case = try .init(random, format, n_in, 48);
            defer case.deinit();
            for ([_]usize{ 1, 15, 16, 17, 33, 64 }) |n_tokens| try compare(random, &case, n_tokens);
            if (n == n_blocks[0]) try compare(random, &case, 17 * 16 + 3);
        }
    }
}

/// Products of random rows by both variants, in one to three shares, alone and added to something.
fn compare(random: std.Random, case: *const Case, n_tokens: usize) !void {
    const weight = &case.weight;
    const values = try allocator.alloc(f32, weight.n_in * n_tokens);
    defer allocator.free(values);
    const sums = try allocator.alloc(f32, 3 * weight.n_out * n_tokens);
    defer allocator.free(sums);
    for (values) |*v| v.* = random.floatNorm(f32);
    for (sums) |*s| s.* = random.floatNorm(f32);
    const n = weight.n_out * n_tokens;
    const expected, const found, const added = .{ sums[0..n], sums[n..][0..n], sums[2 * n ..] };
    const rows: product.Rows = .{
        .values = values.ptr,
        .stride = weight.n_in,
        .n_in = weight.n_in,
        .n_tokens = n_tokens,
    };
    const with = &variant.kernelsOf(.x86_64_v4_amx).product;
    const without = &variant.kernelsOf(.x86_64_v4_vnni).product;
    for ([_]?[*]const f32{ null, added.ptr }) |more| {
        try cases.multiplyRows(without, weight, &rows, more, 1, expected);
        for (1..4) |count| {
            @memset(found, std.math.nan(f32));
            try cases.multiplyRows(with, weight, &rows, more, count, found);
            const bytes = std.mem.sliceAsBytes(found);
            try testing.expectEqualSlices(u8, std.mem.sliceAsBytes(expected), bytes);
        }
    }
}

test "multiply() leaves tiles configured as they were (needs AVX-512 VNNI)" {
    try skipWithoutVnni();
    const emulator: emulation.Emulator = try .start();
    defer emulator.stop();
    var prng: std.Random.DefaultPrng = .init(2);
    var case: Case = try .init(prng.random(), .q8_0, 32, 16);
    defer case.deinit();
    var used: [64]u8 = @splat(0);
    used[0], used[16], used[48] = .{ 1, 12, 3 };
    for ([_][64]u8{ @splat(0), used }) |config| {
        emulation.configure(&config);
        const values: [16 * 32]f32 = @splat(1);
        const rows: product.Rows = .{
            .values = &values,
            .stride = 32,
            .n_in = 32,
            .n_tokens = 16,
        };
        var sums: [16 * 16]f32 = undefined;
        const kernels = &variant.kernelsOf(.x86_64_v4_amx).product;
        try cases.multiplyRows(kernels, &case.weight, &rows, null, 1, &sums);
        try testing.expectEqual(config, emulation.readConfig());
    }
}
