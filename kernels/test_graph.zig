//! Graphs of the tests: what they call of the built library's ggml to lay tensors out and compute.
const ggml = @import("ggml.zig");

pub extern fn ggml_new_graph(*ggml.Context) *ggml.Graph;
pub extern fn ggml_build_forward_expand(*ggml.Graph, *ggml.Tensor) void;
pub extern fn ggml_backend_cpu_init() *ggml.Backend;
pub extern fn ggml_backend_cpu_set_n_threads(*ggml.Backend, c_int) void;
pub extern fn ggml_backend_free(*ggml.Backend) void;
extern fn ggml_backend_cpu_buffer_type() *ggml.BufferType;
extern fn ggml_backend_alloc_ctx_tensors_from_buft(*ggml.Context, *ggml.BufferType) *ggml.Buffer;

/// Gives every tensor of the context memory.
pub fn allocate(context: *ggml.Context) *ggml.Buffer {
    return ggml_backend_alloc_ctx_tensors_from_buft(context, ggml_backend_cpu_buffer_type());
}

/// The values of a tensor of f32.
pub fn floats(t: *ggml.Tensor) []f32 {
    return @as([*]f32, @ptrCast(@alignCast(t.data.?)))[0 .. ggml.ggml_nbytes(t) / 4];
}
