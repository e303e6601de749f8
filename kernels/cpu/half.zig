//! Half floats as f32, sixteen at a time, on every CPU variant.
const std = @import("std");
const builtin = @import("builtin");

pub const lanes = 16;
pub const F = @Vector(lanes, f32);

const is_x86 = builtin.cpu.arch == .x86_64;
const converts = !is_x86 or std.Target.x86.featureSetHas(builtin.cpu.features, .f16c);
const fuses = !is_x86 or std.Target.x86.featureSetHas(builtin.cpu.features, .fma);

/// Sixteen half floats from a place of any alignment. Without the processor's own conversion an
/// infinite one becomes 65536.
pub inline fn load(from: [*]const u8) F {
    const bits = @as(*align(1) const @Vector(lanes, u16), @ptrCast(from)).*;
    if (converts) return @floatCast(@as(@Vector(lanes, f16), @bitCast(bits)));
    // Exact for numbers, subnormal ones too.
    const wide: @Vector(lanes, u32) = bits;
    const W = @TypeOf(wide);
    const Shift = @Vector(lanes, u5);
    const size = (wide & @as(W, @splat(0x7fff))) << @as(Shift, @splat(13));
    const rebias: F = @splat(@as(f32, @bitCast(@as(u32, 0x7780_0000))));
    const value: W = @bitCast(@as(F, @bitCast(size)) * rebias);
    const sign = (wide & @as(W, @splat(0x8000))) << @as(Shift, @splat(16));
    return @bitCast(value | sign);
}

/// One half float.
pub inline fn one(value: f16) f32 {
    if (converts) return value;
    const bits: u32 = @as(u16, @bitCast(value));
    if (bits == 0x7c00) return std.math.inf(f32);
    if (bits == 0xfc00) return -std.math.inf(f32);
    const size: f32 = @bitCast((bits & 0x7fff) << 13);
    const number = size * @as(f32, @bitCast(@as(u32, 0x7780_0000)));
    return @bitCast(@as(u32, @bitCast(number)) | (bits & 0x8000) << 16);
}

/// a * b + c, rounded once where the variant can.
pub inline fn multiplyAdd(a: F, b: F, c: F) F {
    return if (fuses) @mulAdd(F, a, b, c) else a * b + c;
}

/// The bits of the nearest half floats; of two that are as near, of the even one.
pub inline fn bitsOf(values: F) [lanes]u16 {
    if (converts) return @bitCast(@as(@Vector(lanes, f16), @floatCast(values)));
    const U = @Vector(lanes, u32);
    const Shift = @Vector(lanes, u5);
    const all: U = @bitCast(values);
    const size = all & @as(U, @splat(0x7fff_ffff));
    const sign = all >> @as(Shift, @splat(16)) & @as(U, @splat(0x8000));
    // Adding 0.5 leaves what a subnormal half has in the low bits.
    const magic: f32 = 0.5;
    const shifted: U = @bitCast(@as(F, @bitCast(size)) + @as(F, @splat(magic)));
    const small = shifted -% @as(U, @splat(@bitCast(magic)));
    const odd = size >> @as(Shift, @splat(13)) & @as(U, @splat(1));
    const normal = (size +% @as(U, @splat(0xc800_0fff)) +% odd) >> @as(Shift, @splat(13));
    const no_number = @as(U, @splat(0x7e00));
    const infinite = @as(U, @splat(0x7c00));
    const large = @select(u32, size > @as(U, @splat(0x7f80_0000)), no_number, infinite);
    const not_small = @select(u32, size >= @as(U, @splat(0x4780_0000)), large, normal);
    const result = @select(u32, size < @as(U, @splat(0x3880_0000)), small, not_small);
    return @as(@Vector(lanes, u16), @truncate(result | sign));
}
