//! Rotary position embeddings (Su et al. 2021): turns the queries of a batch, and turns its keys on
//! their way into the cache, where the values go too. Compiled once for each CPU variant.
//!
//! A row of the table has n_dims cosines and then n_dims sines, one for each value of a head, in
//! the order of the values; the sine of the first value of a pair is negative. So value i becomes
//! x[i] * cosine[i] + x[partner of i] * sine[i], whatever makes a pair.
const cell = @import("cell.zig");
const half = @import("half.zig");
const Share = @import("share.zig").Share;

const F = half.F;
const lanes = half.lanes;
const n_embd_head_max = @import("scores.zig").n_embd_head_max;

/// What is turned together.
pub const Pairs = enum(c_int) {
    /// Value 2 i and its neighbour.
    neighbours,
    /// Value i and value i + n_dims / 2.
    halves,

    /// The value that value `i` is turned with.
    pub fn partner(pairs: Pairs, i: usize, n_dims: usize) usize {
        return switch (pairs) {
            .neighbours => i ^ 1,
            .halves => (i + n_dims / 2) % n_dims,
        };
    }
};

/// Where everything lies; strides count floats from one token to the next.
pub const Args = extern struct {
    /// f32 [n_embd_head, n_head, n_tokens]
    q: [*]const f32,
    q_stride: usize,
    /// f32 [n_embd_head, n_head_kv, n_tokens]
    k: [*]const f32,
    k_stride: usize,
    v: [*]const f32,
    v_stride: usize,
    /// f32 [2 n_dims, n_tokens]
    table: [*]const f32,
    /// Cells [n_embd_head * n_head_kv] of one layer.
    k_cells: [*]u8,
    v_cells: [*]u8,
    cell: cell.Type,
    /// The cell of each token.
    rows: [*]const i64,
    /// The turned queries, contiguous.
    out: [*]f32,
    pairs: Pairs,
    n_dims: usize,
    n_embd_head: usize,
    n_head: usize,
    n_head_kv: usize,
    n_tokens: usize,
};

/// Turns and writes a share of the heads of all tokens.
pub const Rotate = *const fn (args: *const Args, share: Share) callconv(.c) void;

/// The functions of one variant.
pub const Functions = extern struct { rotate: Rotate };

/// Those of the CPU that this module is compiled for.
pub const vector: Functions = .{ .rotate = &rotate };

fn rotate(args: *const Args, share: Share) callconv(.c) void {
    const a = args;
    const size = a.n_embd_head;
    const n_heads = a.n_head + 2 * a.n_head_kv;
    const first, const end = share.of(a.n_tokens * n_heads);
    for (first..end) |at| {
        const token = at / n_heads;
        const head = at % n_heads;
        const table = a.table + token * 2 * a.n_dims;
        if (head < a.n_head) {
            const to = a.out + (token * a.n_head + head) * size;
            turn(a, a.q + token * a.q_stride + head * size, table, to);
            continue;
        }
        const head_kv = (head - a.n_head) % a.n_head_kv;
        const row = @as(usize, @intCast(a.rows[token])) * a.n_head_kv + head_kv;
        const at_cell = a.cell.bytes(row * size);
        if (head < a.n_head + a.n_head_kv) {
            var turned: [n_embd_head_max]f32 = undefined;
            turn(a, a.k + token * a.k_stride + head_kv * size, table, &turned);
            cell.store(a.cell, &turned, size, a.k_cells + at_cell);
        } else {
            const values = a.v + token * a.v_stride + head_kv * size;
            cell.store(a.cell, values, size, a.v_cells + at_cell);
        }
    }
}

/// One head: its first n_dims values turned, the others as they are.
inline fn turn(args: *const Args, x: [*]const f32, table: [*]const f32, to: [*]f32) void {
    const n = args.n_dims;
    switch (args.pairs) {
        inline else => |pairs| {
            const whole = if (pairs == .neighbours) n else n / 2;
            if (whole % lanes == 0) {
                var i: usize = 0;
                while (i < n) : (i += lanes) {
                    const values: F = x[i..][0..lanes].*;
                    const partners: F = if (pairs == .neighbours)
                        swapNeighbours(values)
                    else
                        x[pairs.partner(i, n)..][0..lanes].*;
                    const cosines: F = table[i..][0..lanes].*;
                    const sines: F = table[n + i ..][0..lanes].*;
                    to[i..][0..lanes].* = half.multiplyAdd(values, cosines, partners * sines);
                }
            } else for (0..n) |i| {
                const partner = x[pairs.partner(i, n)];
                to[i] = half.multiplyAddAs(f32, x[i], table[i], partner * table[n + i]);
            }
        },
    }
    @memcpy(to[n..args.n_embd_head], x[n..args.n_embd_head]);
}

inline fn swapNeighbours(values: F) F {
    comptime var order: [lanes]i32 = undefined;
    comptime for (0..lanes) |i| {
        order[i] = i ^ 1;
    };
    return @shuffle(f32, values, undefined, order);
}
