//! Products of a chunk of keys with queries, in two ways that give the same bits: keys as rows, for
//! few queries, and as columns of f32 that many queries share. A product is sixteen sums, of what
//! is 16 apart, that one tree adds up.
const std = @import("std");
const builtin = @import("builtin");
const across = @import("across.zig");
const cell = @import("cell.zig");
const half = @import("half.zig");

const F = half.F;
const lanes = half.lanes;

/// Keys of a chunk, cells of a block.
pub const chunk_len = 64;
/// Largest head.
pub const n_embd_head_max = 512;
/// Of the keys of a chunk.
pub const Scores = [chunk_len]f32;

/// Whether registers hold sixteen floats.
pub const is_wide = builtin.cpu.arch == .x86_64 and
    std.Target.x86.featureSetHas(builtin.cpu.features, .avx512f);
/// Vectors that registers hold, without what a loop needs beside its sums.
pub const registers = if (is_wide) 24 else 6;
/// Vectors of keys that are computed at once: as many as leave registers for what is multiplied.
const columns_at_once: []const usize = if (is_wide) &.{ 4, 2 } else &.{1};

/// Rows of a chunk, a key each; those behind the last are the last once more.
pub const Rows = struct {
    first: [*]const u8,
    /// Bytes from one row to the next.
    stride: usize,
    last: usize,

    pub inline fn row(rows: Rows, index: usize) [*]const u8 {
        return rows.first + @min(index, rows.last) * rows.stride;
    }

    /// So many bytes of each, to be asked for.
    pub inline fn ahead(rows: Rows, bytes: usize) Ahead {
        return .{ .first = rows.first, .stride = rows.stride, .bytes = bytes };
    }
};

/// Rows that are read soon. The processor does not see them coming, for each head's part of a cell
/// lies apart; they are asked for a few at a time, because more than it can wait for stall it.
pub const Ahead = struct {
    first: [*]const u8,
    /// Bytes from one row to the next.
    stride: usize,
    /// Bytes of a row that are read.
    bytes: usize,

    pub const nothing: Ahead = .{ .first = &.{}, .stride = 0, .bytes = 0 };

    pub inline fn from(ahead: Ahead, index: usize) Ahead {
        var rest = ahead;
        rest.first += index * ahead.stride;
        return rest;
    }

    pub inline fn ask(ahead: Ahead, index: usize) void {
        const row = ahead.first + index * ahead.stride;
        var at: usize = 0;
        while (at < ahead.bytes) : (at += 64) @prefetch(row + at, .{});
    }
};

/// Dot products of keys with `n` heads, as many at once as there are registers for.
pub fn Dots(comptime type_: cell.Type, comptime n: usize) type {
    return struct {
        const at_once = std.math.floorPowerOfTwo(usize, @min(lanes, registers / n));

        /// `count` keys from `first` on. Each head's vector has lanes / count sums of every key,
        /// which across.halve() adds up. Those rows of `ahead` are asked for meanwhile.
        pub inline fn of(
            comptime count: usize,
            comptime first: usize,
            q: [n][*]const f32,
            n_vectors: usize,
            keys: Rows,
            ahead: Ahead,
        ) [n]F {
            var sums: [n]F = undefined;
            if (count > at_once) {
                const some = of(count / 2, first, q, n_vectors, keys, ahead);
                const others = of(count / 2, first + count / 2, q, n_vectors, keys, ahead);
                inline for (&sums, some, others) |*sum, a, b| {
                    sum.* = across.halve(.sum, f32, count, a, b);
                }
                return sums;
            }
            inline for (0..count) |key| ahead.ask(first + key);
            var dots: [n][count]F = @splat(@splat(@splat(0)));
            for (0..n_vectors) |i| {
                inline for (0..count) |key| {
                    const k = cell.load(type_, keys.row(first + key), i);
                    inline for (&dots, q) |*dot, one| {
                        dot[key] = half.multiplyAdd(k, floats(one + lanes * i), dot[key]);
                    }
                }
            }
            inline for (&sums, dots) |*sum, dot| sum.* = across.halveAll(.sum, f32, count, &dot);
            return sums;
        }
    };
}

