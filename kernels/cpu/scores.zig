//! Products of a chunk of keys with queries, in two ways that give the same bits: keys as rows, for
//! few queries, and as columns of f32 that many queries share. A product is sixteen sums, of what
//! is 16 apart, that one tree adds up.
const std = @import("std");
const builtin = @import("builtin");
const across = @import("across.zig");
const cell = @import("cell.zig");
const half = @import("half.zig");
const line_bytes = @import("stream.zig").line_bytes;
const order = @import("order.zig");

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
/// Lanes that are added up without a loop.
const lanes_at_once = if (half.n_parts > 1) 4 else 1;

/// Sums of products of some heads with some keys, or with sixteen of them each.
fn Sums(comptime n: usize, comptime count: usize) type {
    return [n][count][half.n_parts]half.Part;
}

/// Rows of a chunk, a key each; those behind the last are the last once more.
pub const Rows = struct {
    first: [*]const u8,
    /// Bytes from one row to the next.
    stride: usize,
    last: usize,

    pub inline fn row(rows: Rows, index: usize) [*]const u8 {
        return rows.first + @min(index, rows.last) * rows.stride;
    }
};

/// Keys and values that are read soon, asked for bit by bit while a chunk is computed: more than a
/// processor can wait for would stall it. By itself it asks for little, because the rows of a head
/// lie apart. Keys and values take turns, because two places give more (stream.zig).
pub const Ahead = struct {
    /// Where the keys begin, and the values.
    first: [2][*]const u8,
    /// Bytes that are asked for with each key and each sixteen of its values.
    per_vector: usize,

    pub const nothing: Ahead = .{ .first = @splat(&.{}), .per_vector = 0 };

    /// What is left when `n_vectors` of all keys are computed.
    pub inline fn after(ahead: Ahead, n_vectors: usize) Ahead {
        var left = ahead;
        for (&left.first) |*first| first.* += chunk_len / 2 * n_vectors * ahead.per_vector;
        return left;
    }

    /// Asks for what comes with `n_vectors` of a key.
    pub inline fn ask(ahead: Ahead, key: usize, n_vectors: usize) void {
        const bytes = n_vectors * ahead.per_vector;
        const from = ahead.first[key % 2] + key / 2 * bytes;
        // Written out, because the compiler's own way to unroll it takes longer than few lines.
        inline for (0..lines_written) |line| {
            if (line_bytes * line >= bytes) return;
            @prefetch(from + line_bytes * line, .{});
        }
        var at: usize = line_bytes * lines_written;
        while (at < bytes) : (at += line_bytes) @prefetch(from + at, .{});
    }
    const lines_written = 4;
};

/// Heads of a query, side by side: registers do not hold a pointer to each.
pub const Heads = struct {
    first: [*]const f32,
    /// Floats from one to the next.
    stride: usize,
};

/// Dot products of keys with `n` heads, as many at once as there are registers for.
pub fn Dots(comptime type_: cell.Type, comptime n: usize) type {
    return struct {
        const at_once = std.math.floorPowerOfTwo(usize, @min(lanes, registers / n));
        /// Keys whose sums are halved before the next are begun, which hides the time it takes.
        const per_turn = if (is_wide) lanes else 4;

        /// Sixteen keys from `first` on, in the order of across.halve(). `ahead` is asked for
        /// meanwhile.
        pub inline fn of(
            first: usize,
            q: Heads,
            n_vectors: usize,
            keys: Rows,
            ahead: Ahead,
        ) [n]F {
            var turns: [n][lanes / per_turn]F = undefined;
            for (0..lanes / per_turn) |turn| {
                var some: [n][per_turn / at_once]F = undefined;
                inline for (0..per_turn / at_once) |i| {
                    const key = first + per_turn * turn + at_once * i;
                    inline for (0..at_once) |more| ahead.ask(key + more, n_vectors);
                    const dots = ofSome(key, q, n_vectors, keys);
                    inline for (&some, &dots) |*own, *dot| {
                        own[i] = across.halveAll(.sum, f32, 1, at_once, dot);
                    }
                }
                inline for (&turns, &some) |*all, *own| {
                    all[turn] = across.halveAll(.sum, f32, at_once, per_turn, own);
                }
            }
            var sums: [n]F = undefined;
            inline for (&sums, &turns) |*sum, *all| {
                sum.* = across.halveAll(.sum, f32, per_turn, lanes, all);
            }
            return sums;
        }

        /// The sixteen sums of each of a few keys with each head.
        inline fn ofSome(
            first: usize,
            q: Heads,
            n_vectors: usize,
            keys: Rows,
        ) [n][at_once]F {
            var rows: [at_once][*]const u8 = undefined;
            inline for (&rows, 0..) |*row, key| row.* = keys.row(first + key);
            var sums: Sums(n, at_once) = @splat(@splat(@splat(@splat(0))));
            var i: usize = 0;
            // Heads of 64 have four vectors, and no loop then.
            inline for (.{ 4, 1 }) |count| {
                while (n_vectors - i >= count) : (i += count) inline for (0..count) |more| {
                    addVector(type_, n, at_once, &sums, q, rows, i + more);
                };
            }
            var dots: [n][at_once]F = undefined;
            inline for (&dots, sums) |*own, all| {
                inline for (own, all) |*dot, parts| dot.* = half.whole(parts);
            }
            return dots;
        }
    };
}

