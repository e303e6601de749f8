//! Sums of products of four codes with four activations, for some rows of a panel: the one step of
//! a product that every processor has instructions of its own for. All are exact.
const std = @import("std");
const builtin = @import("builtin");
const formats = @import("format.zig");
const half = @import("half.zig");
const Format = formats.Format;

const cpu = builtin.cpu;
const is_x86 = cpu.arch == .x86_64;
const has = std.Target.x86.featureSetHas;
pub const has_vnni = is_x86 and has(cpu.features, .avx512vnni);
const has_avx_vnni = is_x86 and has(cpu.features, .avxvnni);
const has_avx2 = is_x86 and has(cpu.features, .avx2);
const has_dotprod = !is_x86 and std.Target.aarch64.featureSetHas(cpu.features, .dotprod);

/// Rows that a step takes: all of a panel, or as many as leave registers for the codes of a block.
pub const rows = if (is_x86) formats.panel_rows else 4;
/// Four codes of each row.
pub const Codes = @Vector(4 * rows, u8);
/// A sum of each row.
pub const Sums = @Vector(rows, i32);

/// What sums begin with. As bits of a float they then say how much more than this number they are,
/// and a product is scaled without being converted (product.zig); 0 where the processor converts,
/// because it cannot multiply and add in one step.
pub const start: i32 = if (half.fuses) @bitCast(start_float) else 0;
/// The number: floats of this size are the whole ones.
pub const start_float: f32 = 0x1.8p23;

/// Words of quants from one token of a block to the next.
const token_words = formats.block_len / 4;

/// For each row of some panels and some tokens the sum of 4 * n products with activations, `quants`
/// being the first token's; `starts` are what the sums of each token begin with. Tokens take turns
/// where one instruction adds to a sum, so that none waits for it.
pub inline fn dots(
    comptime format: Format,
    comptime n: usize,
    comptime n_tokens: usize,
    comptime n_panels: usize,
    codes: [n_panels]*const [n]Codes,
    quants: [*]const i32,
    starts: [n_tokens]i32,
) [n_tokens][n_panels]Sums {
    var sums: [n_tokens][n_panels]Sums = undefined;
    if (has_vnni) {
        inline for (&sums, starts) |*own, begin| own.* = @splat(@splat(begin));
        inline for (0..n) |word| inline for (&sums, 0..) |*own, i| {
            const repeated: Sums = @splat(quants[token_words * i + word]);
            inline for (own, codes) |*sum, c| {
                sum.* = @"llvm.x86.avx512.vpdpbusd.512"(sum.*, @bitCast(c[word]), repeated);
            }
        };
    } else inline for (&sums, starts, 0..) |*own, begin, i| inline for (own, codes) |*sum, c| {
        sum.* = dot(format, n, c, quants[token_words * i ..][0..n], begin);
    };
    return sums;
}

/// The same of one token, for processors without AVX-512 VNNI.
inline fn dot(
    comptime format: Format,
    comptime n: usize,
    codes: *const [n]Codes,
    quants: *const [n]i32,
    begin: i32,
) Sums {
    if (has_dotprod) return dotNeon(n, codes, quants, begin);
    // So many times a product fits 16 bits.
    const n_fit = comptime std.math.maxInt(i16) / (127 * format.codeMax());
    if (!is_x86) return dotBaseline(n_fit, n, codes, quants, begin);
    if (has_avx_vnni) return dotAvxVnni(n, codes, quants, begin);
    if (comptime format.isByte()) return dotSigned(n, codes, quants);
    return dotPairs(n_fit / 2, n, codes, quants, begin);
}

const Ints4 = @Vector(4, i32);
const Words8 = @Vector(8, i16);
const Bytes16 = @Vector(16, i8);
extern fn @"llvm.aarch64.neon.sdot.v4i32.v16i8"(Ints4, Bytes16, Bytes16) Ints4;
extern fn @"llvm.aarch64.neon.saddlp.v4i32.v8i16"(Words8) Ints4;
extern fn @"llvm.aarch64.neon.addp.v4i32"(Ints4, Ints4) Ints4;

/// Activations i, repeated: from a whole register, because sdot takes one of its four words.
inline fn repeat(comptime n: usize, quants: *const [n]i32, comptime i: usize) Bytes16 {
    const words: Ints4 = quants[i / 4 * 4 ..][0..4].*;
    return @bitCast(@shuffle(i32, words, undefined, @as(Ints4, @splat(i % 4))));
}

inline fn dotNeon(
    comptime n: usize,
    codes: *const [n]Codes,
    quants: *const [n]i32,
    begin: i32,
) Sums {
    var sums: Sums = @splat(begin);
    inline for (codes, 0..) |c, i| {
        sums = @"llvm.aarch64.neon.sdot.v4i32.v16i8"(sums, @bitCast(c), repeat(n, quants, i));
    }
    return sums;
}

