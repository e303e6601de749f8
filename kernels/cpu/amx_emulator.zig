//! The processor's tiles (AMX) played in software, so that what uses them is tested on every x86-64
//! with Linux: a processor without them raises SIGILL, and its handler does what the instruction
//! does and steps over it. After Intel's Software Developer's Manual, volume 2; for tests alone.
//! What the processor refuses ends the program with a message, as does any other illegal
//! instruction.
const std = @import("std");
const linux = std.os.linux;
const variant = @import("variant.zig");

const max_rows = 16;
const max_bytes = 64;

/// Tiles for the tests that run between start() and stop(): the processor's own where the system
/// lets programs use them, else those of this file.
pub const Emulator = struct {
    /// What happened at SIGILL before.
    before: linux.Sigaction,
    /// How this thread's tiles were configured before.
    config: [64]u8,

    pub fn start() error{SkipZigTest}!Emulator {
        const action: linux.Sigaction = .{
            .handler = .{ .sigaction = &onIllegalInstruction },
            .mask = std.mem.zeroes(linux.sigset_t),
            .flags = linux.SA.SIGINFO,
        };
        var emulator: Emulator = undefined;
        std.debug.assert(linux.sigaction(.ILL, &action, &emulator.before) == 0);
        n_played = 0;
        emulator.config = readConfig();
        if (n_played > 0 or variant.canUseTiles()) return emulator;
        // Some instructions would run and others raise SIGILL.
        std.debug.print("The system keeps the processor's tiles from this program\n", .{});
        emulator.stop();
        return error.SkipZigTest;
    }

    pub fn stop(emulator: *const Emulator) void {
        configure(&emulator.config);
        std.debug.assert(linux.sigaction(.ILL, &emulator.before, null) == 0);
    }
};

// Instructions as bytes, because the tests are compiled for this processor.

/// LDTILECFG.
pub fn configure(config: *const [64]u8) void {
    asm volatile (".byte 0xc4, 0xe2, 0x78, 0x49, 0x00" // ldtilecfg (%rax)
        :
        : [config] "{rax}" (config),
        : .{ .memory = true });
}

/// STTILECFG.
pub fn readConfig() [64]u8 {
    var config: [64]u8 = @splat(255);
    asm volatile (".byte 0xc4, 0xe2, 0x79, 0x49, 0x00" // sttilecfg (%rax)
        :
        : [config] "{rax}" (&config),
        : .{ .memory = true });
    return config;
}

/// Instructions that this thread did not have.
threadlocal var n_played: usize = 0;
threadlocal var tiles: Tiles = .{};

/// What the processor refuses.
pub const Fault = error{
    UnknownPalette,
    StartRowSet,
    ReservedByteSet,
    TooManyBytesInRow,
    TooManyRows,
    RowsWithoutBytes,
    NotConfigured,
    NoSuchTile,
    SameTileTwice,
    BytesNoMultipleOf4,
    ShapesDiffer,
};

