//! Cells of every type, against their reading by scalar code.
const std = @import("std");
const cell = @import("cell.zig");
const testing = std.testing;

/// What a row holds, by its definition in ggml.
pub fn read(type_: cell.Type, row: []const u8, values: []f32) void {
    for (values, 0..) |*value, i| value.* = switch (type_) {
        .f32 => @bitCast(std.mem.readInt(u32, row[4 * i ..][0..4], .little)),
        .f16 => halfOf(row[2 * i ..]),
        .q8_0 => halfOf(row[i / 32 * 34 ..]) *
            @as(f32, @floatFromInt(@as(i8, @bitCast(row[i / 32 * 34 + 2 + i % 32])))),
    };
}

fn halfOf(bytes: []const u8) f32 {
    return @as(f16, @bitCast(std.mem.readInt(u16, bytes[0..2], .little)));
}

fn stored(type_: cell.Type, values: []const f32, row: []u8, found: []f32) void {
    cell.store(type_, values.ptr, values.len, row.ptr);
    read(type_, row[0..type_.bytes(values.len)], found);
}

test "store() rounds to the nearest half float, of two the even one" {
    var prng: std.Random.DefaultPrng = .init(1);
    var values: [4096]f32 = undefined;
    // Every exponent, and halves between two half floats.
    for (&values, 0..) |*x, i| {
        const bits = prng.random().int(u32);
        x.* = @bitCast(if (i % 2 == 0) bits else bits & 0xffff_f000 | 0x1000);
        if (std.math.isNan(x.*)) x.* = 1;
    }
    var row: [2 * values.len]u8 = undefined;
    var found: [values.len]f32 = undefined;
    stored(.f16, &values, &row, &found);
    for (values, found) |x, y| try testing.expectEqual(@as(f32, @as(f16, @floatCast(x))), y);
}

test "store() of q8_0 keeps each value of a block to half of its scale" {
    var prng: std.Random.DefaultPrng = .init(2);
    var values: [320]f32 = undefined;
    for (&values, 0..) |*x, i| x.* = prng.random().floatNorm(f32) * @as(f32, @floatFromInt(i / 32));
    var row: [340]u8 = undefined;
    var found: [values.len]f32 = undefined;
    stored(.q8_0, &values, &row, &found);
    for (0..values.len / 32) |block| {
        var largest: f32 = 0;
        for (values[32 * block ..][0..32]) |x| largest = @max(largest, @abs(x));
        // The scale itself is rounded to a half float.
        for (values[32 * block ..][0..32], found[32 * block ..][0..32]) |x, y| {
            try testing.expectApproxEqAbs(x, y, largest / 127 * 0.57);
        }
    }
}

test "load() gives what a row holds, of every type" {
    var prng: std.Random.DefaultPrng = .init(3);
    var values: [96]f32 = undefined;
    for (&values) |*x| x.* = prng.random().floatNorm(f32);
    inline for (comptime std.enums.values(cell.Type)) |type_| {
        var row: [4 * values.len]u8 = undefined;
        var expected: [values.len]f32 = undefined;
        stored(type_, &values, &row, &expected);
        for (0..values.len / 16) |i| {
            const found: [16]f32 = cell.load(type_, &row, i);
            try testing.expectEqualSlices(f32, expected[16 * i ..][0..16], &found);
        }
    }
}
