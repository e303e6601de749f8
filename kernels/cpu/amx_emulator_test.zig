//! Tiles of the processor or of the emulator, against values that were computed by hand.
const std = @import("std");
const emulation = @import("amx_emulator.zig");
const configure = emulation.configure;
const readConfig = emulation.readConfig;
const Context = emulation.Context;
const Emulator = emulation.Emulator;
const Fault = emulation.Fault;
const Instruction = emulation.Instruction;
const Tiles = emulation.Tiles;
const testing = std.testing;

/// Palette 1 with rows and bytes of a row for the first tiles.
fn configOf(shapes: []const [2]u8) [64]u8 {
    var config: [64]u8 = @splat(0);
    config[0] = 1;
    for (shapes, 0..) |shape, n| {
        config[48 + n], config[16 + 2 * n] = shape;
    }
    return config;
}

// More instructions as bytes.

fn load(comptime n: u8, from: *const anyopaque, stride: usize) void {
    const modrm = std.fmt.comptimePrint("{d}", .{4 + 8 * n});
    // tileloadd (%rax,%rcx,1), %tmmN
    asm volatile (".byte 0xc4, 0xe2, 0x7b, 0x4b, " ++ modrm ++ ", 0x08"
        :
        : [from] "{rax}" (from),
          [stride] "{rcx}" (stride),
        : .{ .memory = true });
}

fn store(to: *anyopaque, stride: usize) void {
    asm volatile (".byte 0xc4, 0xe2, 0x7a, 0x4b, 0x04, 0x08" // tilestored %tmm0, (%rax,%rcx,1)
        :
        : [to] "{rax}" (to),
          [stride] "{rcx}" (stride),
        : .{ .memory = true });
}

fn multiply() void {
    asm volatile (".byte 0xc4, 0xe2, 0x6b, 0x5e, 0xc1"); // tdpbssd %tmm2, %tmm1, %tmm0
}

fn release() void {
    asm volatile (".byte 0xc4, 0xe2, 0x78, 0x49, 0xc0"); // tilerelease
}

fn zero() void {
    asm volatile (".byte 0xc4, 0xe2, 0x7b, 0x49, 0xc0"); // tilezero %tmm0
}

const a = [2][8]i8{ .{ 1, 2, 3, 4, -5, 6, 7, 8 }, .{ -128, 0, 0, 1, 0, 0, 0, 2 } };
const b = [2][3][4]i8{
    .{ .{ 1, 1, 1, 1 }, .{ -1, 2, 0, 0 }, .{ 127, -128, 0, 1 } },
    .{ .{ 1, 0, 0, 0 }, .{ 0, 0, 0, -3 }, .{ 2, 2, 2, 2 } },
};
const products = [2][3]i32{ .{ 5, -21, -93 }, .{ -127, 122, -16251 } };

test "tdpbssd adds products of four signed bytes to tiles of unequal shapes" {
    const emulator: Emulator = try .start();
    defer emulator.stop();
    configure(&configOf(&.{ .{ 2, 12 }, .{ 2, 8 }, .{ 2, 12 } }));
    const before = [2][5]i32{ .{ 100, 200, 300, 7, 7 }, .{ 400, 500, 600, 7, 7 } };
    load(0, &before, 20);
    load(1, &a, 8);
    load(2, &b, 12);
    multiply();
    var found: [2][4]i32 = @splat(@splat(9));
    store(&found, 16);
    for (products, before, found) |row, start, sums| {
        for (row, start[0..3], sums[0..3]) |product, s, sum| {
            try testing.expectEqual(product + s, sum);
        }
        try testing.expectEqual(9, sums[3]);
    }
}

