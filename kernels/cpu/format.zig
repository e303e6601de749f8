//! How weights of each type lie in a file and in panels.
//!
//! A file has groups of 32 or 256 values: codes of some bits, and scales. In a panel the codes of
//! 16 rows lie in planes of 1, 2, 4 or 8 bits: a plane of b bits has b vectors for 32 values, and
//! four neighbours, which one instruction multiplies, lie in one word of one vector. Behind all
//! codes come the scales of each group, as the file has them, for 16 rows side by side. So panels
//! take the bytes that the rows took. TQ1_0 has no planes but words of digits (ternary.zig).
//!
//! The groups are those of ggml (ggml-common.h); a value is scale * (code - offset) + min.
const std = @import("std");
const builtin = @import("builtin");
const half = @import("half.zig");
const lookUp = @import("lookup.zig").lookUp;
const ternary = @import("ternary.zig");

/// Changes with what pack() writes: panels are kept in files (src/ggml/packed_file.ts).
pub const layout_version = 1;
/// Rows of a panel.
pub const panel_rows = 16;
/// Values of a block: what one step of a product takes.
pub const block_len = 32;

/// What codes() adds to values with a sign: x86-64 multiplies bytes only where one has none.
pub const byte_offset: u8 = if (builtin.cpu.arch == .x86_64) 128 else 0;

/// One value of each row of a panel.
pub const F = half.F;
const I = @Vector(panel_rows, i32);
const U = @Vector(panel_rows, u32);
/// Four codes of each row.
pub const Bytes = @Vector(4 * panel_rows, u8);

