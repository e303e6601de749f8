//! Attention over blocks of cached keys and values, for one token of each sequence and for many.
//! Compiled once for each CPU variant.
//!
//! Keys are taken in chunks of 64, a block each: the largest score, the sum of the weights and the
//! weighted sum of the values. The chunks of a head are folded together in order (Milakov and
//! Gimelshein 2018). For one token of a sequence, threads share the chunks and fold them after
//! that; many share each chunk (attention_tile.zig). A token's bits depend neither on the number of
//! threads, nor on what else is in the batch, nor on where its blocks lie.
const std = @import("std");
const across = @import("across.zig");
const cell = @import("cell.zig");
const half = @import("half.zig");
const scores_of = @import("scores.zig");
const weights_of = @import("weights.zig");
const Share = @import("share.zig").Share;

const lanes = half.lanes;
const Ahead = scores_of.Ahead;
const Rows = scores_of.Rows;
const Tile = @import("attention_tile.zig").Tile;
const Weights = weights_of.Weights;
const queries_max = @import("attention_tile.zig").queries_max;

pub const chunk_len = scores_of.chunk_len;
/// Floats before the values of a partial sum: the largest score, the sum of the weights.
const head_room = lanes;

/// Where everything lies.
pub const Args = extern struct {
    /// f32 [n_embd_head, n_head, n_tokens]
    q: ?[*]const f32,
    /// Floats from one token to the next.
    q_stride: usize,
    /// [n_embd_head, n_head_kv, cells]
    k: ?[*]const u8,
    v: ?[*]const u8,
    type: cell.Type,
    cell_bytes: usize,
    /// i32 [n_blocks, n_streams], the blocks of cells that each stream consists of
    blocks: ?[*]const i32,
    n_blocks: usize,
    /// i32 [n_tokens], the first cells of its stream that a token sees
    n_seen: ?[*]const i32,
    n_embd_head: usize,
    n_head: usize,
    n_head_kv: usize,
    n_tokens: usize,
    /// Tokens of one stream, one behind another.
    per_stream: usize,
    /// Of the scores.
    scale: f32,

    pub fn group(args: *const Args) usize {
        return args.n_head / args.n_head_kv;
    }

    pub fn query(args: *const Args, token: usize, head: usize) [*]const f32 {
        return args.q.? + token * args.q_stride + head * args.n_embd_head;
    }

    /// Keys of a chunk that a token sees.
    pub fn seen(args: *const Args, token: usize, chunk: usize) usize {
        const n: usize = @intCast(@max(0, args.n_seen.?[token]));
        return @min(n -| chunk * chunk_len, chunk_len);
    }

    /// Chunks with keys that a token sees.
    pub fn chunks(args: *const Args, token: usize) usize {
        const n: usize = @intCast(@max(0, args.n_seen.?[token]));
        return @min((n + chunk_len - 1) / chunk_len, args.n_blocks);
    }

    /// The first byte of a head's part of the chunk, in the keys and in the values.
    pub fn place(args: *const Args, stream: usize, chunk: usize, head_kv: usize) usize {
        const block: usize = @intCast(args.blocks.?[stream * args.n_blocks + chunk]);
        return block * chunk_len * args.cell_bytes + args.type.bytes(head_kv * args.n_embd_head);
    }
};

/// Floats of the partial sums; the pointers may still be null.
pub fn partialLen(args: *const Args) usize {
    return (head_room + args.n_embd_head) * args.n_blocks * args.n_head * args.n_tokens;
}

