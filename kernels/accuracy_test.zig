//! How far our products and our attention are from sums in double precision, held against how far
//! ggml's own ops are: the same weights, the same floats. Every variant that this CPU has.
const std = @import("std");
const attention = @import("cpu/attention.zig");
const ggml = @import("ggml.zig");
const Float = @import("cpu/floats.zig").Format;
const panels = @import("packed.zig");
const product = @import("cpu/product.zig");
const tensor = @import("tensor.zig");
const variant = @import("cpu/variant.zig");
const graphs = @import("test_graph.zig");
const floats = graphs.floats;
const allocate = graphs.allocate;
const compute = @import("compute.zig").compute;
const testing = std.testing;
const allocator = testing.allocator;

extern fn ggml_quantize_chunk(c_int, [*]const f32, [*]u8, i64, i64, i64, ?[*]const f32) usize;
extern fn ggml_permute(*ggml.Context, *ggml.Tensor, c_int, c_int, c_int, c_int) *ggml.Tensor;
extern fn ggml_rms_norm(*ggml.Context, *ggml.Tensor, f32) *ggml.Tensor;
extern fn ggml_mul(*ggml.Context, *ggml.Tensor, *ggml.Tensor) *ggml.Tensor;
extern fn ggml_swiglu(*ggml.Context, *ggml.Tensor) *ggml.Tensor;
extern fn ggml_prec_set_acc(*ggml.Tensor, c_int) bool;
extern fn ggml_flash_attn_ext(
    *ggml.Context,
    q: *ggml.Tensor,
    k: *ggml.Tensor,
    v: *ggml.Tensor,
    mask: *ggml.Tensor,
    scale: f32,
    max_bias: f32,
    logit_softcap: f32,
) *ggml.Tensor;
extern fn ggml_get_type_traits(c_int) *const extern struct {
    name: [*:0]const u8,
    blck_size: i64,
    blck_size_interleave: i64,
    type_size: usize,
    is_quantized: bool,
    to_float: ?*const fn ([*]const u8, [*]f32, i64) callconv(.c) void,
};

/// GGML_PREC_F32.
const prec_f32 = 10;
/// How much farther than ggml we may be.
const most = 1.05;
const all: product.Share = .{ .index = 0, .count = 1 };

fn halves(t: *ggml.Tensor) []f16 {
    return @as([*]f16, @ptrCast(@alignCast(t.data.?)))[0 .. ggml.ggml_nbytes(t) / 2];
}

/// Computes a node with ggml.
fn run(context: *ggml.Context, node: *ggml.Tensor) !void {
    const graph = graphs.ggml_new_graph(context);
    graphs.ggml_build_forward_expand(graph, node);
    const backend = graphs.ggml_backend_cpu_init();
    defer graphs.ggml_backend_free(backend);
    graphs.ggml_backend_cpu_set_n_threads(backend, 1);
    try testing.expect(try compute(backend, graph, .{ .cancelled = null, .members = &.{} }));
}

/// Normalized mean square of the errors.
fn nmse(exact: []const f64, found: []const f32) f64 {
    var power: f64 = 0;
    var errors: f64 = 0;
    for (exact, found) |e, f| {
        power += e * e;
        errors += (f - e) * (f - e);
    }
    return errors / power;
}

/// Fails where we are farther from `exact` than ggml and 5 percent.
fn compare(
    name: []const u8,
    shape: [2]usize,
    which: usize,
    exact: []const f64,
    theirs: []const f32,
    ours: []const f32,
) !void {
    const their_error = nmse(exact, theirs);
    const our_error = nmse(exact, ours);
    if (our_error <= most * their_error) return;
    std.debug.print("{s} of {d} for {d} tokens, variant {d}: NMSE {e:.3}, ggml's {e:.3}\n", .{
        name, shape[0], shape[1], which, our_error, their_error,
    });
    return error.LessAccurateThanGgml;
}

/// What a channel of a model's activations looks like: some are far larger than the others.
fn fill(random: std.Random, values: []f32, n_in: usize) void {
    for (values, 0..) |*v, i| {
        v.* = random.floatNorm(f32) * @as(f32, if (i % n_in % 97 == 5) 8 else 1);
    }
}