/// Without sdot: products of 16 bits are added up as long as they fit, then by pairs.
inline fn dotBaseline(
    comptime n_fit: usize,
    comptime n: usize,
    codes: *const [n]Codes,
    quants: *const [n]i32,
    begin: i32,
) Sums {
    var halves: [2]Ints4 = @splat(@splat(0));
    comptime var from = 0;
    inline while (from < n) : (from += n_fit) {
        var words: [2]Words8 = @splat(@splat(0));
        inline for (codes[from..@min(n, from + n_fit)], from..) |c, i| {
            const parts: [2]@Vector(8, i8) = @bitCast(c);
            const repeated: [2]@Vector(8, i8) = @bitCast(repeat(n, quants, i));
            inline for (&words, parts, repeated) |*word, part, a| {
                word.* +%= @as(Words8, part) *% @as(Words8, a);
            }
        }
        inline for (&halves, words) |*sum, word| {
            sum.* +%= @"llvm.aarch64.neon.saddlp.v4i32.v8i16"(word);
        }
    }
    return @"llvm.aarch64.neon.addp.v4i32"(halves[0], halves[1]) +% @as(Ints4, @splat(begin));
}

const Ints8 = @Vector(8, i32);
const Ints16 = @Vector(16, i32);
extern fn @"llvm.x86.avx512.vpdpbusd.512"(Ints16, Ints16, Ints16) Ints16;
extern fn @"llvm.x86.avx512.vpdpbusd.256"(Ints8, Ints8, Ints8) Ints8;
extern fn @"llvm.x86.avx2.pmadd.ub.sw"(@Vector(32, u8), @Vector(32, i8)) @Vector(16, i16);
extern fn @"llvm.x86.avx2.pmadd.wd"(@Vector(16, i16), @Vector(16, i16)) @Vector(8, i32);
extern fn @"llvm.x86.avx2.psign.b"(@Vector(32, i8), @Vector(32, i8)) @Vector(32, i8);
extern fn @"llvm.x86.ssse3.pmadd.ub.sw.128"(@Vector(16, u8), @Vector(16, i8)) @Vector(8, i16);
extern fn @"llvm.x86.sse2.pmadd.wd"(@Vector(8, i16), @Vector(8, i16)) @Vector(4, i32);
extern fn @"llvm.x86.ssse3.psign.b.128"(@Vector(16, i8), @Vector(16, i8)) @Vector(16, i8);

/// Bytes of a vector register below AVX-512.
const n_bytes = if (has_avx2) 32 else 16;
const n_parts = 64 / n_bytes;
const Signed = @Vector(n_bytes, i8);
const Words = @Vector(n_bytes / 2, i16);
const Ints = @Vector(n_bytes / 4, i32);

inline fn dotAvxVnni(
    comptime n: usize,
    codes: *const [n]Codes,
    quants: *const [n]i32,
    begin: i32,
) Sums {
    var sums: [n_parts]Ints = @splat(@splat(begin));
    inline for (codes, quants) |c, a| {
        const parts: [n_parts]Ints = @bitCast(c);
        inline for (&sums, parts) |*sum, part| {
            sum.* = @"llvm.x86.avx512.vpdpbusd.256"(sum.*, part, @splat(a));
        }
    }
    return @bitCast(sums);
}

/// Without VNNI: pairs of products, added up as long as they fit 16 bits.
inline fn dotPairs(
    comptime n_fit: usize,
    comptime n: usize,
    codes: *const [n]Codes,
    quants: *const [n]i32,
    begin: i32,
) Sums {
    var sums: [n_parts]Ints = @splat(@splat(begin));
    comptime var from = 0;
    inline while (from < n) : (from += n_fit) {
        const end = comptime @min(n, from + n_fit);
        var words: [n_parts]Words = @splat(@splat(0));
        inline for (codes[from..end], quants[from..end]) |c, a| {
            const repeated: Signed = @bitCast(@as(Ints, @splat(a)));
            const parts: [n_parts]@Vector(n_bytes, u8) = @bitCast(c);
            inline for (&words, parts) |*word, part| word.* +%= pairSums(part, repeated);
        }
        inline for (&sums, words) |*sum, word| sum.* +%= widen(word);
    }
    return @bitCast(sums);
}

/// The same for 8 bits: |code| times the activation with its sign, so that pairs fit 16 bits. The
/// other way round a code of -128 would have no opposite. No offset is left to be taken away.
inline fn dotSigned(comptime n: usize, codes: *const [n]Codes, quants: *const [n]i32) Sums {
    var sums: [n_parts]Ints = @splat(@splat(start));
    inline for (codes, quants) |c, a| {
        const repeated: Signed = @bitCast(@as(Ints, @splat(a)));
        const parts: [n_parts]Signed = @bitCast(c ^ @as(Codes, @splat(formats.byte_offset)));
        inline for (&sums, parts) |*sum, part| {
            const signed = if (has_avx2)
                @"llvm.x86.avx2.psign.b"(repeated, part)
            else
                @"llvm.x86.ssse3.psign.b.128"(repeated, part);
            sum.* +%= widen(pairSums(@abs(part), signed));
        }
    }
    return @bitCast(sums);
}

inline fn pairSums(a: @Vector(n_bytes, u8), b: Signed) Words {
    return if (has_avx2)
        @"llvm.x86.avx2.pmadd.ub.sw"(a, b)
    else
        @"llvm.x86.ssse3.pmadd.ub.sw.128"(a, b);
}

inline fn widen(words: Words) Ints {
    const ones: Words = @splat(1);
    return if (has_avx2)
        @"llvm.x86.avx2.pmadd.wd"(words, ones)
    else
        @"llvm.x86.sse2.pmadd.wd"(words, ones);
}
