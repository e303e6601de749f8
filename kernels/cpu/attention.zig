//! Attention over a cache of half floats, for one token of each sequence and for many. Compiled
//! once for each CPU variant.
//!
//! Keys are taken in chunks of 64, each on its own: the largest score, the sum of the weights and
//! the weighted sum of the values. The chunks of a head are folded together in order (Milakov and
//! Gimelshein 2018), at once, or, where there are few tokens, after threads have shared the chunks.
//! So a token's bits depend neither on the number of threads, nor on what else is in the batch, nor
//! on how far the cache reaches past what it may see.
const std = @import("std");
const exponential = @import("exponential.zig");
const half = @import("half.zig");
const Share = @import("share.zig").Share;

const F = half.F;
const lanes = half.lanes;

/// Keys of a chunk.
pub const chunk_len = 64;
/// Sizes of a head that have kernels.
pub const head_sizes = [_]usize{ 32, 64, 80, 96, 128, 256 };
/// Floats before the values of a partial sum: the largest score, the sum of the weights.
const head_room = lanes;

/// Where everything lies; strides count elements.
pub const Args = extern struct {
    /// f32 [n_embd_head, n_head, n_tokens]
    q: ?[*]const f32,
    q_stride: usize,
    /// f16 [n_embd_head, n_head_kv, n_kv, n_streams]
    k: ?[*]const u8,
    v: ?[*]const u8,
    head_stride: usize,
    cell_stride: usize,
    stream_stride: usize,
    /// f16 [n_kv, n_tokens], added to the scores
    mask: ?[*]const f16,
    mask_stride: usize,
    n_embd_head: usize,
    n_head: usize,
    n_head_kv: usize,
    n_kv: usize,
    n_tokens: usize,
    /// Tokens of one stream, one behind another.
    per_stream: usize,
    /// Of the scores.
    scale: f32,

    fn chunks(args: *const Args) usize {
        return (args.n_kv + chunk_len - 1) / chunk_len;
    }
};

/// Floats of the partial sums; the pointers may still be null.
pub fn partialLen(args: *const Args) usize {
    return (head_room + args.n_embd_head) * args.chunks() * args.n_head * args.n_tokens;
}

/// Whether heads of this size have a kernel.
pub fn accepts(n_embd_head: usize) bool {
    return std.mem.indexOfScalar(usize, &head_sizes, n_embd_head) != null;
}

/// Writes the partial sums of every head and chunk.
pub const Attend = *const fn (args: *const Args, partials: [*]f32, share: Share) callconv(.c) void;
/// Folds them: f32 [n_embd_head, n_head, n_tokens], contiguous.
pub const Merge = *const fn (
    args: *const Args,
    partials: [*]const f32,
    out: [*]f32,
    share: Share,
) callconv(.c) void;
/// Both at once, without partial sums in memory.
pub const AttendWhole = *const fn (args: *const Args, out: [*]f32, share: Share) callconv(.c) void;

/// The functions of one variant.
pub const Functions = extern struct { attend: Attend, merge: Merge, attend_whole: AttendWhole };

/// Those of the CPU that this module is compiled for.
pub const vector: Functions = .{
    .attend = &attend,
    .merge = &merge,
    .attend_whole = &attendWhole,
};

/// Heads that share their keys read them together, as many at a time as registers hold the values
/// of.
fn passes(comptime n_embd_head: usize) []const usize {
    return switch (24 * lanes / n_embd_head) {
        0, 1 => &.{1},
        2 => &.{ 2, 1 },
        3 => &.{ 3, 2, 1 },
        else => &.{ 4, 3, 2, 1 },
    };
}

fn attend(args: *const Args, partials: [*]f32, share: Share) callconv(.c) void {
    @setEvalBranchQuota(20_000);
    const n_chunks = args.chunks();
    const n_group = args.n_head / args.n_head_kv;
    const first, const end = share.of(args.n_tokens * args.n_head_kv * n_chunks);
    inline for (head_sizes) |size| {
        if (args.n_embd_head == size) for (first..end) |at| {
            const chunk = at % n_chunks;
            const token = at / n_chunks / args.n_head_kv;
            var head = at / n_chunks % args.n_head_kv * n_group;
            const end_head = head + n_group;
            inline for (comptime passes(size)) |n| {
                while (end_head - head >= n) : (head += n) {
                    const parts = Chunk(size, n).of(args, token, head, chunk);
                    inline for (parts, head..) |part, h| {
                        const place = (token * args.n_head + h) * n_chunks + chunk;
                        part.store(partials + place * (head_room + size));
                    }
                }
            }
        };
    }
}

fn merge(
    args: *const Args,
    partials: [*]const f32,
    out: [*]f32,
    share: Share,
) callconv(.c) void {
    const n_chunks = args.chunks();
    const first, const end = share.of(args.n_tokens * args.n_head);
    inline for (head_sizes) |size| {
        if (args.n_embd_head == size) for (first..end) |head| {
            var whole: Part(size) = .nothing;
            for (head * n_chunks..(head + 1) * n_chunks) |place| {
                whole.fold(.load(partials + place * (head_room + size)));
            }
            whole.finish(out + head * size);
        };
    }
}

