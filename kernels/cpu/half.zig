//! Half floats as f32, sixteen at a time, on every CPU variant.
const std = @import("std");
const builtin = @import("builtin");

pub const lanes = 16;
pub const F = @Vector(lanes, f32);

/// Lanes that stay together where sixteen take several registers of few: sums of both halves at
/// once would not fit.
pub const part_lanes = if (is_x86 and has(.avx) and !has(.avx512f)) 8 else lanes;
pub const Part = @Vector(part_lanes, f32);
pub const n_parts = lanes / part_lanes;

/// Part `p` of sixteen.
pub inline fn part(values: F, comptime p: usize) Part {
    return @shuffle(f32, values, undefined, part_order[p]);
}
const part_order: [n_parts]@Vector(part_lanes, i32) = @bitCast(std.simd.iota(i32, lanes));

/// The sixteen that consist of `parts`.
pub inline fn whole(parts: [n_parts]Part) F {
    return if (n_parts == 1) parts[0] else std.simd.join(parts[0], parts[1]);
}

const is_x86 = builtin.cpu.arch == .x86_64;
const converts = !is_x86 or has(.f16c);
/// Whether a product and a sum are rounded once.
pub const fuses = !is_x86 or has(.fma);

fn has(feature: std.Target.x86.Feature) bool {
    return std.Target.x86.featureSetHas(builtin.cpu.features, feature);
}

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

/// Writes sixteen half floats to a place of any alignment.
pub inline fn store(values: F, to: [*]u8) void {
    @as(*align(1) @Vector(lanes, u16), @ptrCast(to)).* = bitsOf(values);
}

/// The bits of the nearest half floats, of two the even one.
pub inline fn bitsOf(values: F) @Vector(lanes, u16) {
    if (converts) return @bitCast(@as(@Vector(lanes, f16), @floatCast(values)));
    const W = @Vector(lanes, u32);
    const Shift = @Vector(lanes, u5);
    const bits: W = @bitCast(values);
    const size = bits & @as(W, @splat(0x7fff_ffff));
    // Half is so large that the last bit of a sum with it is that of a subnormal half float.
    const subnormal = @as(W, @bitCast(@as(F, @bitCast(size)) + @as(F, @splat(0.5)))) -%
        @as(W, @splat(0x3f00_0000));
    const odd = size >> @as(Shift, @splat(13)) & @as(W, @splat(1));
    const rounded = size +% @as(W, @splat(0xc800_0fff)) +% odd;
    const normal = rounded >> @as(Shift, @splat(13));
    const nan = size > @as(W, @splat(0x7f80_0000));
    const special = @select(u32, nan, @as(W, @splat(0x7e00)), @as(W, @splat(0x7c00)));
    const finite = @select(u32, size < @as(W, @splat(0x3880_0000)), subnormal, normal);
    const found = @select(u32, size < @as(W, @splat(0x4780_0000)), finite, special);
    const sign = bits >> @as(Shift, @splat(16)) & @as(W, @splat(0x8000));
    return @truncate(found | sign);
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
    return multiplyAddAs(F, a, b, c);
}

/// The same of vectors of another length.
pub inline fn multiplyAddAs(comptime V: type, a: V, b: V, c: V) V {
    return if (fuses) @mulAdd(V, a, b, c) else a * b + c;
}