/// A product [n_in, n_out] with rows that go through `first` before, in double precision, by ggml
/// and by ourselves.
const Products = struct {
    const n_tokens = 32;
    const eps = 1e-5;

    type: c_int,
    n_in: usize,
    n_out: usize,
    first: product.Rows.First,
    context: *ggml.Context,
    memory: *ggml.Buffer,
    rows: *ggml.Tensor,
    values: *ggml.Tensor,
    norm: *ggml.Tensor,
    node: *ggml.Tensor,
    panels: []align(64) u8,
    exact: []f64,

    fn init(
        random: std.Random,
        type_: c_int,
        n_in: usize,
        n_out: usize,
        first: product.Rows.First,
    ) !Products {
        const c = try tensor.newContext(1 << 20);
        const in: i64 = @intCast(n_in);
        const out: i64 = @intCast(n_out);
        const rows = ggml.ggml_new_tensor_4d(c, @fromBackingInt(type_), in, out, 1, 1);
        const wide = if (first == .swiglu) 2 * in else in;
        const values = ggml.ggml_new_tensor_4d(c, .f32, wide, n_tokens, 1, 1);
        const norm = ggml.ggml_new_tensor_4d(c, .f32, in, 1, 1, 1);
        const prepared = switch (first) {
            .nothing => values,
            .rms_norm => ggml_mul(c, ggml_rms_norm(c, values, eps), norm),
            .swiglu => ggml_swiglu(c, values),
        };
        const node = ggml.ggml_mul_mat(c, rows, prepared);
        const p: Products = .{
            .type = type_,
            .n_in = n_in,
            .n_out = n_out,
            .first = first,
            .context = c,
            .memory = allocate(c),
            .rows = rows,
            .values = values,
            .norm = norm,
            .node = node,
            .panels = try allocator.alignedAlloc(u8, .@"64", ggml.ggml_nbytes(rows)),
            .exact = try allocator.alloc(f64, n_out * n_tokens),
        };
        fill(random, floats(values), n_in);
        for (floats(norm)) |*w| w.* = 1 + random.floatNorm(f32) * 0.3;
        try p.fillWeight(random);
        try run(c, node);
        return p;
    }

    fn deinit(p: *const Products) void {
        allocator.free(p.panels);
        allocator.free(p.exact);
        ggml.ggml_backend_buffer_free(p.memory);
        ggml.ggml_free(p.context);
    }

    /// Quantizes a weight with ggml, puts it into panels, and sums what ggml reads from it.
    fn fillWeight(p: *const Products, random: std.Random) !void {
        const values = try allocator.alloc(f32, p.n_in * p.n_out);
        defer allocator.free(values);
        for (values) |*v| v.* = random.floatNorm(f32) * 0.02;
        const data = p.rows.data.?;
        const n_rows: i64 = @intCast(p.n_out);
        _ = ggml_quantize_chunk(p.type, values.ptr, data, 0, n_rows, @intCast(p.n_in), null);
        p.layout().pack(data[0..p.panels.len], p.panels);
        if (ggml_get_type_traits(p.type).to_float) |read| {
            read(data, values.ptr, @intCast(values.len));
        } // else they are floats already
        const row = try allocator.alloc(f64, p.n_in);
        defer allocator.free(row);
        for (0..n_tokens) |t| {
            p.prepare(t, row);
            const sums = p.exact[t * p.n_out ..][0..p.n_out];
            for (sums, 0..) |*sum, i| sum.* = dot(row, values[i * p.n_in ..][0..p.n_in]);
        }
    }

    fn layout(p: *const Products) panels.Layout {
        return panels.Layout.of(p.type, p.panels.ptr, p.n_in, p.n_out).?;
    }

    /// Row `t` as the product takes it.
    fn prepare(p: *const Products, t: usize, row: []f64) void {
        const all_values = floats(p.values);
        const stride = all_values.len / n_tokens;
        const values = all_values[t * stride ..][0..stride];
        var squares: f64 = 0;
        for (values[0..p.n_in]) |v| squares += @as(f64, v) * v;
        const scale = 1 / @sqrt(squares / @as(f64, @floatFromInt(p.n_in)) + eps);
        for (row, values[0..p.n_in], floats(p.norm), 0..) |*to, v, w, k| to.* = switch (p.first) {
            .nothing => v,
            .rms_norm => v * scale * w,
            .swiglu => v / (1 + @exp(-@as(f64, v))) * values[p.n_in + k],
        };
    }

    /// All variants, for the first tokens alone and for all.
    fn check(p: *const Products) !void {
        const found = try allocator.alloc(f32, p.n_out * n_tokens);
        defer allocator.free(found);
        const weight = p.layout();
        const tile_bytes = weight.tiles().bytes(p.n_in, n_tokens);
        const tiles = try allocator.alignedAlloc(u8, .@"4", tile_bytes);
        defer allocator.free(tiles);
        const values = floats(p.values);
        for ([_]usize{ 1, n_tokens }) |n| for (variant.runnable(), 0..) |kernels, which| {
            const rows: product.Rows = .{
                .values = values.ptr,
                .stride = values.len / n_tokens,
                .n_in = p.n_in,
                .n_tokens = n,
                .first = p.first,
                .weight = floats(p.norm).ptr,
                .eps = eps,
            };
            weight.tiles().write(kernels, &rows, tiles.ptr, all);
            weight.multiply(kernels, tiles.ptr, n, null, found.ptr, all);
            const end = n * p.n_out;
            const shape: [2]usize = .{ p.n_in, n };
            const theirs = floats(p.node)[0..end];
            const name = std.mem.span(ggml_get_type_traits(p.type).name);
            try compare(name, shape, which, p.exact[0..end], theirs, found[0..end]);
        };
    }
};

