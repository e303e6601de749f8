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

    pub fn attend(tile: Tile, comptime type_: cell.Type) void {
        @setEvalBranchQuota(20_000);
        const args = tile.args;
        const n_vectors = args.n_embd_head / lanes;
        var largest: [queries_max]f32 = @splat(-std.math.inf(f32));
        var sums: [queries_max]f32 = @splat(0);
        for (0..tile.n) |index| @memset(tile.values(index), 0);
        var k: Columns = undefined;
        var v: [scores_of.chunk_len * scores_of.n_embd_head_max / lanes]F = undefined;
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
            for (0..n_keys) |key| {
                const row = args.v.? + at + key * args.cell_bytes;
                for (0..n_vectors) |i| v[key * n_vectors + i] = cell.load(type_, row, i);
            }
            const rows: Rows = .{
                .first = @ptrCast(&v),
                .stride = 4 * args.n_embd_head,
                .last = last,
            };
            var index: usize = 0;
            inline for (.{ rows_at_once, 1 }) |n| {
                while (tile.n - index >= n) : (index += n) {
                    const whole: Weights(n) = .{
                        .max = largest[index..][0..n].*,
                        .sum = sums[index..][0..n].*,
                    };
                    const next = tile.chunkOf(n, index, chunk, &k, rows, whole);
                    largest[index..][0..n].* = next.max;
                    sums[index..][0..n].* = next.sum;
                }
            }
        }
        for (0..tile.n, sums[0..tile.n]) |index, sum| weights_of.divide(tile.values(index), sum);
    }

    /// `whole` and what a chunk adds to it, for `n` queries.
    inline fn chunkOf(
        tile: Tile,
        comptime n: usize,
        index: usize,
        chunk: usize,
        k: *const Columns,
        v: Rows,
        whole: Weights(n),
    ) Weights(n) {
        const args = tile.args;
        const n_vectors = args.n_embd_head / lanes;
        var q: [n][*]const f32 = undefined;
        var to: [n][]f32 = undefined;
        var n_keys: [n]usize = undefined;
        inline for (&q, &to, &n_keys, 0..) |*one, *place, *n_own, i| {
            one.* = args.query(tile.token(index + i), tile.head(index + i));
            place.* = tile.values(index + i);
            n_own.* = args.seen(tile.token(index + i), chunk);
        }
        if (n_keys[n - 1] == 0) return whole;
        var scores: [n]Scores = undefined;
        k.dots(n, q, n_vectors, n_keys[n - 1], &scores);
        const next: Weights(n) = .of(&scores, n_keys, args.scale);
        var parts: [n][scores_of.n_embd_head_max]f32 = undefined;
        var places: [n][*]f32 = undefined;
        inline for (&places, &parts) |*place, *part| place.* = part;
        weights_of.weigh(.f32, n, v, n_vectors, &scores, n_keys, places, .nothing);
        return whole.fold(next, to, places);
    }
};
