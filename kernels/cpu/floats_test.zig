//! Products with weights of floats of every variant that this CPU has, against sums in double
//! precision.
const std = @import("std");
const floats = @import("floats.zig");
const product = @import("product.zig");
const variant = @import("variant.zig");
const testing = std.testing;
const allocator = testing.allocator;
const Format = floats.Format;

const formats = std.enums.values(Format);

/// A weight in panels, and what its values are.
const Case = struct {
    values: []f32,
    panels: []align(64) u8,
    weight: floats.Weight,

    /// `values` become what the format can say of them, and belong to the case.
    fn of(format: Format, values: []f32, n_in: usize) !Case {
        const rows = try allocator.alloc(u8, 2 * values.len);
        defer allocator.free(rows);
        for (values, 0..) |*v, i| switch (format) {
            .f16 => {
                const short: f16 = @floatCast(v.*);
                @memcpy(rows[2 * i ..][0..2], std.mem.asBytes(&short));
                v.* = short;
            },
            .bf16 => {
                const bits = @as(u32, @bitCast(v.*)) & 0xffff_0000;
                std.mem.writeInt(u16, rows[2 * i ..][0..2], @intCast(bits >> 16), .little);
                v.* = @bitCast(bits);
            },
        };
        const panels = try allocator.alignedAlloc(u8, .@"64", rows.len);
        floats.pack(rows, panels, n_in);
        const n_out = values.len / n_in;
        return .{
            .values = values,
            .panels = panels,
            .weight = .{ .format = format, .panels = panels.ptr, .n_in = n_in, .n_out = n_out },
        };
    }

    fn init(random: std.Random, format: Format, n_in: usize, n_out: usize) !Case {
        const values = try allocator.alloc(f32, n_in * n_out);
        for (values) |*v| v.* = random.floatNorm(f32) * 0.02 + 0.004;
        return .of(format, values, n_in);
    }

    fn deinit(case: *Case) void {
        allocator.free(case.values);
        allocator.free(case.panels);
    }
};

/// Sums of all tokens by one variant, the work cut into `count` shares.
fn multiply(
    kernels: *const floats.Functions,
    weight: *const floats.Weight,
    values: []const f32,
    count: usize,
    sums: []f32,
) !void {
    const rows: product.Rows = .{
        .values = values.ptr,
        .stride = weight.n_in,
        .n_in = weight.n_in,
        .n_tokens = values.len / weight.n_in,
    };
    try multiplyRows(kernels, weight, &rows, null, count, sums);
}

fn multiplyRows(
    kernels: *const floats.Functions,
    weight: *const floats.Weight,
    rows: *const product.Rows,
    added: ?[*]const f32,
    count: usize,
    sums: []f32,
) !void {
    const bytes = floats.tileBytes(weight.n_in, rows.n_tokens);
    const tiles = try allocator.alignedAlloc(u8, .@"4", bytes);
    defer allocator.free(tiles);
    for (0..count) |index| {
        kernels.tile(rows, tiles.ptr, .{ .index = index, .count = count });
    }
    for (0..count) |index| {
        const share: product.Share = .{ .index = index, .count = count };
        kernels.multiply(weight, tiles.ptr, rows.n_tokens, added, sums.ptr, share);
    }
}

/// Normalized mean square of what `sums` differ from the products of double precision.
fn distance(case: *const Case, values: []const f32, added: ?[]const f32, sums: []const f32) f64 {
    const n_in = case.weight.n_in;
    const n_out = case.weight.n_out;
    var power: f64 = 0;
    var difference: f64 = 0;
    for (sums, 0..) |found, i| {
        var exact: f64 = if (added) |a| a[i] else 0;
        const weights = case.values[i % n_out * n_in ..][0..n_in];
        for (values[i / n_out * n_in ..][0..n_in], weights) |v, w| exact += @as(f64, v) * w;
        power += exact * exact;
        difference += (found - exact) * (found - exact);
    }
    return difference / power;
}

test "multiply() sums what double precision sums, on every variant" {
    var prng: std.Random.DefaultPrng = .init(1);
    const random = prng.random();
    for (formats) |format| {
        for ([_][3]usize{ .{ 32, 16, 65 }, .{ 96, 48, 19 }, .{ 608, 16, 21 } }) |shape| {
            const n_in, const n_out, const n_tokens = shape;
            var case: Case = try .init(random, format, n_in, n_out);
            defer case.deinit();
            const values = try allocator.alloc(f32, n_in * n_tokens);
            defer allocator.free(values);
            for (values) |*v| v.* = random.floatNorm(f32);
            const sums = try allocator.alloc(f32, n_out * n_tokens);
            defer allocator.free(sums);
            for (variant.runnable()) |kernels| {
                @memset(sums, std.math.nan(f32));
                try multiply(&kernels.floats, &case.weight, values, 1, sums);
                try testing.expect(distance(&case, values, null, sums) < 1e-13);
            }
        }
    }
}