/// Types of weights, by their number in ggml.
pub const Format = enum(c_int) {
    q4_0 = 2,
    q4_1 = 3,
    q5_0 = 6,
    q5_1 = 7,
    q8_0 = 8,
    q2_k = 10,
    q3_k = 11,
    q4_k = 12,
    q5_k = 13,
    q6_k = 14,
    iq4_nl = 20,
    iq4_xs = 23,
    tq1_0 = 34,
    tq2_0 = 35,
    mxfp4 = 39,

    /// The format with this number in ggml, if there is one.
    pub fn of(type_: c_int) ?Format {
        inline for (comptime std.enums.values(Format)) |format| {
            if (@backingInt(format) == type_) return format;
        }
        return null;
    }

    /// Values that a group of a file has.
    pub fn groupLen(format: Format) usize {
        return switch (format) {
            .q4_0, .q4_1, .q5_0, .q5_1, .q8_0, .iq4_nl, .mxfp4 => 32,
            else => 256,
        };
    }

    /// Bytes of a group, in a file and in a panel.
    pub fn groupBytes(format: Format) usize {
        return format.codeBytes() + format.sides().len();
    }

    /// Blocks of a group.
    pub fn blocks(format: Format) usize {
        return format.groupLen() / block_len;
    }

    /// Bytes that the codes of one row and group take.
    pub fn codeBytes(format: Format) usize {
        if (format == .tq1_0) return 4 * ternary.n_words;
        return format.planeBytes() * format.blocks();
    }

    /// Bytes that the planes of one row and block take.
    fn planeBytes(format: Format) usize {
        const low, const high = format.planes();
        return (low + high) * block_len / 8;
    }

    /// Bits of the plane with the lower bits of the codes, and of the one with the higher bits;
    /// of TQ1_0, which has none, the bits of a code.
    fn planes(format: Format) [2]usize {
        return switch (format) {
            .q4_0, .q4_1, .q4_k, .iq4_nl, .iq4_xs, .mxfp4 => .{ 4, 0 },
            .q5_0, .q5_1, .q5_k => .{ 4, 1 },
            .q6_k => .{ 4, 2 },
            .q8_0 => .{ 8, 0 },
            .q2_k, .tq1_0, .tq2_0 => .{ 2, 0 },
            .q3_k => .{ 2, 1 },
        };
    }

    /// What codes() gives at most; of a value with a sign, the largest size.
    pub fn codeMax(format: Format) usize {
        if (format.isByte()) return 128;
        const low, const high = format.planes();
        return ((@as(usize, 1) << @intCast(low + high)) - 1) << format.shift();
    }

    /// Bits that codes() moves a code up. Q3_K's come eight times as large, and its scales as an
    /// eighth, so that they have the offset of Q6_K's.
    fn shift(format: Format) u3 {
        return if (format == .q3_k) 3 else 0;
    }

    /// Whether codes() gives the value that is scaled, with byte_offset added.
    pub fn isByte(format: Format) bool {
        return format == .q8_0 or format.table() != null;
    }

    /// Whether the halves of a block have scales of their own.
    pub fn isHalved(format: Format) bool {
        return switch (format) {
            .q2_k, .q3_k, .q6_k => true,
            else => false,
        };
    }

    /// Parts of a block that have scales of their own.
    pub fn parts(format: Format) usize {
        return if (format.isHalved()) 2 else 1;
    }

    /// How much larger codes are than the values that are scaled.
    pub fn offset(format: Format) u8 {
        if (format.isByte()) return byte_offset;
        return switch (format) {
            .q4_0 => 8,
            .q5_0 => 16,
            .q3_k, .q6_k => 32,
            .tq1_0, .tq2_0 => 1,
            else => 0,
        };
    }

    /// Whether a value has a min.
    pub fn hasMin(format: Format) bool {
        return !format.isByte() and format.offset() == 0;
    }

    /// What stands for a code, with byte_offset added.
    fn table(format: Format) ?[16]u8 {
        const values: [16]i8 = switch (format) {
            .iq4_nl, .iq4_xs => .{
                -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
            },
            .mxfp4 => .{ 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12 },
            else => return null,
        };
        var shifted: [16]u8 = undefined;
        for (&shifted, values) |*to, value| to.* = @as(u8, @bitCast(value)) +% byte_offset;
        return shifted;
    }

    /// Where the scales of a group lie in a file.
    fn sides(format: Format) Sides {
        return switch (format) {
            .q4_0, .q5_0, .q8_0, .iq4_nl => .{ .halves = 1 },
            .q4_1, .q5_1 => .{ .halves = 2 },
            .q4_k, .q5_k => .{ .halves = 2, .bytes_at = 4, .bytes = 12 },
            .q6_k => .{ .halves_at = 208, .halves = 1, .bytes_at = 192, .bytes = 16 },
            .q2_k => .{ .halves_at = 80, .halves = 2, .bytes = 16 },
            .q3_k => .{ .halves_at = 108, .halves = 1, .bytes_at = 96, .bytes = 12 },
            // The second half float is none: two more bits of each scale.
            .iq4_xs => .{ .halves = 2, .bytes_at = 4, .bytes = 4 },
            .tq1_0 => .{ .halves_at = 52, .halves = 1 },
            .tq2_0 => .{ .halves_at = 64, .halves = 1 },
            .mxfp4 => .{ .bytes = 1 },
        };
    }
};

/// Half floats and bytes of a group, and where a file has them.
const Sides = struct {
    halves_at: usize = 0,
    halves: usize = 0,
    bytes_at: usize = 0,
    bytes: usize = 0,

    fn len(sides: Sides) usize {
        return 2 * sides.halves + sides.bytes;
    }
};

/// Puts rows as they lie in a file into panels; their number is a multiple of panel_rows.
pub fn pack(format: Format, rows: []const u8, panels: []u8, n_in: usize) void {
    switch (format) {
        inline else => |f| {
            const bytes_per_group = comptime f.groupBytes() * panel_rows;
            const panel_bytes = n_in / f.groupLen() * bytes_per_group;
            var at: usize = 0;
            while (at < rows.len) : (at += panel_bytes) {
                packPanel(f, rows[at..][0..panel_bytes], panels[at..][0..panel_bytes]);
            }
        },
    }
}

