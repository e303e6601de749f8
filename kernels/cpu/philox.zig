//! Philox4x32-10, a generator without state: the numbers at a position are a function of it.
//!
//! Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
const std = @import("std");

const multiplier_0: u64 = 0xD2511F53;
const multiplier_1: u64 = 0xCD9E8D57;
const weyl_0: u32 = 0x9E3779B9;
const weyl_1: u32 = 0xBB67AE85;
const n_rounds = 10;

/// Four independent numbers for each counter and key.
pub fn philox(counter: [4]u32, key: [2]u32) [4]u32 {
    var x = counter;
    var k = key;
    for (0..n_rounds) |_| {
        const p0 = multiplier_0 * x[0];
        const p1 = multiplier_1 * x[2];
        x = .{
            @as(u32, @truncate(p1 >> 32)) ^ x[1] ^ k[0],
            @truncate(p1),
            @as(u32, @truncate(p0 >> 32)) ^ x[3] ^ k[1],
            @truncate(p0),
        };
        k[0] +%= weyl_0;
        k[1] +%= weyl_1;
    }
    return x;
}

test "philox() gives the known answers of its authors" {
    const ones = 0xffffffff;
    try std.testing.expectEqual(
        [4]u32{ 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 },
        philox(.{ 0, 0, 0, 0 }, .{ 0, 0 }),
    );
    try std.testing.expectEqual(
        [4]u32{ 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd },
        philox(@splat(ones), @splat(ones)),
    );
    try std.testing.expectEqual(
        [4]u32{ 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 },
        philox(
            .{ 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 },
            .{ 0xa4093822, 0x299f31d0 },
        ),
    );
}
