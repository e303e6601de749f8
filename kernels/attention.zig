//! Attention as ggml nodes (cpu/attention.zig): one, or for few tokens partial sums and the merge.
const ggml = @import("ggml.zig");
const custom = @import("custom.zig");
const failure = @import("failure.zig");
const kernel = @import("cpu/attention.zig");
const variant = @import("cpu/variant.zig");

/// Whether heads of this size can be attended to.
pub const accepts = kernel.accepts;

/// The tensors of sluice_attention().
pub const Sources = struct {
    q: *ggml.Tensor,
    k: *ggml.Tensor,
    v: *ggml.Tensor,
    mask: *ggml.Tensor,
    scale: f32,
};

/// The node that attends; see sluice.h.
pub fn node(context: *ggml.Context, s: Sources) failure.Error!*ggml.Tensor {
    try check(s);
    const scale = custom.fromFloat(s.scale);
    const sources = [_]*ggml.Tensor{ s.q, s.k, s.v, s.mask };
    const ne: [2]i64 = .{ s.q.ne[0] * s.q.ne[1], s.q.ne[2] };
    if (s.q.ne[2] > s.k.ne[3]) {
        return custom.node(context, .f32, ne, &sources, &wholeNode, scale);
    }
    const length = kernel.partialLen(&argsOf(&sources, scale));
    const shape: [2]i64 = .{ @intCast(length), 1 };
    const partials = custom.node(context, .f32, shape, &sources, &partialNode, scale);
    return custom.node(context, .f32, ne, &(sources ++ .{partials}), &mergeNode, scale);
}

fn check(s: Sources) failure.Error!void {
    const q, const k, const v, const mask = .{ s.q, s.k, s.v, s.mask };
    const f16_bytes = 2;
    const is_q = q.type == .f32 and q.ne[0] > 0 and accepts(@intCast(q.ne[0])) and
        q.nb[0] == 4 and q.nb[1] == 4 * q.ne[0] and q.ne[3] == 1;
    const is_k = k.type == .f16 and v.type == .f16 and k.nb[0] == f16_bytes and
        k.ne[0] == q.ne[0] and k.ne[1] > 0 and @mod(q.ne[1], k.ne[1]) == 0 and
        k.ne[2] > 0 and k.ne[3] > 0 and @mod(q.ne[2], k.ne[3]) == 0;
    const is_mask = mask.type == .f16 and mask.nb[0] == f16_bytes and mask.ne[0] == k.ne[2] and
        mask.ne[1] * k.ne[3] == q.ne[2] and mask.ne[2] == 1 and mask.ne[3] == k.ne[3] and
        mask.nb[1] == f16_bytes * mask.ne[0] and mask.nb[3] == f16_bytes * mask.ne[0] * mask.ne[1];
    const is_sound = is_q and is_k and is_mask and s.scale != 0;
    if (!is_sound) return failure.set(
        "Cannot attend with heads of {d} over {d} cells for {d} tokens: sizes, types or strides " ++
            "do not belong together",
        .{ q.ne[0], k.ne[2], q.ne[2] },
    );
    for (k.ne, k.nb, v.ne, v.nb) |k_ne, k_nb, v_ne, v_nb| {
        if (k_ne == v_ne and k_nb == v_nb) continue;
        return failure.set("Cannot attend: keys and values are laid out in different ways", .{});
    }
}

fn argsOf(sources: []const ?*ggml.Tensor, scale: ?*anyopaque) kernel.Args {
    const q, const k, const v, const mask = .{
        sources[0].?, sources[1].?, sources[2].?, sources[3].?,
    };
    return .{
        .q = @ptrCast(@alignCast(q.data)),
        .q_stride = q.nb[2] / @sizeOf(f32),
        .k = k.data,
        .v = v.data,
        .head_stride = k.nb[1] / @sizeOf(f16),
        .cell_stride = k.nb[2] / @sizeOf(f16),
        .stream_stride = k.nb[3] / @sizeOf(f16),
        .mask = @ptrCast(@alignCast(mask.data)),
        .mask_stride = @intCast(mask.ne[0]),
        .n_embd_head = @intCast(q.ne[0]),
        .n_head = @intCast(q.ne[1]),
        .n_head_kv = @intCast(k.ne[1]),
        .n_kv = @intCast(k.ne[2]),
        .n_tokens = @intCast(q.ne[2]),
        .per_stream = @intCast(@divExact(q.ne[2], k.ne[3])),
        .scale = custom.toFloat(scale),
    };
}

fn floats(tensor: *ggml.Tensor) [*]f32 {
    return @ptrCast(@alignCast(tensor.data.?));
}

fn wholeNode(n: *ggml.Tensor, ith: c_int, nth: c_int, scale: ?*anyopaque) callconv(.c) void {
    const args = argsOf(&n.src, scale);
    variant.kernels().attention.attend_whole(&args, floats(n), custom.share(ith, nth));
}

fn partialNode(n: *ggml.Tensor, ith: c_int, nth: c_int, scale: ?*anyopaque) callconv(.c) void {
    const args = argsOf(&n.src, scale);
    variant.kernels().attention.attend(&args, floats(n), custom.share(ith, nth));
}

fn mergeNode(n: *ggml.Tensor, ith: c_int, nth: c_int, scale: ?*anyopaque) callconv(.c) void {
    const args = argsOf(&n.src, scale);
    const partials = floats(n.src[4].?);
    variant.kernels().attention.merge(&args, partials, floats(n), custom.share(ith, nth));
}
