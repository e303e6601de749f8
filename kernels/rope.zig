//! Rotary position embeddings as ggml nodes: a table of sines and cosines for a batch, and what
//! turns queries and fills the cache with it (cpu/rope.zig).
const std = @import("std");
const angle = @import("cpu/angle.zig");
const attention = @import("cpu/attention.zig");
const cell = @import("cpu/cell.zig");
const custom = @import("custom.zig");
const failure = @import("failure.zig");
const ggml = @import("ggml.zig");
const kernel = @import("cpu/rope.zig");
const variant = @import("cpu/variant.zig");

/// What is turned together.
pub const Pairs = kernel.Pairs;

/// The parameters of ggml_rope_ext().
pub const Params = struct {
    n_dims: i32,
    pairs: Pairs,
    n_ctx_orig: i32,
    freq_base: f32,
    freq_scale: f32,
    ext_factor: f32,
    attn_factor: f32,
    beta_fast: f32,
    beta_slow: f32,
};

/// What a table node keeps beside what ggml keeps for a custom op.
const Kept = extern struct {
    n_dims: i32,
    pairs: Pairs,
    freq_base: f32,
    freq_scale: f32,
    ext_factor: f32,
    /// Factor on every sine and cosine.
    magnitude: f32,
    /// The pairs between which YaRN blends.
    first: f32,
    last: f32,

    /// Words of op_params before it.
    const at = 6;

    fn of(node: *ggml.Tensor) *Kept {
        comptime std.debug.assert(at + @sizeOf(Kept) / 4 <= node_words);
        return @ptrCast(node.op_params[at..]);
    }
};
const node_words = @typeInfo(@FieldType(ggml.Tensor, "op_params")).array.len;

/// A node with the cosines and sines of a batch: f32 [2 n_dims, n_tokens]; see sluice.h.
pub fn table(
    context: *ggml.Context,
    pos: *ggml.Tensor,
    freq_factors: ?*ggml.Tensor,
    p: Params,
) failure.Error!*ggml.Tensor {
    if (p.n_dims <= 0 or @rem(p.n_dims, 2) != 0 or !(p.freq_base >= 1)) return failure.set(
        "Cannot make a table of {d} rotary values with base {d}: expected an even number and a " ++
            "base of 1 or more",
        .{ p.n_dims, p.freq_base },
    );
    if (pos.type != .i32 or pos.nb[0] != 4 or pos.ne[1] != 1 or pos.ne[2] != 1) {
        return failure.set("Cannot make a rotary table of positions of type {d}: expected a " ++
            "vector of i32", .{@backingInt(pos.type)});
    }
    if (freq_factors) |f| if (f.type != .f32 or f.nb[0] != 4 or f.ne[0] < @divExact(p.n_dims, 2)) {
        return failure.set(
            "Cannot make a rotary table with {d} frequency factors of type {d}: expected {d} f32",
            .{ f.ne[0], @backingInt(f.type), @divExact(p.n_dims, 2) },
        );
    };
    const ne: [2]i64 = .{ 2 * p.n_dims, pos.ne[0] };
    const sources = [_]*ggml.Tensor{ pos, freq_factors orelse pos };
    const n: usize = if (freq_factors == null) 1 else 2;
    const node = custom.node(context, .f32, ne, sources[0..n], &tableNode, null);
    Kept.of(node).* = kept(p);
    return node;
}

/// YaRN (Peng et al. 2023): pairs that turn often keep their frequency, those that turn seldom are
/// scaled.
fn kept(p: Params) Kept {
    const n_dims: f64 = @floatFromInt(p.n_dims);
    const first = @max(0, @floor(pairOf(p, p.beta_fast)));
    const last = @min(n_dims - 1, @ceil(pairOf(p, p.beta_slow)));
    const stretched = 1 - 0.1 * @log(@as(f64, p.freq_scale));
    const magnitude = p.attn_factor * (if (p.ext_factor != 0) stretched else 1);
    return .{
        .n_dims = p.n_dims,
        .pairs = p.pairs,
        .freq_base = p.freq_base,
        .freq_scale = p.freq_scale,
        .ext_factor = p.ext_factor,
        .magnitude = @floatCast(magnitude),
        .first = @floatCast(first),
        .last = @floatCast(last),
    };
}

/// The pair that turns `n_turns` times in the context of the training.
fn pairOf(p: Params, n_turns: f32) f64 {
    if (p.ext_factor == 0) return 0; // Nothing reads it.
    const n_ctx: f64 = @floatFromInt(p.n_ctx_orig);
    const n_dims: f64 = @floatFromInt(p.n_dims);
    const longest = n_ctx / (@as(f64, n_turns) * 2 * std.math.pi);
    return n_dims * @log(longest) / (2 * @log(@as(f64, p.freq_base)));
}