fn attendWhole(args: *const Args, out: [*]f32, share: Share) callconv(.c) void {
    @setEvalBranchQuota(20_000);
    const n_group = args.n_head / args.n_head_kv;
    inline for (head_sizes) |size| {
        // Later tokens see more keys, so threads take them by turns.
        var at = share.index;
        if (args.n_embd_head == size) while (at < args.n_tokens * args.n_head_kv) {
            const token = at % args.n_tokens;
            var head = at / args.n_tokens * n_group;
            const end_head = head + n_group;
            at += share.count;
            inline for (comptime passes(size)) |n| {
                while (end_head - head >= n) : (head += n) {
                    var wholes: [n]Part(size) = @splat(.nothing);
                    for (0..args.chunks()) |chunk| {
                        const parts = Chunk(size, n).of(args, token, head, chunk);
                        inline for (&wholes, parts) |*whole, part| whole.fold(part);
                    }
                    inline for (wholes, head..) |whole, h| {
                        whole.finish(out + (token * args.n_head + h) * size);
                    }
                }
            }
        };
    }
}

/// What some keys give to a head.
fn Part(comptime n_embd_head: usize) type {
    return struct {
        const Self = @This();
        const Values = [n_embd_head / lanes]F;

        /// The largest score, and the sum of the weights when that weighs 1.
        max: f32,
        sum: f32,
        values: Values,

        const nothing: Self = .{
            .max = -std.math.inf(f32),
            .sum = 0,
            .values = @splat(@splat(0)),
        };

        inline fn store(self: Self, to: [*]f32) void {
            to[0] = self.max;
            to[1] = self.sum;
            @as(*align(4) Values, @ptrCast(to + head_room)).* = self.values;
        }

        inline fn load(from: [*]const f32) Self {
            return .{
                .max = from[0],
                .sum = from[1],
                .values = @as(*align(4) const Values, @ptrCast(from + head_room)).*,
            };
        }

        /// Adds what the next keys give.
        inline fn fold(self: *Self, next: Self) void {
            if (next.max == -std.math.inf(f32)) return;
            const max = @max(self.max, next.max);
            const old = exponential.exp(self.max - max);
            const new = exponential.exp(next.max - max);
            self.max = max;
            self.sum = self.sum * old + next.sum * new;
            inline for (&self.values, next.values) |*value, more| {
                value.* = half.multiplyAdd(more, @splat(new), value.* * @as(F, @splat(old)));
            }
        }

        inline fn finish(self: Self, out: [*]f32) void {
            const inverse: F = @splat(1 / self.sum);
            inline for (self.values, 0..) |value, i| {
                out[lanes * i ..][0..lanes].* = value * inverse;
            }
        }
    };
}

/// A chunk of keys with `n` heads of one token.
fn Chunk(comptime n_embd_head: usize, comptime n: usize) type {
    return struct {
        const n_vectors = n_embd_head / lanes;
        const Parts = [n]Part(n_embd_head);

        /// Asks for what is read next: the processor does not see it coming, for each head's part
        /// of a cell lies apart.
        inline fn askFor(row: [*]const u8) void {
            inline for (0..(2 * n_embd_head + 63) / 64) |line| @prefetch(row + 64 * line, .{});
        }

        fn of(args: *const Args, token: usize, head: usize, chunk: usize) Parts {
            @setEvalBranchQuota(20_000);
            const cell = chunk * chunk_len;
            const n_keys: usize = @min(chunk_len, args.n_kv - cell);
            const mask = visible((args.mask.? + token * args.mask_stride + cell)[0..n_keys]);
            if (mask.len == 0) return @splat(.nothing);
            var biases: [chunk_len]f16 = @splat(-std.math.inf(f16));
            @memcpy(biases[0..mask.len], mask);
            const head_kv = head / (args.n_head / args.n_head_kv);
            const at = token / args.per_stream * args.stream_stride +
                cell * args.cell_stride + head_kv * args.head_stride;
            const q: *align(4) const [n][n_vectors]F =
                @ptrCast(args.q.? + token * args.q_stride + head * n_embd_head);

            var scores: [n][chunk_len]f32 = @splat(@splat(-std.math.inf(f32)));
            var first: usize = 0;
            while (first < mask.len) : (first += lanes) {
                const keys: Rows = .{
                    .first = args.k.? + 2 * (at + first * args.cell_stride),
                    .stride = 2 * args.cell_stride,
                    .last = @min(lanes, mask.len - first) - 1,
                };
                const dots = Dots(n_vectors, n).of(lanes, 0, q, keys);
                const values = args.v.? + 2 * (at + first * args.cell_stride);
                for (0..lanes) |i| askFor(values + i * 2 * args.cell_stride);
                const bias = half.load(@ptrCast(biases[first..]));
                inline for (&scores, dots) |*score, dot| {
                    const scaled = inKeyOrder(dot) * @as(F, @splat(args.scale));
                    score[first..][0..lanes].* = scaled + bias;
                }
            }
            var parts: Parts = @splat(.nothing);
            inline for (&parts, &scores) |*part, *score| part.max, part.sum = weigh(score);
            for (0..mask.len) |key| {
                const row = args.v.? + 2 * (at + key * args.cell_stride);
                askFor(args.k.? + 2 * (at + (chunk_len + key) * args.cell_stride));
                inline for (0..n_vectors) |i| {
                    const v = half.load(row + 2 * lanes * i);
                    inline for (&parts, &scores) |*part, *score| {
                        part.values[i] =
                            half.multiplyAdd(v, @splat(score[key]), part.values[i]);
                    }
                }
            }
            return parts;
        }
    };
}