test "multiply() gives a row the same bits in any batch and any number of shares" {
    var prng: std.Random.DefaultPrng = .init(2);
    const random = prng.random();
    const n_in = 352;
    const n_out = 48;
    const n_most = 67;
    const values = try allocator.alloc(f32, n_in * n_most);
    defer allocator.free(values);
    for (values) |*v| v.* = random.floatNorm(f32);
    const alone = try allocator.alloc(f32, n_out * n_most);
    defer allocator.free(alone);
    const together = try allocator.alloc(f32, n_out * n_most);
    defer allocator.free(together);
    for (formats) |format| {
        var case: Case = try .init(random, format, n_in, n_out);
        defer case.deinit();
        for (variant.runnable()) |kernels| {
            for (0..n_most) |t| {
                const row = values[t * n_in ..][0..n_in];
                try multiply(&kernels.floats, &case.weight, row, 1, alone[t * n_out ..]);
            }
            for ([_]usize{ 1, 2, 4, 8, 15, 17, 64, n_most }) |n| {
                for ([_]usize{ 1, 2, 3, 5 }) |count| {
                    @memset(together, std.math.nan(f32));
                    const batch = values[0 .. n * n_in];
                    try multiply(&kernels.floats, &case.weight, batch, count, together);
                    const expected = std.mem.sliceAsBytes(alone[0 .. n * n_out]);
                    const found = std.mem.sliceAsBytes(together[0 .. n * n_out]);
                    try testing.expectEqualSlices(u8, expected, found);
                }
            }
        }
    }
}

test "tile() norms rows and takes SwiGLU of them, and multiply() adds" {
    var prng: std.Random.DefaultPrng = .init(6);
    const random = prng.random();
    const n_in = 96;
    const n_out = 32;
    const n_tokens = 19;
    var case: Case = try .init(random, .f16, n_in, n_out);
    defer case.deinit();
    var values: [2 * n_in * n_tokens]f32 = undefined;
    for (&values) |*v| v.* = random.floatNorm(f32) * 3;
    var weight: [n_in]f32 = undefined;
    for (&weight) |*w| w.* = random.floatNorm(f32);
    var added: [n_out * n_tokens]f32 = undefined;
    for (&added) |*a| a.* = random.floatNorm(f32);
    for ([_]product.Rows.First{ .nothing, .rms_norm, .swiglu }) |first| {
        var prepared: [n_in * n_tokens]f32 = undefined;
        for (0..n_tokens) |t| {
            prepare(first, values[2 * n_in * t ..][0 .. 2 * n_in], &weight, prepared[n_in * t ..]);
        }
        const rows: product.Rows = .{
            .values = &values,
            .stride = 2 * n_in,
            .n_in = n_in,
            .n_tokens = n_tokens,
            .first = first,
            .weight = &weight,
            .eps = 0.5,
        };
        for (variant.runnable()) |kernels| {
            var one: [n_out * n_tokens]f32 = undefined;
            for ([_]usize{ 1, 2, 5 }) |count| {
                var sums: [n_out * n_tokens]f32 = undefined;
                try multiplyRows(&kernels.floats, &case.weight, &rows, &added, count, &sums);
                if (count == 1) one = sums;
                try testing.expectEqualSlices(f32, &one, &sums);
            }
            try testing.expect(distance(&case, &prepared, &added, &one) < 1e-12);
        }
    }
}

/// One row as it is before it goes into a tile, in double precision.
fn prepare(first: product.Rows.First, row: []const f32, weight: []const f32, out: []f32) void {
    const n_in = weight.len;
    var squares: f64 = 0;
    for (row[0..n_in]) |x| squares += @as(f64, x) * x;
    const scale = 1 / @sqrt(squares / @as(f64, @floatFromInt(n_in)) + 0.5);
    for (row[0..n_in], row[n_in..], weight, out[0..n_in]) |x, up, w, *to| {
        to.* = @floatCast(switch (first) {
            .nothing => x,
            .rms_norm => x * scale * w,
            .swiglu => x / (1 + @exp(-@as(f64, x))) * up,
        });
    }
}

test "readRow() reads from panels what pack() put there" {
    var prng: std.Random.DefaultPrng = .init(5);
    var found: [96]f32 = undefined;
    for (formats) |format| {
        var case: Case = try .init(prng.random(), format, found.len, 32);
        defer case.deinit();
        for (0..32) |row| {
            floats.readRow(format, case.panels.ptr, found.len, row, &found);
            const expected = case.values[row * found.len ..][0..found.len];
            try testing.expectEqualSlices(f32, expected, &found);
        }
    }
}

test "pack() lays panels as layout_version says" {
    const n_in = 64;
    var rows: [32 * n_in * 2]u8 = undefined;
    for (&rows, 0..) |*byte, i| byte.* = @truncate(i *% 2_654_435_761 >> 16);
    var panels: [rows.len]u8 = undefined;
    floats.pack(&rows, &panels, n_in);
    // Of layout_version and two panels, as those of product_test.zig.
    var hash: std.hash.Fnv1a_64 = .init();
    hash.update(&.{product.layout_version});
    hash.update(&panels);
    errdefer std.debug.print("the hash is 0x{x}\n", .{hash.final()});
    try testing.expectEqual(0x721cff9b721cf054, hash.final());
}

test "multiply() keeps weights below the normal half floats, and the largest" {
    const values = try allocator.alloc(f32, 32 * 16);
    @memset(values, 0);
    const smallest = 0x1p-24;
    values[3] = smallest;
    values[32 + 3] = -1023 * smallest;
    values[64 + 3] = 65504;
    var case: Case = try .of(.f16, values, 32);
    defer case.deinit();
    var row: [32]f32 = @splat(0);
    row[3] = 0x1p20;
    for (variant.runnable()) |kernels| {
        var sums: [16]f32 = undefined;
        try multiply(&kernels.floats, &case.weight, &row, 1, &sums);
        const expected = [_]f32{ 0x1p-4, -1023 * 0x1p-4, 65504 * 0x1p20 };
        try testing.expectEqualSlices(f32, &expected, sums[0..3]);
        for (sums[3..]) |sum| try testing.expectEqual(0, sum);
    }
}

test "Format.of() knows the floats of ggml" {
    try testing.expectEqual(Format.f16, Format.of(1).?);
    try testing.expectEqual(Format.bf16, Format.of(30).?);
    try testing.expectEqual(null, Format.of(0));
}
