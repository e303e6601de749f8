//! Products of every variant that this CPU has, against sums in double precision.
const std = @import("std");
const builtin = @import("builtin");
const product = @import("product.zig");
const Taken = @import("share.zig").Taken;
const variant = @import("variant.zig");
const testing = std.testing;
const allocator = testing.allocator;
const Format = product.Format;
const block_len = product.block_len;
const byte_offset = @import("format.zig").byte_offset;

const formats = std.enums.values(Format);
const all: product.Share = .{ .index = 0, .count = 1 };

extern fn ggml_quantize_chunk(c_int, [*]const f32, [*]u8, i64, i64, i64, ?[*]const f32) usize;
extern fn ggml_get_type_traits(c_int) *const extern struct {
    name: [*:0]const u8,
    blck_size: i64,
    blck_size_interleave: i64,
    type_size: usize,
    is_quantized: bool,
    to_float: *const fn ([*]const u8, [*]f32, i64) callconv(.c) void,
};

/// A weight as ggml quantizes it, in panels, and what ggml reads from it.
pub const Case = struct {
    values: []f32,
    panels: []align(64) u8,
    weight: product.Weight,

    pub fn init(random: std.Random, format: Format, n_in: usize, n_out: usize) !Case {
        const values = try allocator.alloc(f32, n_in * n_out);
        const bytes = values.len / format.groupLen() * format.groupBytes();
        const rows = try allocator.alloc(u8, bytes);
        defer allocator.free(rows);
        const panels = try allocator.alignedAlloc(u8, .@"64", bytes);
        for (values) |*v| v.* = random.floatNorm(f32) * 0.02 + 0.004;
        const type_ = @backingInt(format);
        const n_rows: i64 = @intCast(n_out);
        const written =
            ggml_quantize_chunk(type_, values.ptr, rows.ptr, 0, n_rows, @intCast(n_in), null);
        try testing.expectEqual(bytes, written);
        ggml_get_type_traits(type_).to_float(rows.ptr, values.ptr, @intCast(values.len));
        product.pack(format, rows, panels, n_in);
        return .{
            .values = values,
            .panels = panels,
            .weight = .{ .format = format, .panels = panels.ptr, .n_in = n_in, .n_out = n_out },
        };
    }

    pub fn deinit(case: *Case) void {
        allocator.free(case.values);
        allocator.free(case.panels);
    }

    /// Value `k` of row `row`.
    fn at(case: *const Case, row: usize, k: usize) f64 {
        return case.values[row * case.weight.n_in + k];
    }
};

