//! Rotary embeddings in ggml's graphs, against ggml's own.
const std = @import("std");
const ggml = @import("ggml.zig");
const rope = @import("rope.zig");
const tensor = @import("tensor.zig");
const graphs = @import("test_graph.zig");
const floats = graphs.floats;
const compute = @import("compute.zig").compute;
const testing = std.testing;

extern fn ggml_rope_ext(
    *ggml.Context,
    *ggml.Tensor,
    *ggml.Tensor,
    ?*ggml.Tensor,
    n_dims: c_int,
    mode: c_int,
    n_ctx_orig: c_int,
    freq_base: f32,
    freq_scale: f32,
    ext_factor: f32,
    attn_factor: f32,
    beta_fast: f32,
    beta_slow: f32,
) *ggml.Tensor;

const size = 64;
const n_head = 3;
const n_head_kv = 2;
const n_tokens = 4;
const n_cells = 8;

fn heads(context: *ggml.Context, n: i64) *ggml.Tensor {
    return ggml.ggml_new_tensor_4d(context, .f32, size, n, n_tokens, 1);
}

fn inputs(context: *ggml.Context) struct { rope.Sources, *ggml.Tensor, *ggml.Tensor } {
    const pos = ggml.ggml_new_tensor_4d(context, .i32, n_tokens, 1, 1, 1);
    const factors = ggml.ggml_new_tensor_4d(context, .f32, size / 2, 1, 1, 1);
    return .{ .{
        .q = heads(context, n_head),
        .k = heads(context, n_head_kv),
        .v = heads(context, n_head_kv),
        .table = undefined,
        .k_cells = ggml.ggml_new_tensor_4d(context, .f32, size * n_head_kv, n_cells, 1, 1),
        .v_cells = ggml.ggml_new_tensor_4d(context, .f32, size * n_head_kv, n_cells, 1, 1),
        .rows = ggml.ggml_new_tensor_4d(context, .i64, n_tokens, 1, 1, 1),
    }, pos, factors };
}

fn expectTurnedAsByGgml(p: rope.Params, with_factors: bool) !void {
    const context = try tensor.newContext(1 << 20);
    defer ggml.ggml_free(context);
    var s, const pos, const all_factors = inputs(context);
    const factors = if (with_factors) all_factors else null;
    s.table = try rope.table(context, pos, factors, p);
    const turned = try rope.rotate(context, s);
    const neox_mode = 2;
    const mode: c_int = if (p.pairs == .halves) neox_mode else 0;
    var plain: [2]*ggml.Tensor = undefined;
    for (&plain, [_]*ggml.Tensor{ s.q, s.k }) |*to, from| to.* = ggml_rope_ext(
        context,
        from,
        pos,
        factors,
        p.n_dims,
        mode,
        p.n_ctx_orig,
        p.freq_base,
        p.freq_scale,
        p.ext_factor,
        p.attn_factor,
        p.beta_fast,
        p.beta_slow,
    );
    const graph = graphs.ggml_new_graph(context);
    for ([_]*ggml.Tensor{ turned, plain[0], plain[1] }) |node| {
        graphs.ggml_build_forward_expand(graph, node);
    }
    const memory = graphs.allocate(context);
    defer ggml.ggml_backend_buffer_free(memory);

    var prng: std.Random.DefaultPrng = .init(7);
    for ([_]*ggml.Tensor{ s.q, s.k, s.v }) |t| {
        for (floats(t)) |*x| x.* = prng.random().floatNorm(f32);
    }
    for (floats(all_factors), 0..) |*factor, i| factor.* = 1 + @as(f32, @floatFromInt(i)) / 9;
    const positions = [n_tokens]i32{ 0, 5, 77, 40 };
    ggml.ggml_backend_tensor_set(pos, &positions, 0, @sizeOf(@TypeOf(positions)));
    const rows = [n_tokens]i64{ 6, 0, 7, 3 };
    ggml.ggml_backend_tensor_set(s.rows, &rows, 0, @sizeOf(@TypeOf(rows)));
    const backend = graphs.ggml_backend_cpu_init();
    defer graphs.ggml_backend_free(backend);
    graphs.ggml_backend_cpu_set_n_threads(backend, 2);
    try testing.expect(try compute(backend, graph, .{ .cancelled = null, .members = &.{} }));

    // ggml multiplies its angles up in single precision.
    const tolerance = 1e-4;
    for (floats(plain[0]), floats(turned)) |x, y| try testing.expectApproxEqAbs(x, y, tolerance);
    const row = size * n_head_kv;
    for (rows, 0..) |cell, token| for (0..row) |i| {
        const at = @as(usize, @intCast(cell)) * row + i;
        const key = floats(plain[1])[token * row + i];
        try testing.expectApproxEqAbs(key, floats(s.k_cells)[at], tolerance);
        try testing.expectEqual(floats(s.v)[token * row + i], floats(s.v_cells)[at]);
    };
}

const usual: rope.Params = .{
    .n_dims = size,
    .pairs = .neighbours,
    .n_ctx_orig = 2048,
    .freq_base = 10_000,
    .freq_scale = 1,
    .ext_factor = 0,
    .attn_factor = 1,
    .beta_fast = 32,
    .beta_slow = 1,
};

test "table() and rotate() turn as ggml_rope_ext() does" {
    for ([_]rope.Pairs{ .neighbours, .halves }) |pairs| {
        var p = usual;
        p.pairs = pairs;
        try expectTurnedAsByGgml(p, false);
        try expectTurnedAsByGgml(p, true);
        p.n_dims = size / 2;
        p.freq_scale = 0.25;
        try expectTurnedAsByGgml(p, false);
        p = usual;
        p.pairs = pairs;
        p.freq_base = 500_000;
        p.freq_scale = 0.125;
        p.ext_factor = 1;
        p.attn_factor = 1.2;
        try expectTurnedAsByGgml(p, false);
    }
}

test "table() and rotate() say what is wrong" {
    const context = try tensor.newContext(1 << 20);
    defer ggml.ggml_free(context);
    var s, const pos, const factors = inputs(context);
    var p = usual;
    p.n_dims = 7;
    try testing.expectError(error.Failed, rope.table(context, pos, null, p));
    p = usual;
    p.freq_base = 0.5;
    try testing.expectError(error.Failed, rope.table(context, pos, null, p));
    p = usual;
    p.n_dims = size * 4;
    try testing.expectError(error.Failed, rope.table(context, pos, factors, p));
    try testing.expectError(error.Failed, rope.table(context, s.rows, null, usual));
    s.table = try rope.table(context, pos, null, p);
    try testing.expectError(error.Failed, rope.rotate(context, s));
    s.table = try rope.table(context, pos, factors, usual);
    _ = try rope.rotate(context, s);
    s.rows = pos;
    try testing.expectError(error.Failed, rope.rotate(context, s));
}