fn packPanel(comptime format: Format, rows: []const u8, panel: []u8) void {
    const group_bytes = comptime format.groupBytes();
    const n_groups = rows.len / panel_rows / group_bytes;
    const code_bytes = comptime format.codeBytes() * panel_rows;
    const all_sides = panel[n_groups * code_bytes ..];
    for (0..panel_rows) |row| {
        for (0..n_groups) |g| {
            const group = rows[(row * n_groups + g) * group_bytes ..][0..group_bytes];
            packCodes(format, group, panel[g * code_bytes + 4 * row ..]);
            const sides = comptime format.sides();
            const to = all_sides[g * sides.len() * panel_rows ..];
            inline for (0..sides.halves) |i| {
                to[2 * (panel_rows * i + row) ..][0..2].* =
                    group[sides.halves_at + 2 * i ..][0..2].*;
            }
            inline for (0..sides.bytes) |i| {
                to[panel_rows * (2 * sides.halves + i) + row] = group[sides.bytes_at + i];
            }
        }
    }
}

/// Puts the codes of a group of one row where its words lie.
fn packCodes(comptime format: Format, group: []const u8, to: []u8) void {
    if (format == .tq1_0) {
        for (0..ternary.n_words) |i| to[4 * panel_rows * i ..][0..4].* = group[4 * i ..][0..4].*;
        return;
    }
    const low, const high = comptime format.planes();
    inline for (0..comptime format.blocks()) |b| {
        const words = fileCodes(format, group, b);
        const planes = to[comptime b * format.planeBytes() * panel_rows..];
        putPlane(low, 0, words, planes);
        if (high > 0) putPlane(high, low, words, planes[4 * panel_rows * low ..]);
    }
}

/// The codes of a block as a file has them, four to a word.
inline fn fileCodes(comptime format: Format, group: []const u8, comptime b: usize) [8]u32 {
    const ones = 0x0101_0101;
    var words: [8]u32 = undefined;
    inline for (&words, 0..) |*word, c| {
        const nibble = 4 * (c / 4);
        word.* = switch (format) {
            .q4_0, .iq4_nl => part(group, 2 + 4 * (c % 4), nibble, 15),
            .q4_1 => part(group, 4 + 4 * (c % 4), nibble, 15),
            .mxfp4 => part(group, 1 + 4 * (c % 4), nibble, 15),
            .q5_0 => part(group, 6 + 4 * (c % 4), nibble, 15) | spread(load(group, 2) >> 4 * c),
            .q5_1 => part(group, 8 + 4 * (c % 4), nibble, 15) | spread(load(group, 4) >> 4 * c),
            .q8_0 => load(group, 2 + 4 * c) ^ @as(u32, byte_offset) * ones,
            .q2_k => part(group, 16 + 32 * (b / 4) + 4 * c, 2 * (b % 4), 3),
            .q3_k => part(group, 32 + 32 * (b / 4) + 4 * c, 2 * (b % 4), 3) |
                part(group, 4 * c, b, 1) << 2,
            .q4_k => part(group, 16 + 32 * (b / 2) + 4 * c, 4 * (b % 2), 15),
            .q5_k => part(group, 48 + 32 * (b / 2) + 4 * c, 4 * (b % 2), 15) |
                part(group, 16 + 4 * c, b, 1) << 4,
            .q6_k => part(group, 64 * (b / 4) + 32 * (b % 2) + 4 * c, 4 * (b % 4 / 2), 15) |
                part(group, 128 + 32 * (b / 4) + 4 * c, 2 * (b % 4), 3) << 4,
            .iq4_xs => part(group, 8 + 16 * b + 4 * (c % 4), nibble, 15),
            .tq1_0 => comptime unreachable, // packed as it is
            .tq2_0 => part(group, 32 * (b / 4) + 4 * c, 2 * (b % 4), 3),
        };
    }
    return words;
}

inline fn load(group: []const u8, comptime at: usize) u32 {
    return std.mem.readInt(u32, group[at..][0..4], .little);
}

/// Some bits of each of four bytes.
inline fn part(group: []const u8, comptime at: usize, comptime shift: u5, mask: u32) u32 {
    return (load(group, at) >> shift) & mask * 0x0101_0101;
}

/// The lowest four bits as the fifth ones of four codes.
inline fn spread(bits: u32) u32 {
    return ((bits & 15) *% 0x0020_4081 & 0x0101_0101) << 4;
}

