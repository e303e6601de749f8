//! Sums of products of four codes with four activations, for some rows of a panel: the one step of
//! a product that every processor has instructions of its own for. All are exact.
const std = @import("std");
const builtin = @import("builtin");
const formats = @import("format.zig");
const half = @import("half.zig");
const order = @import("order.zig");
const Format = formats.Format;

const cpu = builtin.cpu;
const is_x86 = cpu.arch == .x86_64;
const has = std.Target.x86.featureSetHas;
pub const has_vnni = is_x86 and has(cpu.features, .avx512vnni);
const has_avx_vnni = is_x86 and has(cpu.features, .avxvnni);
pub const has_avx2 = is_x86 and has(cpu.features, .avx2);
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

/// What the sums of a format begin with where no offset of its codes is taken away. That is 0 where
/// anything else would be an addition more, because to convert them takes no longer than the rest.
pub fn startOf(comptime format: Format) i32 {
    const would_add = has_avx2 and !has_vnni and !has_avx_vnni and
        (format.isByte() or format.offset() == 0);
    return if (would_add) 0 else start;
}

/// Words of quants from one token of a block to the next.
const token_words = formats.block_len / 4;

/// For each row of some panels and some tokens the sum of 4 * n products with activations, `quants`
/// being the first token's; `starts` are what the sums of each token begin with. Tokens take turns
/// where one instruction adds to a sum, so that none waits for it. Where other work takes turns
/// with products, `turns.after()` does a part of it behind those of each word with each token.
pub inline fn dots(
    comptime format: Format,
    comptime n: usize,
    comptime n_tokens: usize,
    comptime n_panels: usize,
    codes: [n_panels]*const [n]Codes,
    quants: [*]const i32,
    starts: [n_tokens]i32,
    turns: anytype,
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
    } else inline for (codes, 0..) |c, p| {
        comptime var i = 0;
        inline while (i < n_tokens) : (i += together) {
            const count = comptime @min(together, n_tokens - i);
            const begin = starts[i..][0..count];
            const some = dotsOf(format, n, count, c, quants + token_words * i, begin, turns);
            inline for (sums[i..][0..count], some) |*own, sum| own[p] = sum;
        }
    }
    return sums;
}

/// For products that no other work takes turns with.
pub const no_turns: struct {
    pub inline fn after(_: @This(), comptime _: usize) void {}
} = .{};

/// Whether adding the products of some tokens gains by turns with those of the next ones: where all
/// of a block are added up in 16 bits, which leaves the processor time, and a min makes it long.
pub fn takesTurns(comptime format: Format) bool {
    const adds_pairs = has_avx2 and !has_vnni and !has_avx_vnni;
    return adds_pairs and format.hasMin() and !format.isHalved() and format.codeMax() < 16;
}

/// Tokens that are multiplied together where registers hold their sums, so that codes are read once
/// for all of them.
pub const together = if (has_avx2) 4 else 1;