/// The part of a mask before its last keys that may not be seen.
inline fn visible(mask: []const f16) []const f16 {
    var n = mask.len;
    while (n > 0 and @as(u16, @bitCast(mask[n - 1])) == 0xfc00) n -= 1;
    return mask[0..n];
}

/// Sixteen rows, of which those behind the last are the last once more.
const Rows = struct {
    first: [*]const u8,
    /// Bytes from one row to the next.
    stride: usize,
    last: usize,

    inline fn row(rows: Rows, index: usize) [*]const u8 {
        return rows.first + @min(index, rows.last) * rows.stride;
    }
};

/// Dot products of keys with `n` heads, as many at once as there are registers for.
fn Dots(comptime n_vectors: usize, comptime n: usize) type {
    return struct {
        const at_once = switch (n) {
            1 => 16,
            2, 3 => 8,
            else => 4,
        };

        /// `count` keys from `first` on. Each head's vector has lanes / count sums of every key,
        /// which halve() adds up.
        inline fn of(
            comptime count: usize,
            comptime first: usize,
            q: *align(4) const [n][n_vectors]F,
            keys: Rows,
        ) [n]F {
            var sums: [n]F = undefined;
            if (count > at_once) {
                const some = of(count / 2, first, q, keys);
                const others = of(count / 2, first + count / 2, q, keys);
                inline for (&sums, some, others) |*sum, a, b| sum.* = halve(count, a, b);
                return sums;
            }
            var dots: [n][count]F = @splat(@splat(@splat(0)));
            inline for (0..n_vectors) |i| {
                inline for (0..count) |key| {
                    const k = half.load(keys.row(first + key) + 2 * lanes * i);
                    inline for (0..n) |h| dots[h][key] = half.multiplyAdd(k, q[h][i], dots[h][key]);
                }
            }
            inline for (&sums, dots) |*sum, dot| sum.* = tree(count, dot);
            return sums;
        }
    };
}

inline fn tree(comptime count: usize, sums: [count]F) F {
    if (count == 1) return sums[0];
    const middle = count / 2;
    return halve(count, tree(middle, sums[0..middle].*), tree(middle, sums[middle..].*));
}

/// Two vectors with 2 * lanes / count sums of each key become one with half as many of each: those
/// lanes / count apart are added. So the sixteen products of a key are added up in one order,
/// whatever it is computed with.
inline fn halve(comptime count: usize, a: F, b: F) F {
    const step: i32 = lanes / count;
    comptime var low: [lanes]i32 = undefined;
    comptime var high: [lanes]i32 = undefined;
    comptime {
        // The last two steps stay within 128 bits, where shuffles cost less.
        for (0..lanes) |at| {
            const lane: i32 = switch (count) {
                2 => at % 8,
                4 => at % 4 + at / 4 % 2 * 8,
                8 => at % 2 + at / 4 * 4,
                16 => at % 2 * 2 + at / 4 * 4,
                else => unreachable,
            };
            const second = if (count <= 4) at >= 8 else at % 4 >= 2;
            low[at] = if (second) ~lane else lane;
            high[at] = if (second) ~(lane + step) else lane + step;
        }
    }
    return @shuffle(f32, a, b, low) + @shuffle(f32, a, b, high);
}

/// The sums as halve() leaves them, by key.
inline fn inKeyOrder(sums: F) F {
    comptime var order: [lanes]i32 = undefined;
    comptime for (0..lanes) |key| {
        order[key] = key % 4 * 4 + key / 4;
    };
    return @shuffle(f32, sums, undefined, order);
}

/// Turns scores into weights; gives the largest score and the sum of the weights.
inline fn weigh(scores: *[chunk_len]f32) struct { f32, f32 } {
    const vectors: *align(4) [chunk_len / lanes]F = @ptrCast(scores);
    var largest: F = vectors[0];
    inline for (vectors[1..]) |s| largest = @max(largest, s);
    const max = @reduce(.Max, largest);
    var sum: F = @splat(0);
    inline for (vectors) |*s| {
        s.* = exponential.exp(s.* - @as(F, @splat(max)));
        sum += s.*;
    }
    return .{ max, @reduce(.Add, sum) };
}