fn dot(a: []const f64, b: []const f32) f64 {
    const lanes = 8;
    var sums: @Vector(lanes, f64) = @splat(0);
    var k: usize = 0;
    while (k < a.len) : (k += lanes) {
        const floats_: @Vector(lanes, f32) = b[k..][0..lanes].*;
        sums += @as(@Vector(lanes, f64), a[k..][0..lanes].*) * @as(@Vector(lanes, f64), floats_);
    }
    return @reduce(.Add, sums);
}

/// Numbers in ggml of the types of weights that lie in panels.
const types = numbersOf(std.enums.values(Float)) ++ numbersOf(std.enums.values(product.Format));
const some_types = numbersOf(&[_]product.Format{ .q4_1, .q8_0, .q4_k, .q6_k }) ++
    numbersOf(&[_]Float{.f16});

fn numbersOf(comptime formats: anytype) [formats.len]c_int {
    var numbers: [formats.len]c_int = undefined;
    for (formats, &numbers) |format, *number| number.* = @backingInt(format);
    return numbers;
}

test "products are as near to sums in double precision as ggml's, for every type of weight" {
    var prng: std.Random.DefaultPrng = .init(1);
    for (types) |type_| {
        for ([_]usize{ 576, 1536, 2048, 4096 }) |n_in| {
            if (!panels.accepts(type_, n_in, 320)) continue;
            const products: Products = try .init(prng.random(), type_, n_in, 320, .nothing);
            defer products.deinit();
            try products.check();
        }
    }
}

test "products that norm their rows or take SwiGLU of them are as near as ggml's ops in a row" {
    var prng: std.Random.DefaultPrng = .init(2);
    for (some_types) |type_| {
        for ([_]product.Rows.First{ .rms_norm, .swiglu }) |first| {
            const products: Products = try .init(prng.random(), type_, 1536, 320, first);
            defer products.deinit();
            try products.check();
        }
    }
}

