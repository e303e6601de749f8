//! Rows of the cache by the type of its cells: sixteen values of one are read, and one is written.
//! Sizes and numbers of the types are ggml's.
const std = @import("std");
const half = @import("half.zig");

const F = half.F;
const lanes = half.lanes;

/// What a cell is made of, by ggml's numbers.
pub const Type = enum(c_int) {
    f32 = 0,
    f16 = 1,
    /// Blocks of 32: a half float, and 32 whole numbers that it scales.
    q8_0 = 8,

    /// A row has a multiple of so many values.
    pub fn blockLen(type_: Type) usize {
        return if (type_ == .q8_0) block_len else 1;
    }

    /// Bytes of `n` values.
    pub fn bytes(type_: Type, n: usize) usize {
        return switch (type_) {
            .f32 => 4 * n,
            .f16 => 2 * n,
            .q8_0 => n / block_len * block_bytes,
        };
    }
};

const block_len = 32;
const block_bytes = 2 + block_len;

/// Values 16 * index and on of a row.
pub inline fn load(comptime type_: Type, row: [*]const u8, index: usize) F {
    switch (type_) {
        .f32 => return @as(*align(1) const F, @ptrCast(row + 4 * lanes * index)).*,
        .f16 => return half.load(row + 2 * lanes * index),
        .q8_0 => {
            const block = row + index / 2 * block_bytes;
            const scale = half.one(@bitCast(@as(*align(1) const u16, @ptrCast(block)).*));
            const at = block + 2 + index % 2 * lanes;
            const numbers = @as(*align(1) const @Vector(lanes, i8), @ptrCast(at)).*;
            return @as(F, @floatFromInt(numbers)) * @as(F, @splat(scale));
        },
    }
}

/// Writes a row of `n` values, a multiple of 16 and of the type's blocks.
pub fn store(type_: Type, values: [*]const f32, n: usize, row: [*]u8) void {
    switch (type_) {
        .f32 => @memcpy(row[0 .. 4 * n], @as([*]const u8, @ptrCast(values))),
        .f16 => for (0..n / lanes) |i| half.store(vector(values + lanes * i), row + 2 * lanes * i),
        .q8_0 => for (0..n / block_len) |i| {
            storeBlock(values + block_len * i, row + block_bytes * i);
        },
    }
}

/// As ggml's quantizer on x86-64 does it: halves go to the even neighbour.
fn storeBlock(values: [*]const f32, block: [*]u8) void {
    const parts: [2]F = .{ vector(values), vector(values + lanes) };
    const largest = @reduce(.Max, @max(@abs(parts[0]), @abs(parts[1])));
    const scale = half.bitsOf(@splat(largest / 127));
    @as(*align(1) u16, @ptrCast(block)).* = scale[0];
    const inverse: F = @splat(if (largest == 0) 0 else 127 / largest);
    inline for (parts, 0..) |part, i| {
        // Adding and subtracting it rounds to the nearest whole number.
        const rounder: F = @splat(12582912.0);
        const numbers: @Vector(lanes, i32) = @intFromFloat(part * inverse + rounder - rounder);
        const to: *align(1) @Vector(lanes, i8) = @ptrCast(block + 2 + lanes * i);
        to.* = @truncate(numbers);
    }
}

inline fn vector(values: [*]const f32) F {
    return @as(*align(4) const F, @ptrCast(values)).*;
}