/// Whether there is a kernel for heads of this size in cells of this type.
pub fn accepts(type_: cell.Type, n_embd_head: usize) bool {
    return n_embd_head > 0 and n_embd_head <= scores_of.n_embd_head_max and
        n_embd_head % @max(lanes, type_.blockLen()) == 0;
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

fn attend(args: *const Args, partials: [*]f32, share: Share) callconv(.c) void {
    switch (args.type) {
        inline else => |type_| attendType(type_, args, partials, share),
    }
}

/// Chunks of heads that a thread takes at a time, some microseconds.
const parts_at_once = 4;

fn attendType(comptime type_: cell.Type, args: *const Args, partials: [*]f32, share: Share) void {
    @setEvalBranchQuota(20_000);
    const parts: Parts = .of(args);
    var runs = share.runs(args.n_tokens * parts.per_token, parts_at_once);
    while (runs.next()) |run| for (run[0]..run[1]) |at| {
        const part = parts.at(at);
        if (part.seen(args) == 0) continue;
        var head = part.head_kv * args.group();
        const end_head = head + args.group();
        inline for (.{ 4, 3, 2, 1 }) |n| {
            while (end_head - head >= n) : (head += n) {
                const size = head_room + args.n_embd_head;
                var to: [n][*]f32 = undefined;
                inline for (&to, 0..) |*place, h| {
                    const index = (part.token * args.n_head + head + h) * args.n_blocks;
                    place.* = partials + (index + part.chunk) * size;
                }
                attendHeads(type_, n, parts, part, head, to);
            }
        }
    };
}

/// The work of attend(), in the order in which it lies in memory: chunks of heads of keys, those of
/// all heads side by side. Tokens that see less than another one have some without keys at last.
const Parts = struct {
    args: *const Args,
    per_token: usize,

    fn of(args: *const Args) Parts {
        var n_chunks: usize = 0;
        for (0..args.n_tokens) |token| n_chunks = @max(n_chunks, args.chunks(token));
        return .{ .args = args, .per_token = n_chunks * args.n_head_kv };
    }

    fn at(parts: Parts, index: usize) Part {
        const rest = index % parts.per_token;
        return .{
            .index = index,
            .token = index / parts.per_token,
            .chunk = rest / parts.args.n_head_kv,
            .head_kv = rest % parts.args.n_head_kv,
        };
    }

    /// The first part of the next chunk that has keys: of this token, or of the next one.
    fn nextChunk(parts: Parts, part: Part) ?Part {
        const next = part.index - part.head_kv + parts.args.n_head_kv;
        for ([_]usize{ next, (part.token + 1) * parts.per_token }) |index| {
            if (index >= parts.args.n_tokens * parts.per_token) return null;
            const other = parts.at(index);
            if (other.seen(parts.args) > 0) return other;
        }
        return null;
    }
};

/// A chunk of the keys of one token and one head of keys.
const Part = struct {
    index: usize,
    token: usize,
    chunk: usize,
    head_kv: usize,

    /// How many keys there are.
    fn seen(part: Part, args: *const Args) usize {
        return args.seen(part.token, part.chunk);
    }

    /// The keys or the values.
    fn rows(part: Part, args: *const Args, cells: [*]const u8) Rows {
        const stream = part.token / args.per_stream;
        return .{
            .first = cells + args.place(stream, part.chunk, part.head_kv),
            .stride = args.cell_bytes,
            .last = part.seen(args) - 1,
        };
    }

    /// Share `index` of all heads of this chunk, of as many as there are heads.
    fn ahead(part: Part, args: *const Args, index: usize) Ahead {
        const n_keys = part.seen(args);
        const start = args.place(part.token / args.per_stream, part.chunk, 0);
        const at = start + index * n_keys * args.type.bytes(args.n_embd_head);
        const two_vectors = n_keys * args.type.bytes(2 * lanes);
        return .{
            .first = .{ args.k.? + at, args.v.? + at },
            .per_vector = (two_vectors + 2 * chunk_len - 1) / (2 * chunk_len),
        };
    }
};

fn merge(
    args: *const Args,
    partials: [*]const f32,
    out: [*]f32,
    share: Share,
) callconv(.c) void {
    const size = head_room + args.n_embd_head;
    const first, const end = share.of(args.n_tokens * args.n_head);
    for (first..end) |head| {
        const values = out[head * args.n_embd_head ..][0..args.n_embd_head];
        var whole: Weights(1) = .none;
        @memset(values, 0);
        for (0..args.chunks(head / args.n_head)) |chunk| {
            const part = partials + (head * args.n_blocks + chunk) * size;
            const next: Weights(1) = .{ .max = .{part[0]}, .sum = .{part[1]} };
            whole = whole.fold(next, .{values}, .{part + head_room});
        }
        weights_of.divide(values, whole.sum[0]);
    }
}

/// Queries of a stream that share a head of keys stand in one line, and a thread takes as many as
/// may share a chunk.
fn attendWhole(args: *const Args, out: [*]f32, share: Share) callconv(.c) void {
    const n_queries = args.per_stream * args.group();
    const n_tiles = (n_queries + queries_max - 1) / queries_max;
    const n_streams = args.n_tokens / args.per_stream;
    var runs = share.runs(n_streams * n_tiles * args.n_head_kv, 1);
    while (runs.next()) |run| {
        const at = run[0];
        // Later queries see more: theirs come first, so that threads end at about one time.
        const first = (n_tiles - 1 - at / args.n_head_kv % n_tiles) * queries_max;
        const tile: Tile = .{
            .args = args,
            .out = out,
            .stream = at / args.n_head_kv / n_tiles,
            .head_kv = at % args.n_head_kv,
            .first = first,
            .n = @min(queries_max, n_queries - first),
        };
        switch (args.type) {
            inline else => |type_| tile.attend(type_),
        }
    }
}

/// What a chunk that has keys gives to `n` heads of one token: the weights, and behind the head
/// room the values.
fn attendHeads(
    comptime type_: cell.Type,
    comptime n: usize,
    parts: Parts,
    part: Part,
    head: usize,
    to: [n][*]f32,
) void {
    const args = parts.args;
    const n_keys = part.seen(args);
    const n_vectors = args.n_embd_head / lanes;
    const keys = part.rows(args, args.k.?);
    const values = part.rows(args, args.v.?);
    const ahead: Ahead =
        if (parts.nextChunk(part)) |next| next.ahead(args, part.head_kv) else .nothing;
    const ahead_later = ahead.after(n_vectors);
    const q: scores_of.Heads = .{
        .first = args.query(part.token, head),
        .stride = args.n_embd_head,
    };

    var scores: [n]scores_of.Scores = undefined;
    var first: usize = 0;
    while (first < n_keys) : (first += lanes) {
        const dots = scores_of.Dots(type_, n).of(first, q, n_vectors, keys, ahead);
        inline for (&scores, dots) |*score, dot| {
            score[first..][0..lanes].* = across.inRowOrder(f32, dot);
        }
    }
    const weights: Weights(n) = .of(&scores, @splat(n_keys), args.scale);
    inline for (to, 0..) |place, h| {
        place[0] = weights.max[h];
        place[1] = weights.sum[h];
    }
    var places: [n][*]f32 = undefined;
    inline for (&places, to) |*place, own| place.* = own + head_room;
    weights_of.weigh(type_, n, values, n_vectors, &scores, @splat(n_keys), places, ahead_later);
    for (n_keys..chunk_len) |key| {
        ahead.ask(key, n_vectors);
        ahead_later.ask(key, n_vectors);
    }
}