/// Attention of some tokens that come last in a cache of half floats.
const Attention = struct {
    const n_head = 6;
    const n_head_kv = 2;

    size: usize,
    n_kv: usize,
    n_tokens: usize,
    context: *ggml.Context,
    memory: *ggml.Buffer,
    q: *ggml.Tensor,
    k: *ggml.Tensor,
    v: *ggml.Tensor,
    mask: *ggml.Tensor,
    node: *ggml.Tensor,
    exact: []f64,

    fn init(random: std.Random, size: usize, n_kv: usize, n_tokens: usize) !Attention {
        const c = try tensor.newContext(1 << 20);
        const length: i64 = @intCast(size);
        const cells: i64 = @intCast(n_kv);
        const tokens: i64 = @intCast(n_tokens);
        const q = ggml.ggml_new_tensor_4d(c, .f32, length, n_head, tokens, 1);
        const k = ggml.ggml_new_tensor_4d(c, .f16, length, n_head_kv, cells, 1);
        const v = ggml.ggml_new_tensor_4d(c, .f16, length, n_head_kv, cells, 1);
        const mask = ggml.ggml_new_tensor_4d(c, .f16, cells, tokens, 1, 1);
        const node = ggml_flash_attn_ext(
            c,
            ggml_permute(c, q, 0, 2, 1, 3),
            ggml_permute(c, k, 0, 2, 1, 3),
            ggml_permute(c, v, 0, 2, 1, 3),
            mask,
            scaleOf(size),
            0,
            0,
        );
        try testing.expect(ggml_prec_set_acc(node, prec_f32));
        const a: Attention = .{
            .size = size,
            .n_kv = n_kv,
            .n_tokens = n_tokens,
            .context = c,
            .memory = allocate(c),
            .q = q,
            .k = k,
            .v = v,
            .mask = mask,
            .node = node,
            .exact = try allocator.alloc(f64, size * n_head * n_tokens),
        };
        for (floats(q)) |*x| x.* = 2 * random.floatNorm(f32);
        for (halves(k), halves(v)) |*x, *y| {
            x.* = @floatCast(random.floatNorm(f32));
            y.* = @floatCast(random.floatNorm(f32));
        }
        for (halves(mask), 0..) |*m, i| {
            m.* = if (i % n_kv < a.visible(i / n_kv)) 0 else -std.math.inf(f16);
        }
        try a.attend();
        try run(c, node);
        return a;
    }

    fn deinit(a: *const Attention) void {
        allocator.free(a.exact);
        ggml.ggml_backend_buffer_free(a.memory);
        ggml.ggml_free(a.context);
    }

    fn scaleOf(size: usize) f32 {
        return 1 / @sqrt(@as(f32, @floatFromInt(size)));
    }

    /// Cells that a token sees.
    fn visible(a: *const Attention, token: usize) usize {
        return a.n_kv - a.n_tokens + token + 1;
    }

    /// The soft max in double precision.
    fn attend(a: *const Attention) !void {
        const row = a.size * n_head_kv;
        const weights = try allocator.alloc(f64, a.n_kv);
        defer allocator.free(weights);
        @memset(a.exact, 0);
        for (0..a.n_tokens * n_head) |at| {
            const first = at % n_head / (n_head / n_head_kv) * a.size;
            const q = floats(a.q)[at * a.size ..][0..a.size];
            const seen = weights[0..a.visible(at / n_head)];
            var sum: f64 = 0;
            for (seen, 0..) |*weight, cell| {
                var score: f64 = 0;
                const k = halves(a.k)[cell * row + first ..][0..a.size];
                for (q, k) |x, y| score += @as(f64, x) * @as(f64, y);
                weight.* = @exp(score * scaleOf(a.size));
                sum += weight.*;
            }
            for (seen, 0..) |weight, cell| {
                const v = halves(a.v)[cell * row + first ..][0..a.size];
                for (a.exact[at * a.size ..][0..a.size], v) |*to, x| to.* += weight / sum * x;
            }
        }
    }

    fn check(a: *const Attention) !void {
        const n_blocks = (a.n_kv + attention.chunk_len - 1) / attention.chunk_len;
        const blocks = try allocator.alloc(i32, n_blocks);
        defer allocator.free(blocks);
        for (blocks, 0..) |*block, i| block.* = @intCast(i);
        const n_seen = try allocator.alloc(i32, a.n_tokens);
        defer allocator.free(n_seen);
        for (n_seen, 0..) |*n, token| n.* = @intCast(a.visible(token));
        const args: attention.Args = .{
            .q = floats(a.q).ptr,
            .q_stride = a.size * n_head,
            .k = a.k.data,
            .v = a.v.data,
            .type = .f16,
            .cell_bytes = 2 * a.size * n_head_kv,
            .blocks = blocks.ptr,
            .n_blocks = n_blocks,
            .n_seen = n_seen.ptr,
            .n_embd_head = a.size,
            .n_head = n_head,
            .n_head_kv = n_head_kv,
            .n_tokens = a.n_tokens,
            .per_stream = a.n_tokens,
            .scale = scaleOf(a.size),
        };
        const found = try allocator.alloc(f32, a.exact.len);
        defer allocator.free(found);
        const partials = try allocator.alloc(f32, attention.partialLen(&args));
        defer allocator.free(partials);
        const shape: [2]usize = .{ a.n_kv, a.n_tokens };
        for (variant.runnable(), 0..) |kernels, which| {
            const ours = kernels.attention;
            ours.attend_whole(&args, found.ptr, all);
            try compare("attention", shape, which, a.exact, floats(a.node), found);
            ours.attend(&args, partials.ptr, all);
            ours.merge(&args, partials.ptr, found.ptr, all);
            try compare("attention in parts", shape, which, a.exact, floats(a.node), found);
        }
    }
};

test "attention is as near to the soft max in double precision as ggml's" {
    var prng: std.Random.DefaultPrng = .init(3);
    for ([_]usize{ 64, 128 }) |size| {
        for ([_][2]usize{ .{ 300, 1 }, .{ 1000, 1 }, .{ 512, 32 }, .{ 1500, 128 } }) |shape| {
            const n_kv, const n_tokens = shape;
            const case: Attention = try .init(prng.random(), size, n_kv, n_tokens);
            defer case.deinit();
            try case.check();
        }
    }
}