/// The state of one thread.
pub const Tiles = struct {
    config: [64]u8 = @splat(0),
    data: [8][max_rows][max_bytes]u8 = @splat(@splat(@splat(0))),

    const Shape = struct { rows: usize, bytes: usize };

    /// LDTILECFG: byte 0 is the palette, word n from byte 16 on the bytes of each row of tile n,
    /// byte n from 48 on its rows; all others are 0. Palette 0 lets the tiles go.
    pub fn configure(t: *Tiles, config: *const [64]u8) Fault!void {
        if (config[0] > 1) return error.UnknownPalette;
        if (config[0] == 1) {
            if (config[1] != 0) return error.StartRowSet; // legal, but not played here
            const reserved = config[2..16] ++ config[32..48] ++ config[56..64];
            if (!std.mem.allEqual(u8, reserved, 0)) return error.ReservedByteSet;
            for (0..t.data.len) |n| {
                const shape = shapeIn(config, n);
                if (shape.bytes > max_bytes) return error.TooManyBytesInRow;
                if (shape.rows > max_rows) return error.TooManyRows;
                if ((shape.rows == 0) != (shape.bytes == 0)) return error.RowsWithoutBytes;
            }
        }
        t.* = .{};
        if (config[0] == 1) t.config = config.*;
    }

    fn shapeIn(config: *const [64]u8, n: usize) Shape {
        const bytes = std.mem.readInt(u16, config[16 + 2 * n ..][0..2], .little);
        return .{ .rows = config[48 + n], .bytes = bytes };
    }

    fn shapeOf(t: *const Tiles, n: usize) Fault!Shape {
        if (t.config[0] == 0) return error.NotConfigured;
        if (n >= t.data.len or t.config[48 + n] == 0) return error.NoSuchTile;
        return shapeIn(&t.config, n);
    }

    /// The same of a tile whose rows are whole words, as all but TILEZERO need it.
    fn wordsOf(t: *const Tiles, n: usize) Fault!Shape {
        const shape = try t.shapeOf(n);
        return if (shape.bytes % 4 == 0) shape else error.BytesNoMultipleOf4;
    }

    /// TILEZERO.
    pub fn zero(t: *Tiles, n: usize) Fault!void {
        _ = try t.shapeOf(n);
        t.data[n] = @splat(@splat(0));
    }

    /// TILELOADD: the rows lie `stride` bytes from each other. What is behind them becomes 0.
    pub fn load(t: *Tiles, n: usize, from: usize, stride: usize) Fault!void {
        const shape = try t.wordsOf(n);
        try t.zero(n);
        for (t.data[n][0..shape.rows], 0..) |*row, i| {
            const bytes: [*]const u8 = @ptrFromInt(from +% i *% stride);
            @memcpy(row[0..shape.bytes], bytes);
        }
    }

    /// TILESTORED.
    pub fn store(t: *const Tiles, n: usize, to: usize, stride: usize) Fault!void {
        const shape = try t.wordsOf(n);
        for (t.data[n][0..shape.rows], 0..) |row, i| {
            const bytes: [*]u8 = @ptrFromInt(to +% i *% stride);
            @memcpy(bytes, row[0..shape.bytes]);
        }
    }

    /// TDPBSSD: to each i32 [m][n] of `sums` it adds the products of bytes 4 k to 4 k + 3 of row m
    /// of `a` and of bytes 4 n to 4 n + 3 of row k of `b`, all with a sign.
    pub fn multiply(t: *Tiles, sums: usize, a: usize, b: usize) Fault!void {
        if (sums == a or sums == b or a == b) return error.SameTileTwice;
        const of_sums = try t.wordsOf(sums);
        const of_a = try t.wordsOf(a);
        const of_b = try t.wordsOf(b);
        if (of_sums.rows != of_a.rows or of_a.bytes / 4 != of_b.rows or
            of_sums.bytes != of_b.bytes) return error.ShapesDiffer;
        for (t.data[sums][0..of_sums.rows], t.data[a][0..of_a.rows]) |*row, values| {
            var total: [16]i32 = @bitCast(row.*);
            for (0..of_b.rows) |k| {
                const weights: [16][4]i8 = @bitCast(t.data[b][k]);
                const four: [4]i8 = @bitCast(values[4 * k ..][0..4].*);
                for (0..of_sums.bytes / 4) |n| {
                    inline for (four, weights[n]) |x, y| total[n] +%= @as(i32, x) * y;
                }
            }
            row.* = @bitCast(total);
        }
    }
};

/// What a signal's handler gets of the registers: `ucontext_t` up to the flags.
pub const Context = extern struct {
    flags: u64,
    link: u64,
    stack: [3]u64,
    /// r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip.
    registers: [17]u64,

    const rip = 16;

    /// A register by the number that instructions have for it.
    fn register(context: *const Context, number: u4) u64 {
        const places = [_]u8{ 13, 14, 12, 11, 15, 10, 9, 8, 0, 1, 2, 3, 4, 5, 6, 7 };
        return context.registers[places[number]];
    }
};

fn onIllegalInstruction(
    _: linux.SIG,
    _: *const linux.siginfo_t,
    context: ?*anyopaque,
) callconv(.c) void {
    const state: *Context = @ptrCast(@alignCast(context.?));
    const at: [*]const u8 = @ptrFromInt(state.registers[Context.rip]);
    const instruction = Instruction.decode(at, state) orelse
        std.process.fatal("Illegal instruction, none of tiles: {x}", .{at[0..16]});
    instruction.play(&tiles) catch |fault|
        std.process.fatal("{t} by {}", .{ fault, instruction });
    n_played += 1;
    state.registers[Context.rip] += instruction.len;
}

