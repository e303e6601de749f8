//! The codes of TQ1_0: bytes of five digits in base 3, which stay in panels as a file has them.
//! A vector has one word of each of 16 rows, as those of other formats do, but one digit of it
//! after the other: the codes of up to five vectors.
const std = @import("std");
const builtin = @import("builtin");
const testing = std.testing;

/// Words of digits that one row of a group of 256 values has.
pub const n_words = 13;
/// From one vector of a panel to the next.
const vector_bytes = 64;

/// What codes() of format.zig gives: 0, 1 or 2 for each value.
pub inline fn codes(
    comptime n_rows: usize,
    group: [*]const u8,
    b: usize,
) [8]@Vector(4 * n_rows, u8) {
    const Vector = @Vector(4 * n_rows, u8);
    var all: [8]Vector = undefined;
    inline for (&all, places[8 * b ..][0..8]) |*to, place| {
        const bytes: Vector = group[vector_bytes * place.word ..][0 .. 4 * n_rows].*;
        to.* = digits(bytes, place.power);
    }
    return all;
}

const Place = struct { word: u32, power: u32 };

/// The word that four neighbours lie in, and the power of 3 that brings their digit to the front.
/// 160 values lie in 32 bytes, those of one byte 32 apart; 80 in 16, 16 apart; 16 in 4, 4 apart.
const places: [64]Place = places: {
    const powers = [_]u32{ 1, 3, 9, 27, 81 };
    var all: [64]Place = undefined;
    for (&all, 0..) |*place, i| place.* = if (i < 40)
        .{ .word = i % 8, .power = powers[i / 8] }
    else if (i < 60)
        .{ .word = 8 + i % 4, .power = powers[(i - 40) / 4] }
    else
        .{ .word = 12, .power = powers[i - 60] };
    break :places all;
};

/// One digit of each byte. A byte is a fraction of 256, rounded up: times the power of 3 it begins
/// with the digit, once its whole part is gone, and three times what is left has that as its own.
inline fn digits(bytes: anytype, power: u32) @TypeOf(bytes) {
    const Vector = @TypeOf(bytes);
    const n = @typeInfo(Vector).vector.len;
    const Words = @Vector(n / 2, u16);
    if (builtin.cpu.arch == .x86_64) {
        // No bytes can be multiplied there, so every second one becomes the high half of a word.
        const factor: Words = @splat(@intCast(power << 8));
        const words: Words = @bitCast(bytes);
        const even = multiplyHigh(words *% factor, 3);
        const odd = multiplyHigh((words >> @splat(8)) *% factor, 3 << 8);
        return @bitCast(even | (odd & @as(Words, @splat(0xff00))));
    }
    const rest = bytes *% @as(Vector, @splat(@intCast(power)));
    const Wide = @Vector(n, u16);
    return @truncate(@as(Wide, rest) * @as(Wide, @splat(3)) >> @splat(8));
}

/// The high 16 bits of products with `factor`.
inline fn multiplyHigh(words: anytype, factor: u32) @TypeOf(words) {
    const Wide = @Vector(@typeInfo(@TypeOf(words)).vector.len, u32);
    return @truncate(@as(Wide, words) * @as(Wide, @splat(factor)) >> @splat(16));
}

test "digits() reads five digits of every byte as ggml does, whatever lies beside it" {
    for ([_]u32{ 1, 3, 9, 27, 81 }) |power| {
        // Each byte is once an even one and once an odd one.
        for ([_]usize{ 0, 1 }) |first| {
            var bytes: [256]u8 = undefined;
            var expected: [256]u8 = undefined;
            for (&bytes, &expected, first..) |*byte, *digit, i| {
                byte.* = @truncate(i *% 91);
                digit.* = @intCast(byte.* * power % 256 * 3 >> 8);
            }
            const found: [256]u8 = digits(@as(@Vector(256, u8), bytes), power);
            try testing.expectEqual(expected, found);
        }
    }
}
