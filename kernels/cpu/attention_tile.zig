//! Attention of many queries to the same keys: each chunk is turned into f32 once.
const std = @import("std");
const attention = @import("attention.zig");
const cell = @import("cell.zig");
const half = @import("half.zig");
const scores_of = @import("scores.zig");
const weights_of = @import("weights.zig");

const F = half.F;
const lanes = half.lanes;
const Columns = scores_of.Columns;
const Rows = scores_of.Rows;
const Scores = scores_of.Scores;
const Weights = weights_of.Weights;

/// Queries of a tile.
pub const queries_max = 64;
/// Queries that are computed at once.
const rows_at_once = if (scores_of.is_wide or half.n_parts > 1) 4 else 2;

/// Queries of a stream that share a head of keys: number t * group + h is head h of token t.
pub const Tile = struct {
    args: *const attention.Args,
    out: [*]f32,
    stream: usize,
    head_kv: usize,
    first: usize,
    n: usize,

    fn token(tile: Tile, index: usize) usize {
        const args = tile.args;
        return tile.stream * args.per_stream + (tile.first + index) / args.group();
    }

    fn head(tile: Tile, index: usize) usize {
        return tile.head_kv * tile.args.group() + (tile.first + index) % tile.args.group();
    }

    fn values(tile: Tile, index: usize) []f32 {
        const size = tile.args.n_embd_head;
        const row = tile.token(index) * tile.args.n_head + tile.head(index);
        return tile.out[row * size ..][0..size];
    }

    /// All queries meet the keys of a chunk, and then its values: so the nearest cache keeps them.
    pub fn attend(tile: Tile, comptime type_: cell.Type) void {
        @setEvalBranchQuota(20_000);
        const args = tile.args;
        const n_vectors = args.n_embd_head / lanes;
        var whole: Each = .none;
        for (0..tile.n) |index| @memset(tile.values(index), 0);
        var k: Columns = undefined;
        var v: [scores_of.chunk_len * scores_of.n_embd_head_max / lanes]F = undefined;
        var scores: [queries_max]Scores = undefined;
        var next: Each = undefined;
        for (0..args.n_blocks) |chunk| {
            // The last query is of the last token, which sees most.
            const n_keys = args.seen(tile.token(tile.n - 1), chunk);
            if (n_keys == 0) break;
            const at = args.place(tile.stream, chunk, tile.head_kv);
            const last = n_keys - 1;
            k.read(type_, .{
                .first = args.k.? + at,
                .stride = args.cell_bytes,
                .last = last,
            }, n_vectors);
            var index: usize = 0;
            inline for (.{ rows_at_once, 1 }) |n| while (tile.n - index >= n) : (index += n) {
                tile.weighKeys(n, index, chunk, &k, scores[index..][0..n], &next);
            };
            for (0..n_keys) |key| {
                const row = args.v.? + at + key * args.cell_bytes;
                for (0..n_vectors) |i| v[key * n_vectors + i] = cell.load(type_, row, i);
            }
            const rows: Rows = .{
                .first = @ptrCast(&v),
                .stride = 4 * args.n_embd_head,
                .last = last,
            };
            index = 0;
            inline for (.{ rows_at_once, 1 }) |n| while (tile.n - index >= n) : (index += n) {
                tile.addValues(n, index, chunk, rows, scores[index..][0..n], &next, &whole);
            };
        }
        for (0..tile.n, whole.sum[0..tile.n]) |index, sum| {
            weights_of.divide(tile.values(index), sum);
        }
    }

    /// Keys of a chunk that `n` queries see, from `index` on.
    inline fn seen(tile: Tile, comptime n: usize, index: usize, chunk: usize) [n]usize {
        var n_keys: [n]usize = undefined;
        inline for (&n_keys, index..) |*own, i| own.* = tile.args.seen(tile.token(i), chunk);
        return n_keys;
    }

    /// What the keys of a chunk weigh for `n` queries.
    inline fn weighKeys(
        tile: Tile,
        comptime n: usize,
        index: usize,
        chunk: usize,
        k: *const Columns,
        scores: *[n]Scores,
        next: *Each,
    ) void {
        const args = tile.args;
        const n_keys = tile.seen(n, index, chunk);
        if (n_keys[n - 1] == 0) return;
        var q: [n][*]const f32 = undefined;
        inline for (&q, index..) |*one, i| one.* = args.query(tile.token(i), tile.head(i));
        k.dots(n, q, args.n_embd_head / lanes, n_keys[n - 1], scores);
        next.put(n, index, .of(scores, n_keys, args.scale));
    }

    /// Adds the values of a chunk to those of `n` queries.
    inline fn addValues(
        tile: Tile,
        comptime n: usize,
        index: usize,
        chunk: usize,
        v: Rows,
        scores: *const [n]Scores,
        next: *const Each,
        whole: *Each,
    ) void {
        const n_keys = tile.seen(n, index, chunk);
        if (n_keys[n - 1] == 0) return;
        var to: [n][]f32 = undefined;
        var parts: [n][scores_of.n_embd_head_max]f32 = undefined;
        var places: [n][*]f32 = undefined;
        inline for (&to, &places, &parts, index..) |*own, *place, *part, i| {
            own.* = tile.values(i);
            place.* = part;
        }
        const n_vectors = tile.args.n_embd_head / lanes;
        weights_of.weigh(.f32, n, v, n_vectors, scores, n_keys, places, .nothing);
        whole.put(n, index, whole.get(n, index).fold(next.get(n, index), to, places));
    }
};

/// Weights for each query of a tile.
const Each = struct {
    max: [queries_max]f32,
    sum: [queries_max]f32,

    const none: Each = .{ .max = @splat(-std.math.inf(f32)), .sum = @splat(0) };

    inline fn get(each: *const Each, comptime n: usize, index: usize) Weights(n) {
        return .{ .max = each.max[index..][0..n].*, .sum = each.sum[index..][0..n].* };
    }

    inline fn put(each: *Each, comptime n: usize, index: usize, weights: Weights(n)) void {
        each.max[index..][0..n].* = weights.max;
        each.sum[index..][0..n].* = weights.sum;
    }
};