/// The same of one panel, for processors without AVX-512 VNNI.
inline fn dotsOf(
    comptime format: Format,
    comptime n: usize,
    comptime n_tokens: usize,
    codes: *const [n]Codes,
    quants: [*]const i32,
    starts: *const [n_tokens]i32,
    turns: anytype,
) [n_tokens]Sums {
    // So many times a product fits 16 bits.
    const n_fit = comptime std.math.maxInt(i16) / (127 * format.codeMax());
    if (!is_x86) {
        const own = quants[0..n];
        if (has_dotprod) return .{dotNeon(n, codes, own, starts[0])};
        return .{dotBaseline(n_fit, n, codes, own, starts[0])};
    }
    if (has_avx_vnni) return dotsAvxVnni(n, n_tokens, codes, quants, starts);
    if (comptime format.isByte()) return dotsSigned(format, n, n_tokens, codes, quants);
    return dotsPairs(n_fit / 2, n, n_tokens, codes, quants, starts, turns);
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

/// Word `word` of the activations of token `i`, repeated.
inline fn repeatWord(quants: [*]const i32, comptime i: usize, comptime word: usize) Ints {
    return @splat(quants[token_words * i + word]);
}

inline fn dotsAvxVnni(
    comptime n: usize,
    comptime n_tokens: usize,
    codes: *const [n]Codes,
    quants: [*]const i32,
    starts: *const [n_tokens]i32,
) [n_tokens]Sums {
    var sums: [n_tokens][n_parts]Ints = undefined;
    inline for (&sums, starts) |*own, begin| own.* = @splat(@splat(begin));
    inline for (codes, 0..) |c, word| {
        const parts: [n_parts]Ints = @bitCast(c);
        inline for (&sums, 0..) |*own, i| {
            const repeated = repeatWord(quants, i, word);
            inline for (own, parts) |*sum, part| {
                sum.* = @"llvm.x86.avx512.vpdpbusd.256"(sum.*, part, repeated);
            }
        }
    }
    return @bitCast(sums);
}

/// Pairs of products that are added up when the next two have begun, which some processors do
/// sooner. Tokens are kept in turns: the compiler would rather add up one after the other, and then
/// codes are written to memory first and read from there for each token.
fn Late(comptime Sum: type, comptime n_tokens: usize) type {
    return struct {
        pairs: [2]Words = undefined,
        sums: [2]?*Sum = @splat(null),

        const Self = @This();

        /// Adds the products of `codes` with `quants` to `sum`, at last.
        inline fn add(
            late: *Self,
            sum: *Sum,
            codes: @Vector(n_bytes, u8),
            quants: Signed,
        ) void {
            late.addFirst();
            late.pairs[1] = pairSums(codes, quants);
            late.sums[1] = sum;
            if (n_tokens > 1) order.keep(&late.pairs[1]);
        }

        /// Adds up what waits.
        inline fn finish(late: *Self) void {
            inline for (0..2) |_| late.addFirst();
        }

        /// Adds up what waits first.
        inline fn addFirst(late: *Self) void {
            if (late.sums[0]) |sum| {
                sum.* +%= if (Sum == Words) late.pairs[0] else widen(late.pairs[0]);
                if (n_tokens > 1) order.keep(sum);
            }
            late.pairs[0] = late.pairs[1];
            late.sums[0] = late.sums[1];
        }
    };
}

/// Without VNNI: pairs of products, added up as long as they fit 16 bits.
inline fn dotsPairs(
    comptime n_fit: usize,
    comptime n: usize,
    comptime n_tokens: usize,
    codes: *const [n]Codes,
    quants: [*]const i32,
    starts: *const [n_tokens]i32,
    turns: anytype,
) [n_tokens]Sums {
    var sums: [n_tokens][n_parts]Ints = undefined;
    inline for (&sums, starts) |*own, begin| own.* = @splat(@splat(begin));
    comptime var from = 0;
    inline while (from < n) : (from += n_fit) {
        const end = comptime @min(n, from + n_fit);
        var words: [n_tokens][n_parts]Words = @splat(@splat(@splat(0)));
        var late: Late(Words, n_tokens) = .{};
        inline for (codes[from..end], from..) |c, word| {
            const parts: [n_parts]@Vector(n_bytes, u8) = @bitCast(c);
            inline for (&words, 0..) |*own, i| {
                const repeated: Signed = @bitCast(repeatWord(quants, i, word));
                inline for (own, parts) |*sum, part| late.add(sum, part, repeated);
                turns.after(word * n_tokens + i);
            }
        }
        late.finish();
        inline for (&sums, words) |*own, some| {
            inline for (own, some) |*sum, pairs| sum.* +%= widen(pairs);
        }
    }
    return @bitCast(sums);
}

/// The same for 8 bits: |code| times the activation with its sign, so that pairs fit 16 bits. The
/// other way round a code of -128 would have no opposite. No offset is left to be taken away.
inline fn dotsSigned(
    comptime format: Format,
    comptime n: usize,
    comptime n_tokens: usize,
    codes: *const [n]Codes,
    quants: [*]const i32,
) [n_tokens]Sums {
    var sums: [n_tokens][n_parts]Ints = @splat(@splat(@splat(startOf(format))));
    var late: Late(Ints, n_tokens) = .{};
    inline for (codes, 0..) |c, word| {
        const parts: [n_parts]Signed = @bitCast(c ^ @as(Codes, @splat(formats.byte_offset)));
        inline for (&sums, 0..) |*own, i| {
            const repeated: Signed = @bitCast(repeatWord(quants, i, word));
            inline for (own, parts) |*sum, part| {
                const signed = if (has_avx2)
                    @"llvm.x86.avx2.psign.b"(repeated, part)
                else
                    @"llvm.x86.ssse3.psign.b.128"(repeated, part);
                late.add(sum, @abs(part), signed);
            }
        }
    }
    late.finish();
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
