//! Where tensors live: placing them in buffers, and the CPU's own layouts for weights.
const std = @import("std");
const builtin = @import("builtin");
const ggml = @import("ggml.zig");
const failure = @import("failure.zig");
const number = @import("number.zig");

/// A context of `mem_size` bytes for tensors and graphs, without their data.
pub fn newContext(mem_size: f64) failure.Error!*ggml.Context {
    const size = try number.toSize("the size of a context", mem_size);
    return ggml.ggml_init(.{ .mem_size = size, .mem_buffer = null, .no_alloc = true }) orelse
        failure.set("Cannot make a context of {d} bytes: out of memory", .{size});
}

/// Binds a tensor without data to byte `offset_` of `buffer`.
pub fn place(buffer: *ggml.Buffer, tensor: *ggml.Tensor, offset_: f64) failure.Error!void {
    const offset = try number.toSize("an offset in a buffer", offset_);
    if (tensor.buffer != null or tensor.data != null or tensor.view_src != null) {
        return failure.set("Cannot place a tensor that has data already", .{});
    }
    const alignment = ggml.ggml_backend_buffer_get_alignment(buffer);
    const size = ggml.ggml_backend_buffer_get_size(buffer);
    const needed = ggml.ggml_backend_buffer_get_alloc_size(buffer, tensor);
    if (offset % alignment != 0) {
        return failure.set(
            "Cannot place a tensor at byte {d}: expected a multiple of {d}",
            .{ offset, alignment },
        );
    }
    if (offset > size or needed > size - offset) {
        return failure.set(
            "Cannot place a tensor of {d} bytes at byte {d}: the buffer has {d}",
            .{ needed, offset, size },
        );
    }
    const base = ggml.ggml_backend_buffer_get_base(buffer) orelse
        return failure.set("Cannot place a tensor: the buffer has no memory", .{});
    if (ggml.ggml_backend_tensor_alloc(buffer, tensor, base + offset) != .success) {
        return failure.set("Cannot place a tensor of {d} bytes: the buffer refused it", .{needed});
    }
}

/// Asks for large pages under a buffer that nothing was written to yet: reading through small ones,
/// a processor waits for its page tables. Nothing is lost where there are none.
pub fn useLargePages(buffer: *ggml.Buffer) void {
    if (builtin.os.tag != .linux or !ggml.ggml_backend_buffer_is_host(buffer)) return;
    const base = @intFromPtr(ggml.ggml_backend_buffer_get_base(buffer) orelse return);
    const page = std.heap.pageSize();
    const first = std.mem.alignForward(usize, base, page);
    const size = ggml.ggml_backend_buffer_get_size(buffer);
    const end = std.mem.alignBackward(usize, base + size, page);
    if (first >= end) return;
    _ = std.c.madvise(@ptrFromInt(first), end - first, std.c.MADV.HUGEPAGE);
}

/// The CPU's own weight layouts in order of preference; null past the last.
pub fn extraBufferType(index: usize) ?*ggml.BufferType {
    const registry = ggml.ggml_backend_cpu_reg();
    const name = "ggml_backend_dev_get_extra_bufts";
    const address = ggml.ggml_backend_reg_get_proc_address(registry, name) orelse return null;
    const extraTypes: ggml.ExtraBufferTypes = @ptrCast(@alignCast(address));
    const types = std.mem.span(extraTypes(ggml.ggml_backend_reg_dev_get(registry, 0)));
    return if (index < types.len) types[index] else null;
}

/// Whether a product of `weight` with f32 activations runs with the weight in a buffer of `type_`.
/// ggml decides by the buffer of an operand, so an empty one stands in meanwhile.
pub fn accepts(type_: *ggml.BufferType, weight: *ggml.Tensor) failure.Error!bool {
    if (weight.buffer != null) {
        return failure.set("Cannot ask for a layout of a tensor that is placed already", .{});
    }
    if (ggml.ggml_is_transposed(weight)) return false;
    const context = ggml.ggml_init(.{
        .mem_size = 4 * ggml.ggml_tensor_overhead(),
        .mem_buffer = null,
        .no_alloc = true,
    }) orelse return failure.set("Cannot ask for a layout: out of memory", .{});
    defer ggml.ggml_free(context);
    const n_tokens = 512;
    const ne = weight.ne;
    const activations = ggml.ggml_new_tensor_4d(context, .f32, ne[0], n_tokens, ne[2], ne[3]);
    const product = ggml.ggml_mul_mat(context, weight, activations);
    const buffer = ggml.ggml_backend_buft_alloc_buffer(type_, 0) orelse
        return failure.set("Cannot ask for a layout: out of memory", .{});
    defer ggml.ggml_backend_buffer_free(buffer);
    weight.buffer = buffer;
    defer weight.buffer = null;
    const device = ggml.ggml_backend_buft_get_device(type_) orelse
        ggml.ggml_backend_reg_dev_get(ggml.ggml_backend_cpu_reg(), 0);
    return ggml.ggml_backend_dev_supports_op(device, product);
}
