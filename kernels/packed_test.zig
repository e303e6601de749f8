//! Panels in ggml's graphs, with ggml and its threads from the built library.
const std = @import("std");
const ggml = @import("ggml.zig");
const failure = @import("failure.zig");
const panels = @import("packed.zig");
const product = @import("cpu/product.zig");
const tensor = @import("tensor.zig");
const graphs = @import("test_graph.zig");
const floats = graphs.floats;
const allocate = graphs.allocate;
const compute = @import("compute.zig").compute;
const testing = std.testing;

extern fn ggml_quantize_chunk(c_int, [*]const f32, [*]u8, i64, i64, i64, ?[*]const f32) usize;

const q4_1: ggml.Type = @fromBackingInt(3);
const bf16: ggml.Type = @fromBackingInt(30);

fn bytes(t: *ggml.Tensor) []u8 {
    return t.data.?[0..ggml.ggml_nbytes(t)];
}

test "multiply() is about ggml's own product, on any number of threads" {
    try compareWithOwn(q4_1, .i8);
    for ([_]ggml.Type{ .f16, bf16 }) |type_| try compareWithOwn(type_, .i32);
}

fn compareWithOwn(type_: ggml.Type, tiles_type: ggml.Type) !void {
    const n_in = 256;
    const n_out = 96;
    const n_tokens = 19;
    const context = try tensor.newContext(1 << 20);
    defer ggml.ggml_free(context);
    const rows = ggml.ggml_new_tensor_4d(context, type_, n_in, n_out, 1, 1);
    const weight = ggml.ggml_new_tensor_4d(context, type_, n_in, n_out, 1, 1);
    const values = ggml.ggml_new_tensor_4d(context, .f32, n_in, n_tokens, 1, 1);
    const plain = ggml.ggml_mul_mat(context, rows, values);
    const graph = graphs.ggml_new_graph(context);
    graphs.ggml_build_forward_expand(graph, plain);
    // A node looks at its weight when it is made, and memory comes with the whole context.
    const weights = allocate(context);
    defer ggml.ggml_backend_buffer_free(weights);
    const nodes = try tensor.newContext(1 << 20);
    defer ggml.ggml_free(nodes);
    const tiles = try panels.quantize(nodes, values, .nothing, tiles_type);
    const found = try panels.multiply(nodes, weight, tiles, null, weight);
    const memory = allocate(nodes);
    defer ggml.ggml_backend_buffer_free(memory);
    graphs.ggml_build_forward_expand(graph, found);

    var prng: std.Random.DefaultPrng = .init(4);
    const random = prng.random();
    for (floats(values)) |*v| v.* = random.floatNorm(f32);
    const some = try testing.allocator.alloc(f32, n_in * n_out);
    defer testing.allocator.free(some);
    for (some) |*v| v.* = random.floatNorm(f32) * 0.02;
    const number = @backingInt(type_);
    _ = ggml_quantize_chunk(number, some.ptr, bytes(rows).ptr, 0, n_out, n_in, null);
    try panels.fill(weight, 0, bytes(rows));
    const backend = graphs.ggml_backend_cpu_init();
    defer graphs.ggml_backend_free(backend);
    var first: ?[n_out * n_tokens]f32 = null;
    for ([_]c_int{ 1, 2, 3, 64 }) |n_threads| {
        graphs.ggml_backend_cpu_set_n_threads(backend, n_threads);
        @memset(floats(found), std.math.nan(f32));
        try testing.expect(try compute(backend, graph, .{ .cancelled = null, .members = &.{} }));
        var power: f64 = 0;
        var difference: f64 = 0;
        for (floats(plain), floats(found)) |p, f| {
            power += p * p;
            difference += (p - f) * (p - f);
        }
        try testing.expect(difference / power < 1e-4);
        if (first) |expected| try testing.expectEqualSlices(f32, &expected, floats(found));
        first = floats(found)[0 .. n_out * n_tokens].*;
    }
}

test "accepts() refuses what does not fill panels" {
    try testing.expect(panels.accepts(3, 576, 192));
    try testing.expect(!panels.accepts(3, 576, 100));
    try testing.expect(!panels.accepts(3, 40, 16));
    try testing.expect(!panels.accepts(3, 0, 16));
    try testing.expect(panels.accepts(1, 576, 192));
    try testing.expect(!panels.accepts(1, 40, 16));
    try testing.expect(!panels.accepts(26, 576, 192));
}

test "quantize(), multiply(), getRows() and fill() say what is wrong" {
    const context = try tensor.newContext(1 << 16);
    defer ggml.ggml_free(context);
    const odd = ggml.ggml_new_tensor_4d(context, .f32, 40, 2, 1, 1);
    try testing.expectError(error.Failed, panels.quantize(context, odd, .nothing, .i8));
    const values = ggml.ggml_new_tensor_4d(context, .f32, 64, 2, 1, 1);
    const tiles = try panels.quantize(context, values, .nothing, .i8);
    const bare = ggml.ggml_new_tensor_4d(context, q4_1, 64, 16, 1, 1);
    try testing.expectError(error.Failed, panels.multiply(context, bare, tiles, null, null));
    try testing.expectError(error.Failed, panels.fill(bare, 0, &.{}));
    const memory = allocate(context);
    defer ggml.ggml_backend_buffer_free(memory);
    try testing.expectError(error.Failed, panels.multiply(context, bare, values, null, null));
    try testing.expectError(error.Failed, panels.multiply(context, bare, tiles, values, null));
    try testing.expectError(error.Failed, panels.multiply(context, bare, tiles, null, values));
    try testing.expectError(error.Failed, panels.getRows(context, bare, values));
    const wide: panels.First = .{ .rms_norm = .{ .weight = odd, .eps = 1e-5 } };
    try testing.expectError(error.Failed, panels.quantize(context, values, wide, .i8));
    try testing.expectError(error.Failed, panels.quantize(context, odd, .swiglu, .i8));
    try testing.expectError(error.Failed, panels.fill(bare, 0, bytes(bare)[0..20]));
    try testing.expectError(error.Failed, panels.quantize(context, values, .nothing, .f32));
}

test "multiply() refuses tiles that belong to another kind of weights" {
    const context = try tensor.newContext(1 << 16);
    defer ggml.ggml_free(context);
    const values = ggml.ggml_new_tensor_4d(context, .f32, 64, 2, 1, 1);
    const quants = ggml.ggml_new_tensor_4d(context, q4_1, 64, 16, 1, 1);
    const halves = ggml.ggml_new_tensor_4d(context, .f16, 64, 16, 1, 1);
    const memory = allocate(context);
    defer ggml.ggml_backend_buffer_free(memory);
    const of_quants = try panels.quantize(context, values, .nothing, .i8);
    const of_floats = try panels.quantize(context, values, .nothing, .i32);
    _ = try panels.multiply(context, quants, of_quants, null, null);
    _ = try panels.multiply(context, halves, of_floats, null, null);
    try testing.expectError(error.Failed, panels.multiply(context, quants, of_floats, null, null));
    try testing.expectError(error.Failed, panels.multiply(context, halves, of_quants, null, null));
    try testing.expectError(error.Failed, panels.multiply(context, halves, values, null, null));
}
