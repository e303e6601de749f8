//! Graphs on the pool, with ggml and its threads from the built library.
const std = @import("std");
const ggml = @import("ggml.zig");
const tensor = @import("tensor.zig");
const Audience = @import("compute.zig").Audience;
const graphs = @import("test_graph.zig");
const compute = @import("compute.zig").compute;
const testing = std.testing;

test "compute() gives the same product on any number of threads" {
    const n_in = 96;
    const n_out = 64;
    const n_tokens = 7;
    const context = try tensor.newContext(1 << 20);
    defer ggml.ggml_free(context);
    const weight = ggml.ggml_new_tensor_4d(context, .f32, n_in, n_out, 1, 1);
    const activations = ggml.ggml_new_tensor_4d(context, .f32, n_in, n_tokens, 1, 1);
    const product = ggml.ggml_mul_mat(context, weight, activations);
    const graph = graphs.ggml_new_graph(context);
    graphs.ggml_build_forward_expand(graph, product);
    const memory = graphs.allocate(context);
    defer ggml.ggml_backend_buffer_free(memory);
    for (graphs.floats(weight), 0..) |*x, i| x.* = @floatFromInt(i * 7 % 13);
    for (graphs.floats(activations), 0..) |*x, i| x.* = @floatFromInt(i * 5 % 11);
    const backend = graphs.ggml_backend_cpu_init();
    defer graphs.ggml_backend_free(backend);
    for ([_]c_int{ 1, 2, 3, 64 }) |n_threads| {
        graphs.ggml_backend_cpu_set_n_threads(backend, n_threads);
        @memset(graphs.floats(product), -1);
        const everybody: Audience = .{ .cancelled = null, .members = &.{} };
        try testing.expect(try compute(backend, graph, everybody));
        for (graphs.floats(product), 0..) |found, i| {
            var expected: usize = 0; // whole numbers: exact in f32
            for (0..n_in) |k| {
                expected += ((i % n_out * n_in + k) * 7 % 13) * ((i / n_out * n_in + k) * 5 % 11);
            }
            try testing.expectEqual(@as(f32, @floatFromInt(expected)), found);
        }
    }
    const cancelled = [_]i32{ 0, 1, 1 };
    const gone: Audience = .{ .cancelled = &cancelled, .members = &.{ 1, 2 } };
    try testing.expect(!try compute(backend, graph, gone));
    const some: Audience = .{ .cancelled = &cancelled, .members = &.{ 1, 0 } };
    try testing.expect(try compute(backend, graph, some));
}