test "tilezero clears a tile, ldtilecfg all of them; sttilecfg tells what is configured" {
    const emulator: Emulator = try .start();
    defer emulator.stop();
    const config = configOf(&.{ .{ 2, 12 }, .{ 1, 4 } });
    configure(&config);
    try testing.expectEqual(config, readConfig());
    for ([_]enum { zero, configure }{ .zero, .configure }) |what| {
        var found: [2][3]i32 = products;
        load(0, &found, 12);
        if (what == .zero) zero() else configure(&config);
        store(&found, 12);
        try testing.expectEqual(@as([2][3]i32, @splat(@splat(0))), found);
    }
    for ([_]enum { release, configure }{ .release, .configure }) |what| {
        configure(&config);
        if (what == .release) release() else configure(&@splat(0));
        try testing.expectEqual(@as([64]u8, @splat(0)), readConfig());
    }
}

test "Tiles refuses what the processor refuses" {
    var t: Tiles = .{};
    const good = configOf(&.{ .{ 2, 12 }, .{ 2, 8 }, .{ 2, 12 }, .{ 3, 8 }, .{ 2, 6 } });
    try testing.expectError(Fault.NotConfigured, t.zero(0));
    for ([_]struct { usize, u8, Fault }{
        .{ 0, 2, Fault.UnknownPalette },
        .{ 1, 1, Fault.StartRowSet },
        .{ 2, 1, Fault.ReservedByteSet },
        .{ 15, 1, Fault.ReservedByteSet },
        .{ 32, 1, Fault.ReservedByteSet },
        .{ 47, 1, Fault.ReservedByteSet },
        .{ 56, 1, Fault.ReservedByteSet },
        .{ 63, 1, Fault.ReservedByteSet },
        .{ 16, 65, Fault.TooManyBytesInRow },
        .{ 17, 1, Fault.TooManyBytesInRow },
        .{ 48, 17, Fault.TooManyRows },
        .{ 48, 0, Fault.RowsWithoutBytes },
        .{ 55, 1, Fault.RowsWithoutBytes },
        .{ 30, 4, Fault.RowsWithoutBytes },
    }) |case| {
        var config = good;
        config[case[0]] = case[1];
        try testing.expectError(case[2], t.configure(&config));
    }
    try t.configure(&good);
    try t.multiply(0, 1, 2);
    var bytes: [64]u8 = undefined;
    try testing.expectError(Fault.NoSuchTile, t.zero(5));
    try testing.expectError(Fault.NoSuchTile, t.load(9, @intFromPtr(&bytes), 0));
    try testing.expectError(Fault.NoSuchTile, t.store(7, @intFromPtr(&bytes), 0));
    try t.zero(4);
    try testing.expectError(Fault.BytesNoMultipleOf4, t.load(4, @intFromPtr(&bytes), 0));
    try testing.expectError(Fault.BytesNoMultipleOf4, t.store(4, @intFromPtr(&bytes), 0));
    try testing.expectError(Fault.SameTileTwice, t.multiply(0, 0, 2));
    try testing.expectError(Fault.SameTileTwice, t.multiply(0, 1, 0));
    try testing.expectError(Fault.SameTileTwice, t.multiply(0, 1, 1));
    try testing.expectError(Fault.ShapesDiffer, t.multiply(0, 3, 2)); // rows of the sums
    try testing.expectError(Fault.ShapesDiffer, t.multiply(0, 2, 1)); // a's bytes, b's rows
    try testing.expectError(Fault.ShapesDiffer, t.multiply(1, 0, 2)); // bytes of the sums
    try testing.expectError(Fault.BytesNoMultipleOf4, t.multiply(0, 1, 4));
}