/// Writes `bits` bits of all codes, those from `from` on.
inline fn putPlane(comptime bits: usize, comptime from: u5, words: [8]u32, to: []u8) void {
    const mask = ((1 << bits) - 1) * 0x0101_0101;
    inline for (0..bits) |i| {
        var word: u32 = 0;
        inline for (0..8 / bits) |j| {
            word |= (words[i + bits * j] >> from & mask) << bits * j;
        }
        std.mem.writeInt(u32, to[4 * panel_rows * i ..][0..4], word, .little);
    }
}

/// The codes of `n_rows` rows of block `b` of a group, `group` being that of the first: vector i
/// has values 4 i to 4 i + 3 of each row.
pub inline fn codes(
    comptime format: Format,
    comptime n_rows: usize,
    group: [*]const u8,
    b: usize,
) [8]@Vector(4 * n_rows, u8) {
    if (format == .tq1_0) return ternary.codes(n_rows, group, b);
    const low, const high = comptime format.planes();
    const block = group + b * comptime format.planeBytes() * panel_rows;
    const Plane = @Vector(4 * n_rows, u8);
    var planes: [low + high]Plane = undefined;
    inline for (&planes, 0..) |*plane, i| plane.* = block[4 * panel_rows * i ..][0 .. 4 * n_rows].*;
    const shift = comptime format.shift();
    var all: [8]Plane = undefined;
    inline for (&all, 0..) |*vector, i| {
        vector.* = bitsOf(low, shift, planes[i % low], i);
        if (high > 0) vector.* |= bitsOf(high, shift + low, planes[low + i % high], i);
        if (comptime format.table()) |table| vector.* = lookUp(table, vector.*);
    }
    return all;
}

/// The bits of code i from a plane of `bits` bits, moved to bit `to`.
inline fn bitsOf(
    comptime bits: usize,
    comptime to: u3,
    plane: anytype,
    comptime i: usize,
) @TypeOf(plane) {
    if (bits == 8) return plane;
    const from = i / bits * bits;
    const shift: u3 = @max(from, to) - @min(from, to);
    const Plane = @TypeOf(plane);
    const Shift = @Vector(@typeInfo(Plane).vector.len, u3);
    const moved = if (from > to)
        plane >> @as(Shift, @splat(shift))
    else
        plane << @as(Shift, @splat(shift));
    const mask: u8 = ((1 << bits) - 1) << to;
    return moved & @as(Plane, @splat(mask));
}

/// Reads row `row` of a weight in panels.
pub fn readRow(format: Format, panels: [*]const u8, n_in: usize, row: usize, out: []f32) void {
    @setEvalBranchQuota(20_000);
    switch (format) {
        inline else => |f| {
            const per_group = comptime f.blocks();
            const n_groups = n_in / comptime f.groupLen();
            const code_bytes = comptime f.codeBytes() * panel_rows;
            const group_bytes = comptime f.groupBytes() * panel_rows;
            const panel = panels + row / panel_rows * n_groups * group_bytes;
            const sides = panel + n_groups * code_bytes;
            for (0..n_groups) |g| {
                const scales = scalesOf(f, @alignCast(sides + g * comptime sideBytes(f)));
                for (0..per_group) |b| {
                    const values = out[(g * per_group + b) * block_len ..][0..block_len];
                    const vectors = codes(f, panel_rows, panel + g * code_bytes, b);
                    readBlock(f, vectors, &scales, b, row % panel_rows, values);
                }
            }
        },
    }
}

fn readBlock(
    comptime format: Format,
    vectors: [8]Bytes,
    scales: *const Scales(format),
    b: usize,
    row: usize,
    values: *[block_len]f32,
) void {
    const bytes: [8][4 * panel_rows]u8 = @bitCast(vectors);
    for (values, 0..) |*value, i| {
        const code: i8 = @bitCast(bytes[i / 4][4 * row + i % 4] -% comptime format.offset());
        const which = if (comptime format.isHalved()) 2 * b + i / 16 else b;
        const scale = @as([panel_rows]f32, scales.scale[which])[row];
        value.* = @as(f32, @floatFromInt(code)) * scale;
        if (comptime format.hasMin()) {
            value.* += @as([panel_rows]f32, scales.min[which])[row];
        }
    }
}