/// One instruction and the registers that it reads.
pub const Instruction = struct {
    kind: Kind,
    /// The tiles that ModRM.reg, ModRM.rm and VEX.vvvv name.
    tiles: [3]usize,
    address: usize = 0,
    stride: usize = 0,
    /// Bytes of the instruction.
    len: usize,

    const Kind = enum {
        ldtilecfg,
        sttilecfg,
        tilerelease,
        tilezero,
        tileloadd,
        tilestored,
        tdpbssd,
    };
    const ModRm = packed struct(u8) { rm: u3, reg: u3, mod: u2 };
    const Sib = packed struct(u8) { base: u3, index: u3, scale: u2 };

    /// Null for what is no instruction of tiles. They are those with a VEX prefix of three bytes,
    /// without W and L, that names the opcodes behind 0f 38.
    pub fn decode(at: [*]const u8, context: *const Context) ?Instruction {
        const Vex1 = packed struct(u8) { map: u5, not_b: u1, not_x: u1, not_r: u1 };
        const Vex2 = packed struct(u8) { prefix: u2, l: u1, not_v: u4, w: u1 };
        if (at[0] != 0xc4) return null;
        const one: Vex1 = @bitCast(at[1]);
        const two: Vex2 = @bitCast(at[2]);
        const modrm: ModRm = @bitCast(at[4]);
        if (one.map != 2 or two.l != 0 or two.w != 0) return null;
        const kind = kindOf(two.prefix, at[3], modrm) orelse return null;
        if (kind != .tdpbssd and two.not_v != 15) return null;
        const x: u4 = 1 - one.not_x;
        const b: u4 = 1 - one.not_b;
        var found: Instruction = .{
            .kind = kind,
            .tiles = .{
                modrm.reg + 8 * (1 - @as(usize, one.not_r)),
                if (modrm.mod == 3) modrm.rm + 8 * @as(usize, b) else 0,
                if (kind == .tdpbssd) 15 - @as(usize, two.not_v) else 0,
            },
            .len = 5,
        };
        if (modrm.mod != 3) found.readAddress(at, context, modrm, x, b);
        return found;
    }

    fn kindOf(prefix: u2, opcode: u8, modrm: ModRm) ?Kind {
        const none, const x66, const xf3, const xf2 = .{ 0, 1, 2, 3 };
        const in_memory = modrm.mod != 3;
        switch (opcode) {
            0x49 => {
                if (in_memory and modrm.reg != 0) return null;
                if (in_memory and prefix == none) return .ldtilecfg;
                if (in_memory and prefix == x66) return .sttilecfg;
                if (!in_memory and prefix == none and modrm.reg == 0 and modrm.rm == 0)
                    return .tilerelease;
                return if (!in_memory and prefix == xf2 and modrm.rm == 0) .tilezero else null;
            },
            0x4b => {
                // Rows need a base and an index.
                if (!in_memory or modrm.rm != 4) return null;
                if (prefix == xf2) return .tileloadd;
                return if (prefix == xf3) .tilestored else null;
            },
            0x5e => return if (!in_memory and prefix == xf2) .tdpbssd else null,
            else => return null,
        }
    }

    /// What stands behind ModRM, and the place in memory that it means.
    fn readAddress(
        self: *Instruction,
        at: [*]const u8,
        context: *const Context,
        modrm: ModRm,
        x: u4,
        b: u4,
    ) void {
        var base: ?u4 = modrm.rm + 8 * b;
        if (modrm.rm == 4) {
            const sib: Sib = @bitCast(at[self.len]);
            self.len += 1;
            const index = sib.index + 8 * x;
            if (index != 4) self.stride = context.register(index) << sib.scale;
            base = sib.base + 8 * b;
            if (sib.base == 5 and modrm.mod == 0) base = null;
        }
        const is_relative = modrm.rm == 5 and modrm.mod == 0;
        const has_word = modrm.mod == 2 or base == null or is_relative;
        const offset: i64 = if (has_word)
            std.mem.readInt(i32, at[self.len..][0..4], .little)
        else if (modrm.mod == 1) @as(i8, @bitCast(at[self.len])) else 0;
        self.len += if (has_word) 4 else modrm.mod;
        const from = if (is_relative)
            @intFromPtr(at) + self.len
        else if (base) |number| context.register(number) else 0;
        self.address = from +% @as(u64, @bitCast(offset));
    }

    fn play(self: Instruction, t: *Tiles) Fault!void {
        // Only the tiles have a stride.
        const place = self.address +% self.stride;
        switch (self.kind) {
            .ldtilecfg => try t.configure(@ptrFromInt(place)),
            .sttilecfg => @as(*align(1) [64]u8, @ptrFromInt(place)).* = t.config,
            .tilerelease => t.* = .{},
            .tilezero => try t.zero(self.tiles[0]),
            .tileloadd => try t.load(self.tiles[0], self.address, self.stride),
            .tilestored => try t.store(self.tiles[0], self.address, self.stride),
            .tdpbssd => try t.multiply(self.tiles[0], self.tiles[1], self.tiles[2]),
        }
    }
};