/// Sums of all tokens by one variant, the work cut into `count` shares.
fn multiply(
    kernels: *const product.Functions,
    weight: *const product.Weight,
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

pub fn multiplyRows(
    kernels: *const product.Functions,
    weight: *const product.Weight,
    rows: *const product.Rows,
    added: ?[*]const f32,
    count: usize,
    sums: []f32,
) !void {
    const bytes = product.tileBytes(weight.n_in, rows.n_tokens);
    const tiles = try allocator.alignedAlloc(u8, .@"4", bytes);
    defer allocator.free(tiles);
    for (0..count) |index| {
        kernels.quantize(rows, tiles.ptr, .{ .index = index, .count = count });
    }
    for (0..count) |index| {
        const share: product.Share = .{ .index = index, .count = count };
        kernels.multiply(weight, tiles.ptr, rows.n_tokens, added, sums.ptr, share);
    }
    // The last one comes before the others, and takes of theirs; and something is known to follow.
    const panels: product.Panels = .of(weight);
    var followed = weight.*;
    followed.next = &panels;
    const again = try allocator.alloc(f32, sums.len);
    defer allocator.free(again);
    @memset(again, std.math.nan(f32));
    var taken: [shares_most]Taken = @splat(.{});
    for (0..count) |i| {
        const share: product.Share = .{ .index = count - 1 - i, .count = count, .taken = &taken };
        kernels.multiply(&followed, tiles.ptr, rows.n_tokens, added, again.ptr, share);
    }
    const n_sums = rows.n_tokens * weight.n_out;
    const expected = std.mem.sliceAsBytes(sums[0..n_sums]);
    try testing.expectEqualSlices(u8, expected, std.mem.sliceAsBytes(again[0..n_sums]));
}

/// The most shares that tests divide a work into.
const shares_most = 5;

/// What 8 bits make of a value of the block that it lies in.
fn rounded(values: []const f32, k: usize) f64 {
    const block = values[k / block_len * block_len ..][0..block_len];
    var largest: f32 = 0;
    for (block) |v| largest = @max(largest, @abs(v));
    if (largest == 0) return 0;
    const scaled = values[k] * (127 / largest);
    // Nearest, to even where two are.
    const whole = (scaled + 0x1.8p23) - 0x1.8p23;
    return @as(f64, whole) * (largest / 127);
}

test "multiply() sums what the blocks hold, on every variant" {
    var prng: std.Random.DefaultPrng = .init(1);
    const random = prng.random();
    for (formats) |format| {
        for ([_][3]usize{ .{ 1, 16, 65 }, .{ 2, 48, 19 }, .{ 5, 16, 21 } }) |shape| {
            const n_groups, const n_out, const n_tokens = shape;
            const n_in = n_groups * format.groupLen();
            var case: Case = try .init(random, format, n_in, n_out);
            defer case.deinit();
            const values = try allocator.alloc(f32, n_in * n_tokens);
            defer allocator.free(values);
            for (values) |*v| v.* = random.floatNorm(f32);
            const sums = try allocator.alloc(f32, n_out * n_tokens);
            defer allocator.free(sums);
            for (variant.runnable()) |kernels| {
                @memset(sums, std.math.nan(f32));
                try multiply(&kernels.product, &case.weight, values, 1, sums);
                try check(&case, values, sums);
            }
        }
    }
}

fn check(case: *const Case, values: []const f32, sums: []const f32) !void {
    const n_in = case.weight.n_in;
    const n_out = case.weight.n_out;
    var power: f64 = 0;
    var error_of_sums: f64 = 0;
    var error_of_8_bits: f64 = 0;
    for (sums, 0..) |found, i| {
        const row = values[i / n_out * n_in ..][0..n_in];
        var exact: f64 = 0;
        var quantized: f64 = 0;
        for (row, 0..) |value, k| {
            const weight = case.at(i % n_out, k);
            exact += weight * value;
            quantized += weight * rounded(row, k);
        }
        power += exact * exact;
        error_of_sums += (found - quantized) * (found - quantized);
        error_of_8_bits += (found - exact) * (found - exact);
    }
    try testing.expect(error_of_sums / power < 1e-13);
    try testing.expect(error_of_8_bits / power < 5e-5);
}

/// More tokens than pass together where panels are unpacked, which only x86-64 does.
const n_many = if (builtin.cpu.arch == .x86_64) 16 * 16 + 5 else 67;

test "multiply() gives a row the same bits in any batch and any number of shares" {
    var prng: std.Random.DefaultPrng = .init(2);
    const random = prng.random();
    const n_out = 48;
    const values = try allocator.alloc(f32, 1024 * n_many);
    defer allocator.free(values);
    for (values) |*v| v.* = random.floatNorm(f32);
    const alone = try allocator.alloc(f32, n_out * n_many);
    defer allocator.free(alone);
    const together = try allocator.alloc(f32, n_out * n_many);
    defer allocator.free(together);
    for (formats) |format| {
        // Chunks of blocks that are not equally long, where a format has such.
        const n_in: usize = if (format.groupLen() == block_len) 25 * block_len else 1024;
        var case: Case = try .init(random, format, n_in, n_out);
        defer case.deinit();
        for (variant.runnable()) |kernels| {
            for (0..n_many) |t| {
                const row = values[t * n_in ..][0..n_in];
                try multiply(&kernels.product, &case.weight, row, 1, alone[t * n_out ..]);
            }
            for ([_]usize{ 1, 3, 4, 8, 15, 17, 67, n_many }) |n| {
                for ([_]usize{ 1, 2, 5 }) |count| {
                    @memset(together, std.math.nan(f32));
                    const batch = values[0 .. n * n_in];
                    try multiply(&kernels.product, &case.weight, batch, count, together);
                    const expected = std.mem.sliceAsBytes(alone[0 .. n * n_out]);
                    const found = std.mem.sliceAsBytes(together[0 .. n * n_out]);
                    try testing.expectEqualSlices(u8, expected, found);
                }
            }
        }
    }
}

test "quantize() norms rows and takes SwiGLU of them first" {
    var prng: std.Random.DefaultPrng = .init(6);
    const random = prng.random();
    const n_in = 96;
    const n_out = 32;
    const n_tokens = 19;
    var case: Case = try .init(random, .q8_0, n_in, n_out);
    defer case.deinit();
    var values: [2 * n_in * n_tokens]f32 = undefined;
    for (&values) |*v| v.* = random.floatNorm(f32) * 3;
    var weight: [n_in]f32 = undefined;
    for (&weight) |*w| w.* = random.floatNorm(f32);
    var added: [n_out * n_tokens]f32 = undefined;
    for (&added) |*a| a.* = random.floatNorm(f32);
    for ([_]product.Rows.First{ .rms_norm, .swiglu }) |first| {
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
            var plain: [n_out * n_tokens]f32 = undefined;
            try multiply(&kernels.product, &case.weight, &prepared, 1, &plain);
            var one: [n_out * n_tokens]f32 = undefined;
            for ([_]usize{ 1, 2, 5 }) |count| {
                var sums: [n_out * n_tokens]f32 = undefined;
                try multiplyRows(&kernels.product, &case.weight, &rows, &added, count, &sums);
                if (count == 1) one = sums;
                try testing.expectEqualSlices(f32, &one, &sums);
            }
            // A value on the edge between two quants may fall to either side.
            for (plain, added, one) |p, a, found| {
                try testing.expectApproxEqAbs(p + a, found, 0.02);
            }
            try testing.expect(distance(&plain, &added, &one) < 1e-6);
        }
    }
}

