//! Codes of four bits as numbers of a table, by the instruction that every processor has for it.
const std = @import("std");
const builtin = @import("builtin");

const Bytes16 = @Vector(16, u8);
const Bytes32 = @Vector(32, u8);
const Bytes64 = @Vector(64, u8);
extern fn @"llvm.x86.avx512.pshuf.b.512"(Bytes64, Bytes64) Bytes64;
extern fn @"llvm.x86.avx2.pshuf.b"(Bytes32, Bytes32) Bytes32;
extern fn @"llvm.x86.ssse3.pshuf.b.128"(Bytes16, Bytes16) Bytes16;
extern fn @"llvm.aarch64.neon.tbl1.v16i8"(Bytes16, Bytes16) Bytes16;

/// What stands in the table for codes of four bits.
pub inline fn lookUp(comptime table: [16]u8, nibbles: anytype) @TypeOf(nibbles) {
    const is_x86 = builtin.cpu.arch == .x86_64;
    const has = std.Target.x86.featureSetHas;
    const has_avx512 = is_x86 and comptime has(builtin.cpu.features, .avx512bw);
    const has_avx2 = is_x86 and comptime has(builtin.cpu.features, .avx2);
    const width = if (has_avx512) 64 else if (has_avx2) 32 else 16;
    const n_parts = @typeInfo(@TypeOf(nibbles)).vector.len / width;
    comptime var repeated: [width]u8 = undefined;
    inline for (&repeated, 0..) |*to, i| to.* = table[i % 16];
    const parts: [n_parts]@Vector(width, u8) = @bitCast(nibbles);
    var found: [n_parts]@Vector(width, u8) = undefined;
    inline for (&found, parts) |*to, from| {
        to.* = switch (width) {
            64 => @"llvm.x86.avx512.pshuf.b.512"(repeated, from),
            32 => @"llvm.x86.avx2.pshuf.b"(repeated, from),
            else => if (is_x86)
                @"llvm.x86.ssse3.pshuf.b.128"(repeated, from)
            else
                @"llvm.aarch64.neon.tbl1.v16i8"(repeated, from),
        };
    }
    return @bitCast(found);
}