fn tableNode(node: *ggml.Tensor, ith: c_int, nth: c_int, _: ?*anyopaque) callconv(.c) void {
    const k = Kept.of(node);
    const n_dims: usize = @intCast(k.n_dims);
    const n_pairs = n_dims / 2;
    const pos: [*]const i32 = @ptrCast(@alignCast(node.src[0].?.data.?));
    const factors: ?[*]const f32 =
        if (node.src[1]) |f| @ptrCast(@alignCast(f.data.?)) else null;
    const values: [*]f32 = @ptrCast(@alignCast(node.data.?));
    const root = angle.inverseRoot(k.freq_base, n_pairs);
    const first, const end = custom.share(ith, nth).of(@intCast(node.ne[1]));
    var frequency: f64 = 1;
    for (0..n_pairs) |pair| {
        const i = if (k.pairs == .neighbours) 2 * pair else pair;
        const j = k.pairs.partner(i, n_dims);
        const each = frequency / @as(f64, if (factors) |f| f[pair] else 1) * scaleOf(k, pair);
        for (first..end) |token| {
            const row = values + token * 2 * n_dims;
            const sine, const cosine = angle.sinCos(@as(f64, @floatFromInt(pos[token])) * each);
            row[i] = @floatCast(cosine * k.magnitude);
            row[j] = row[i];
            row[n_dims + j] = @floatCast(sine * k.magnitude);
            row[n_dims + i] = -row[n_dims + j];
        }
        frequency *= root;
    }
}

fn scaleOf(k: *const Kept, pair: usize) f64 {
    if (k.ext_factor == 0) return k.freq_scale;
    const place: f64 = @floatFromInt(pair);
    const ramp = (place - k.first) / @max(0.001, k.last - k.first);
    const blend = (1 - @min(1, @max(0, ramp))) * k.ext_factor;
    return k.freq_scale * (1 - blend) + blend;
}

/// The tensors of sluice_rope_cache().
pub const Sources = struct {
    q: *ggml.Tensor,
    k: *ggml.Tensor,
    v: *ggml.Tensor,
    table: *ggml.Tensor,
    k_cells: *ggml.Tensor,
    v_cells: *ggml.Tensor,
    rows: *ggml.Tensor,
};

/// The node that turns queries and fills the cache; see sluice.h.
pub fn rotate(context: *ggml.Context, s: Sources) failure.Error!*ggml.Tensor {
    try check(s);
    const sources = [_]*ggml.Tensor{ s.q, s.k, s.v, s.table, s.k_cells, s.v_cells, s.rows };
    const ne: [2]i64 = .{ s.q.ne[0] * s.q.ne[1], s.q.ne[2] };
    return custom.node(context, .f32, ne, &sources, &rotateNode, null);
}

fn check(s: Sources) failure.Error!void {
    const q, const k = .{ s.q, s.k };
    var is_sound = k.ne[0] == q.ne[0] and s.v.ne[0] == q.ne[0] and s.v.ne[1] == k.ne[1];
    for ([_]*ggml.Tensor{ q, k, s.v }) |t| {
        is_sound = is_sound and t.type == .f32 and t.nb[0] == 4 and t.nb[1] == 4 * t.ne[0] and
            t.ne[2] == q.ne[2] and t.ne[3] == 1;
    }
    for ([_]*ggml.Tensor{ s.k_cells, s.v_cells }) |t| {
        is_sound = is_sound and t.type == s.k_cells.type and t.ne[0] == k.ne[0] * k.ne[1] and
            ggml.ggml_is_contiguous(t);
    }
    const type_ = cellType(s.k_cells);
    is_sound = is_sound and type_ != null and attention.accepts(type_.?, @intCast(q.ne[0]));
    const is_table = s.table.type == .f32 and @rem(s.table.ne[0], 4) == 0 and
        s.table.ne[0] <= 2 * q.ne[0] and s.table.ne[1] == q.ne[2] and
        ggml.ggml_is_contiguous(s.table);
    const is_rows = s.rows.type == .i64 and s.rows.ne[0] == q.ne[2] and s.rows.nb[0] == 8;
    if (is_sound and is_table and is_rows) return;
    return failure.set(
        "Cannot turn heads of {d} for {d} tokens into cells of {d}: sizes, types or strides do " ++
            "not belong together",
        .{ q.ne[0], q.ne[2], s.k_cells.ne[0] },
    );
}

fn rotateNode(node: *ggml.Tensor, ith: c_int, nth: c_int, _: ?*anyopaque) callconv(.c) void {
    const q, const k, const v = .{ node.src[0].?, node.src[1].?, node.src[2].? };
    const sines, const k_cells = .{ node.src[3].?, node.src[4].? };
    variant.kernels().rope.rotate(&.{
        .q = floats(q),
        .q_stride = q.nb[2] / @sizeOf(f32),
        .k = floats(k),
        .k_stride = k.nb[2] / @sizeOf(f32),
        .v = floats(v),
        .v_stride = v.nb[2] / @sizeOf(f32),
        .table = floats(sines),
        .k_cells = k_cells.data.?,
        .v_cells = node.src[5].?.data.?,
        .cell = cellType(k_cells).?, // checked when the node was made
        .rows = @ptrCast(@alignCast(node.src[6].?.data.?)),
        .out = @ptrCast(@alignCast(node.data.?)),
        .pairs = Kept.of(sines).pairs,
        .n_dims = @intCast(Kept.of(sines).n_dims),
        .n_embd_head = @intCast(q.ne[0]),
        .n_head = @intCast(q.ne[1]),
        .n_head_kv = @intCast(k.ne[1]),
        .n_tokens = @intCast(q.ne[2]),
    }, custom.share(ith, nth));
}

fn cellType(cells: *ggml.Tensor) ?cell.Type {
    return std.enums.fromInt(cell.Type, @backingInt(cells.type));
}

fn floats(tensor: *ggml.Tensor) [*]const f32 {
    return @ptrCast(@alignCast(tensor.data.?));
}