test "decode() reads operands as an assembler wrote them" {
    var context: Context = undefined;
    // rax is 0, rcx 100, and so on by the numbers of instructions.
    context.registers = .{
        800, 900, 1000, 1100, 1200, 1300, 1400, 1500, 700, 600, 500, 300, 200, 0, 100, 400, 0,
    };
    const relative = [_]u8{ 0xc4, 0xe2, 0x78, 0x49, 0x05, 0x00, 0x01, 0, 0 };
    const behind = @intFromPtr(&relative) + relative.len;
    for ([_]struct { []const u8, @FieldType(Instruction, "kind"), [3]usize, usize, usize }{
        // tileloadd 0x1234(%r12,%r9,4), %tmm7
        .{
            &.{ 0xc4, 0x82, 0x7b, 0x4b, 0xbc, 0x8c, 0x34, 0x12, 0, 0 },
            .tileloadd,
            .{ 7, 0, 0 },
            1200 + 0x1234,
            3600,
        },
        // tileloadd -0x8(%rbp,%rcx,2), %tmm3
        .{ &.{ 0xc4, 0xe2, 0x7b, 0x4b, 0x5c, 0x4d, 0xf8 }, .tileloadd, .{ 3, 0, 0 }, 492, 200 },
        // tileloadd 0x8(,%r13,8), %tmm3
        .{
            &.{ 0xc4, 0xa2, 0x7b, 0x4b, 0x1c, 0xed, 8, 0, 0, 0 },
            .tileloadd,
            .{ 3, 0, 0 },
            8,
            10400,
        },
        // tileloadd (%rsp), %tmm3
        .{ &.{ 0xc4, 0xe2, 0x7b, 0x4b, 0x1c, 0x24 }, .tileloadd, .{ 3, 0, 0 }, 400, 0 },
        // tilestored %tmm0, (%rax,%rcx,1)
        .{ &.{ 0xc4, 0xe2, 0x7a, 0x4b, 0x04, 0x08 }, .tilestored, .{ 0, 0, 0 }, 0, 100 },
        // ldtilecfg 0x40(%rsp)
        .{ &.{ 0xc4, 0xe2, 0x78, 0x49, 0x44, 0x24, 0x40 }, .ldtilecfg, .{ 0, 0, 0 }, 464, 0 },
        // ldtilecfg 0x4000(%r13)
        .{
            &.{ 0xc4, 0xc2, 0x78, 0x49, 0x85, 0, 0x40, 0, 0 },
            .ldtilecfg,
            .{ 0, 0, 0 },
            1300 + 0x4000,
            0,
        },
        // ldtilecfg 0x100(%rip)
        .{ &relative, .ldtilecfg, .{ 0, 0, 0 }, behind + 0x100, 0 },
        // sttilecfg (%rax)
        .{ &.{ 0xc4, 0xe2, 0x79, 0x49, 0x00 }, .sttilecfg, .{ 0, 0, 0 }, 0, 0 },
        // tdpbssd %tmm7, %tmm6, %tmm5
        .{ &.{ 0xc4, 0xe2, 0x43, 0x5e, 0xee }, .tdpbssd, .{ 5, 6, 7 }, 0, 0 },
        // tilezero %tmm5
        .{ &.{ 0xc4, 0xe2, 0x7b, 0x49, 0xe8 }, .tilezero, .{ 5, 0, 0 }, 0, 0 },
    }) |case| {
        const bytes, const kind, const tiles, const address, const stride = case;
        const found = Instruction.decode(bytes.ptr, &context).?;
        try testing.expectEqual(
            Instruction{
                .kind = kind,
                .tiles = tiles,
                .address = address,
                .stride = stride,
                .len = bytes.len,
            },
            found,
        );
    }
    // tdpbf16ps, vpdpbusd %ymm2, %ymm1, %ymm0, tilezero with W and with L, ud2
    for ([_][5]u8{
        .{ 0xc4, 0xe2, 0x42, 0x5c, 0xee },
        .{ 0xc4, 0xe2, 0x75, 0x50, 0xc2 },
        .{ 0xc4, 0xe2, 0xfb, 0x49, 0xe8 },
        .{ 0xc4, 0xe2, 0x7f, 0x49, 0xe8 },
        .{ 0x0f, 0x0b, 0x90, 0x90, 0x90 },
    }) |bytes| try testing.expectEqual(null, Instruction.decode(&bytes, &context));
}