/// Adds to the sums of each head and key what sixteen values of both give.
inline fn addVector(
    comptime type_: cell.Type,
    comptime n: usize,
    comptime count: usize,
    sums: *Sums(n, count),
    q: Heads,
    rows: [count][*]const u8,
    i: usize,
) void {
    var k: [count]F = undefined;
    inline for (&k, rows) |*own, row| own.* = cell.load(type_, row, i);
    inline for (0..half.n_parts) |p| {
        inline for (sums, 0..) |*some, h| {
            const own = half.part(floats(q.first + h * q.stride + lanes * i), p);
            inline for (some, k) |*sum, key| {
                sum[p] = half.multiplyAddAs(half.Part, half.part(key, p), own, sum[p]);
            }
        }
        if (half.n_parts > 1) inline for (sums) |*some| {
            inline for (some) |*sum| order.keep(&sum[p]);
        };
    }
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
                const meeting: Meeting(n, count) = .{
                    .columns = columns,
                    .first = first,
                    .q = q,
                    .n_vectors = n_vectors,
                };
                const sums = meeting.sums();
                inline for (scores, sums) |*score, sum| inline for (sum, first..) |parts, c| {
                    score[lanes * c ..][0..lanes].* = half.whole(parts);
                };
            }
        }
    }
};

/// Sixteen keys from `first` on, and as many more as `count` says, with `n` queries.
fn Meeting(comptime n: usize, comptime count: usize) type {
    return struct {
        columns: *const Columns,
        first: usize,
        q: [n][*]const f32,
        n_vectors: usize,

        const Self = @This();
        const Own = Sums(n, count);

        /// Each lane of a key has a sum of its own; they are added up in the order of
        /// across.halve(), the later ones as soon as there are two.
        inline fn sums(own: Self) Own {
            const apart = lanes / lanes_at_once;
            const depth = comptime std.math.log2(apart);
            var waiting: [depth + 1]Own = undefined;
            for (0..apart) |at| {
                const lane = @bitReverse(@as(@Int(.unsigned, depth), @intCast(at)));
                var some = own.ofLanes(apart, lane);
                const level = @ctz(~at);
                for (waiting[0..level]) |*others| add(&some, others);
                waiting[level] = some;
            }
            return waiting[depth];
        }

        /// The sum of lane `lane` and of every one that is a multiple of `apart` from it.
        inline fn ofLanes(own: Self, comptime apart: usize, lane: usize) Own {
            if (apart == lanes) return own.ofLane(lane);
            var some = own.ofLanes(2 * apart, lane);
            const others = own.ofLanes(2 * apart, lane + apart);
            add(&some, &others);
            return some;
        }

        /// The sum of lane `lane` of each vector of a key.
        inline fn ofLane(own: Self, lane: usize) Own {
            var found: Own = @splat(@splat(@splat(@splat(0))));
            var at: usize = 0;
            // Heads of 64 have four vectors, and no loop then.
            inline for (.{ 4, 1 }) |some| {
                while (own.n_vectors - at >= some) : (at += some) inline for (0..some) |i| {
                    own.addAt(lanes * (at + i) + lane, &found);
                };
            }
            // Before the next lane: registers do not hold the sums of two.
            if (half.n_parts > 1) inline for (&found) |*sum| inline for (sum) |*parts| {
                inline for (parts) |*part| order.keep(part);
            };
            return found;
        }

        /// Adds the products of value `d` of the keys with that of the queries.
        inline fn addAt(own: Self, d: usize, to: *Own) void {
            inline for (0..count) |c| {
                const k = own.columns.vectors[own.first + c][d];
                inline for (to, own.q) |*sum, one| inline for (&sum[c], 0..) |*part, p| {
                    const q: half.Part = @splat(one[d]);
                    part.* = half.multiplyAddAs(half.Part, half.part(k, p), q, part.*);
                };
            }
        }

        inline fn add(to: *Own, from: *const Own) void {
            inline for (to, from) |*some, others| inline for (some, others) |*own, more| {
                inline for (own, more) |*part, other| part.* += other;
            };
        }
    };
}

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