/// The scales of a group, and the mins; those of one block and half each.
pub fn Scales(comptime format: Format) type {
    const n = format.blocks() * (if (format.isHalved()) 2 else 1);
    return struct { scale: [n]F, min: [if (format.hasMin()) n else 0]F };
}

/// Bytes of the scales of a group in a panel.
pub fn sideBytes(comptime format: Format) usize {
    return format.sides().len() * panel_rows;
}

/// Reads the scales of a group from a panel.
pub inline fn scalesOf(
    comptime format: Format,
    group: [*]align(panel_rows) const u8,
) Scales(format) {
    const sides = comptime format.sides();
    const bytes = group + 2 * sides.halves * panel_rows;
    var s: Scales(format) = undefined;
    if (format == .mxfp4) {
        // Half of the power of two that the byte means; what is not a normal number is 0.
        const e = byteOf(bytes, 0);
        const bits = @select(u32, e > @as(U, @splat(1)), e - @as(U, @splat(1)), @as(U, @splat(0)));
        s.scale[0] = @bitCast(bits << @splat(23));
        return s;
    }
    const d = half.load(group);
    if (comptime format.groupLen() == block_len) {
        s.scale[0] = d;
        if (format == .q4_1 or format == .q5_1) s.min[0] = half.load(group + 2 * panel_rows);
        return s;
    }
    inline for (&s.scale, 0..) |*scale, i| {
        switch (format) {
            .q4_k, .q5_k => {
                const dmin = half.load(group + 2 * panel_rows);
                const six = if (i < 4) .{
                    byteOf(bytes, i) & @as(U, @splat(63)),
                    byteOf(bytes, i + 4) & @as(U, @splat(63)),
                } else .{
                    low4(bytes, i + 4) | high2(bytes, i - 4),
                    byteOf(bytes, i + 4) >> @splat(4) | high2(bytes, i),
                };
                scale.* = d * float(six[0]);
                s.min[i] = -dmin * float(six[1]);
            },
            .q2_k => {
                const dmin = half.load(group + 2 * panel_rows);
                scale.* = d * float(low4(bytes, i));
                s.min[i] = -dmin * float(byteOf(bytes, i) >> @splat(4));
            },
            .q3_k => {
                const four = if (i < 8) low4(bytes, i) else byteOf(bytes, i - 8) >> @splat(4);
                const two = byteOf(bytes, 8 + i % 4) >> @splat(2 * (i / 4)) & @as(U, @splat(3));
                const eighth = d * @as(F, @splat(1.0 / 8.0));
                scale.* = eighth * float((four | two << @splat(4)) -% @as(U, @splat(32)));
            },
            .q6_k => {
                const signed: @Vector(panel_rows, i8) =
                    @bitCast(bytes[panel_rows * i ..][0..panel_rows].*);
                scale.* = d * @as(F, @floatFromInt(signed));
            },
            .iq4_xs => {
                const highs: @Vector(panel_rows, u16) = @bitCast(
                    (group + 2 * panel_rows)[0 .. 2 * panel_rows].*,
                );
                const two = @as(U, highs) >> @splat(2 * i) & @as(U, @splat(3));
                const four = byteOf(bytes, i / 2) >> @splat(4 * (i % 2)) & @as(U, @splat(15));
                scale.* = d * float((four | two << @splat(4)) -% @as(U, @splat(32)));
            },
            .tq1_0, .tq2_0 => scale.* = d,
            else => comptime unreachable,
        }
    }
    return s;
}

inline fn byteOf(bytes: [*]const u8, comptime i: usize) U {
    return @as(@Vector(panel_rows, u8), bytes[panel_rows * i ..][0..panel_rows].*);
}

inline fn low4(bytes: [*]const u8, comptime i: usize) U {
    return byteOf(bytes, i) & @as(U, @splat(15));
}

/// The two highest bits, moved to 4 and 5.
inline fn high2(bytes: [*]const u8, comptime i: usize) U {
    return byteOf(bytes, i) >> @splat(6) << @splat(4);
}

/// Numbers of few bits, which may be below 0.
inline fn float(values: U) F {
    return @floatFromInt(@as(I, @bitCast(values)));
}