/// One row as it is before it is quantized, in double precision.
fn prepare(first: product.Rows.First, row: []const f32, weight: []const f32, out: []f32) void {
    const n_in = weight.len;
    var squares: f64 = 0;
    for (row[0..n_in]) |x| squares += @as(f64, x) * x;
    const scale = 1 / @sqrt(squares / @as(f64, @floatFromInt(n_in)) + 0.5);
    for (row[0..n_in], row[n_in..], weight, out[0..n_in]) |x, up, w, *to| to.* = @floatCast(
        if (first == .rms_norm) x * scale * w else x / (1 + @exp(-@as(f64, x))) * up,
    );
}

/// Normalized mean square of what differs from p + a.
fn distance(plain: []const f32, added: []const f32, found: []const f32) f64 {
    var power: f64 = 0;
    var difference: f64 = 0;
    for (plain, added, found) |p, a, f| {
        power += @as(f64, p) * p;
        difference += @as(f64, p + a - f) * (p + a - f);
    }
    return difference / power;
}

test "readRow() reads from panels what ggml reads from a file" {
    var prng: std.Random.DefaultPrng = .init(5);
    var found: [512]f32 = undefined;
    for (formats) |format| {
        var case: Case = try .init(prng.random(), format, found.len, 32);
        defer case.deinit();
        for (0..32) |row| {
            product.readRow(format, case.panels.ptr, found.len, row, &found);
            const expected = case.values[row * found.len ..][0..found.len];
            try testing.expectEqualSlices(f32, expected, &found);
        }
    }
}

/// Hashes of layout_version and two panels of each format. Where one of them changes, panels that
/// lie in files would be misread: raise layout_version first, then write what the test finds.
fn layoutHash(format: Format) u64 {
    return switch (format) {
        .q4_0, .iq4_nl => 0x7b9050e2ed745a6b,
        .q4_1 => 0x76f7be70b8d29332,
        .q5_0 => 0xd54cecb3c849791a,
        .q5_1 => 0x9bb3c76a3e2c99fd,
        // Bytes have an offset where the processor wants no sign.
        .q8_0 => if (byte_offset == 0) 0x328d85aa8c34c67b else 0x333be4fdd67aba7b,
        .q2_k => 0x259a7dd336cd5c90,
        .q3_k => 0xfc07fe4c4d31935d,
        .q4_k => 0xa5146a3d6bbd01f3,
        .q5_k => 0xf56f9641f24d9f6b,
        .q6_k => 0xd53809a7469eb413,
        .iq4_xs => 0x504d57402e9f649e,
        .tq1_0 => 0x588e81ff8cfd0285,
        .tq2_0 => 0xbdd146131edec9c9,
        .mxfp4 => 0x6cb6067170741dfa,
    };
}

test "pack() lays panels as layout_version says" {
    for (formats) |format| {
        const n_in = 512;
        var rows: [32 * n_in * 2]u8 = undefined;
        for (&rows, 0..) |*byte, i| byte.* = @truncate(i *% 2_654_435_761 >> 16);
        var panels: [rows.len]u8 = undefined;
        const n = 32 * n_in / format.groupLen() * format.groupBytes();
        product.pack(format, rows[0..n], panels[0..n], n_in);
        var hash: std.hash.Fnv1a_64 = .init();
        hash.update(&.{product.layout_version});
        hash.update(panels[0..n]);
        errdefer std.debug.print("{t} has the hash 0x{x}\n", .{ format, hash.final() });
        try testing.expectEqual(layoutHash(format), hash.final());
    }
}

test "quantize() keeps zeros, and numbers that differ by many orders" {
    var prng: std.Random.DefaultPrng = .init(3);
    var case: Case = try .init(prng.random(), .q8_0, 64, 16);
    defer case.deinit();
    var values: [64]f32 = @splat(0);
    var sums: [16]f32 = undefined;
    for (variant.runnable()) |kernels| {
        try multiply(&kernels.product, &case.weight, &values, 1, &sums);
        for (sums) |sum| try testing.expectEqual(0, sum);
    }
    values[3] = 3e30;
    values[40] = -2e-30;
    for (variant.runnable()) |kernels| {
        try multiply(&kernels.product, &case.weight, &values, 1, &sums);
        for (sums, 0..) |sum, row| {
            const expected = case.at(row, 3) * 3e30;
            try testing.expectApproxEqRel(expected, sum, 1e-6);
        }
    }
}

test "Format.of() knows the types of ggml that lie in panels" {
    try testing.expectEqual(Format.q4_1, Format.of(3).?);
    try testing.expectEqual(null, Format.of(0));
    try testing.expectEqual(Format.q6_k, Format.of(14).?);
    try testing.expectEqual(null, Format.of(16));
}