/// Keys of a chunk as f32 [lanes, n_embd_head] for each sixteen of them.
pub const Columns = struct {
    vectors: [chunk_len / lanes][n_embd_head_max]F,

    pub inline fn read(
        columns: *Columns,
        comptime type_: cell.Type,
        rows: Rows,
        n_vectors: usize,
    ) void {
        for (0..rows.last / lanes + 1) |sixteen| {
            for (0..n_vectors) |i| {
                var square: [lanes]F = undefined;
                inline for (&square, 0..) |*one, key| {
                    one.* = cell.load(type_, rows.row(lanes * sixteen + key), i);
                }
                columns.vectors[sixteen][lanes * i ..][0..lanes].* = transposed(square);
            }
        }
    }

    /// Products with `n` queries, of the first `n_keys` keys and some more.
    pub inline fn dots(
        columns: *const Columns,
        comptime n: usize,
        q: [n][*]const f32,
        n_vectors: usize,
        n_keys: usize,
        scores: *[n]Scores,
    ) void {
        const end = (n_keys + lanes - 1) / lanes;
        var first: usize = 0;
        inline for (columns_at_once, 0..) |count, i| {
            const is_last = i + 1 == columns_at_once.len;
            // More than half of them are worth computing all.
            while (first < end and (is_last or end - first > count / 2)) : (first += count) {
                const sums = columns.sumsOf(n, count, first, q, n_vectors);
                inline for (scores, sums) |*score, sum| {
                    inline for (sum, 0..) |s, c| score[lanes * (first + c) ..][0..lanes].* = s;
                }
            }
        }
    }

    /// Each lane of a key has a sum of its own; they are added up in the order of across.halve(),
    /// the later ones as soon as there are two.
    inline fn sumsOf(
        columns: *const Columns,
        comptime n: usize,
        comptime count: usize,
        first: usize,
        q: [n][*]const f32,
        n_vectors: usize,
    ) [n][count]F {
        const Sums = [n][count]F;
        const depth = comptime std.math.log2(lanes);
        var waiting: [depth + 1]Sums = undefined;
        for (0..lanes) |at| {
            const lane = @bitReverse(@as(@Int(.unsigned, depth), @intCast(at)));
            var sums = columns.laneOf(n, count, first, q, n_vectors, lane);
            const level = @ctz(~at);
            for (waiting[0..level]) |*some| {
                inline for (&sums, some) |*sum, as| {
                    inline for (sum, as) |*s, a| s.* += a;
                }
            }
            waiting[level] = sums;
        }
        return waiting[depth];
    }

    /// The sum of lane `lane` of each vector of a key.
    inline fn laneOf(
        columns: *const Columns,
        comptime n: usize,
        comptime count: usize,
        first: usize,
        q: [n][*]const f32,
        n_vectors: usize,
        lane: usize,
    ) [n][count]F {
        var sums: [n][count]F = @splat(@splat(@splat(0)));
        var at: usize = 0;
        // Heads of 64 have four vectors, and no loop then.
        inline for (.{ 4, 1 }) |some| {
            while (n_vectors - at >= some) : (at += some) {
                inline for (0..some) |i| {
                    const d = lanes * (at + i) + lane;
                    inline for (0..count) |c| {
                        const k = columns.vectors[first + c][d];
                        inline for (&sums, q) |*sum, one| {
                            sum[c] = half.multiplyAdd(k, @splat(one[d]), sum[c]);
                        }
                    }
                }
            }
        }
        return sums;
    }
};

/// Row i becomes column i.
inline fn transposed(square: [lanes]F) [lanes]F {
    var rows = square;
    comptime var step = lanes / 2;
    inline while (step > 0) : (step /= 2) {
        // Where the step's bit of row and column differ, they change places.
        comptime var low: [lanes]i32 = undefined;
        comptime var high: [lanes]i32 = undefined;
        comptime for (0..lanes) |at| {
            low[at] = if (at & step == 0) at else ~@as(i32, at - step);
            high[at] = if (at & step == 0) at + step else ~@as(i32, at);
        };
        inline for (0..lanes) |at| if (at & step == 0) {
            const a, const b = .{ rows[at], rows[at + step] };
            rows[at] = @shuffle(f32, a, b, low);
            rows[at + step] = @shuffle(f32, a, b, high);
        };
    }
    return rows;
}

/// Sixteen of them.
pub inline fn floats(from: [*]const f32) F {
    return @as(*align(4) const F, @ptrCast(from)).*;
}
