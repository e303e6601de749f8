//! Attention as ggml nodes (cpu/attention.zig): one, or for few tokens partial sums and the merge.
const std = @import("std");
const ggml = @import("ggml.zig");
const custom = @import("custom.zig");
const failure = @import("failure.zig");
const cell = @import("cpu/cell.zig");
const kernel = @import("cpu/attention.zig");
const variant = @import("cpu/variant.zig");

/// Whether heads of this size can be attended to in cells of a ggml type.
pub fn accepts(type_: i32, n_embd_head: usize) bool {
    const known = std.enums.fromInt(cell.Type, type_) orelse return false;
    return kernel.accepts(known, n_embd_head);
}

/// The tensors of sluice_attention().
pub const Sources = struct {
    q: *ggml.Tensor,
    k: *ggml.Tensor,
    v: *ggml.Tensor,
    blocks: *ggml.Tensor,
    n_seen: *ggml.Tensor,
    scale: f32,
};

/// The node that attends; see sluice.h.
pub fn node(context: *ggml.Context, s: Sources) failure.Error!*ggml.Tensor {
    try check(s);
    const scale = custom.fromFloat(s.scale);
    const sources = [_]*ggml.Tensor{ s.q, s.k, s.v, s.blocks, s.n_seen };
    const ne: [2]i64 = .{ s.q.ne[0] * s.q.ne[1], s.q.ne[2] };
    if (s.q.ne[2] > s.blocks.ne[1]) {
        return custom.node(context, .f32, ne, &sources, &wholeNode, scale);
    }
    const length = kernel.partialLen(&argsOf(&sources, scale));
    const shape: [2]i64 = .{ @intCast(length), 1 };
    const partials = custom.node(context, .f32, shape, &sources, &partialNode, scale);
    return custom.node(context, .f32, ne, &(sources ++ .{partials}), &mergeNode, scale);
}

fn check(s: Sources) failure.Error!void {
    const q, const k, const v, const blocks = .{ s.q, s.k, s.v, s.blocks };
    const is_q = q.type == .f32 and q.ne[0] > 0 and q.nb[0] == 4 and q.nb[1] == 4 * q.ne[0] and
        q.ne[3] == 1 and accepts(@backingInt(k.type), @intCast(q.ne[0]));
    if (!is_q) return failure.set(
        "Cannot attend with {d} heads of {d} over cells of type {d}: the size, type or strides " ++
            "have no kernel",
        .{ q.ne[1], q.ne[0], @backingInt(k.type) },
    );
    const is_k = @mod(k.ne[0], q.ne[0]) == 0 and k.ne[0] > 0 and
        @mod(q.ne[1], @divTrunc(k.ne[0], q.ne[0])) == 0 and
        k.ne[1] > 0 and @mod(k.ne[1], kernel.chunk_len) == 0 and ggml.ggml_is_contiguous(k);
    if (!is_k) return failure.set(
        "Cannot attend with {d} heads of {d} over {d} cells of {d} values: expected whole heads " ++
            "and blocks of {d} cells",
        .{ q.ne[1], q.ne[0], k.ne[1], k.ne[0], kernel.chunk_len },
    );
    for (k.ne, k.nb, v.ne, v.nb) |k_ne, k_nb, v_ne, v_nb| {
        if (k_ne == v_ne and k_nb == v_nb and k.type == v.type) continue;
        return failure.set("Cannot attend: keys and values are laid out in different ways", .{});
    }
    const is_table = blocks.type == .i32 and ggml.ggml_is_contiguous(blocks) and
        blocks.ne[0] > 0 and blocks.ne[1] > 0 and blocks.ne[2] == 1 and blocks.ne[3] == 1 and
        @mod(q.ne[2], blocks.ne[1]) == 0 and
        s.n_seen.type == .i32 and s.n_seen.ne[0] == q.ne[2] and s.n_seen.ne[1] == 1;
    if (!is_table or s.scale == 0) return failure.set(
        "Cannot attend with {d} tokens of {d} sequences of {d} blocks: expected as many tokens " ++
            "of each sequence, with a number each, and a scale other than 0",
        .{ q.ne[2], blocks.ne[1], blocks.ne[0] },
    );
}

fn argsOf(sources: []const ?*ggml.Tensor, scale: ?*anyopaque) kernel.Args {
    const q, const k, const v, const blocks, const n_seen = .{
        sources[0].?, sources[1].?, sources[2].?, sources[3].?, sources[4].?,
    };
    return .{
        .q = @ptrCast(@alignCast(q.data)),
        .q_stride = q.nb[2] / @sizeOf(f32),
        .k = k.data,
        .v = v.data,
        .type = @fromBackingInt(@backingInt(k.type)),
        .cell_bytes = k.nb[1],
        .blocks = @ptrCast(@alignCast(blocks.data)),
        .n_blocks = @intCast(blocks.ne[0]),
        .n_seen = @ptrCast(@alignCast(n_seen.data)),
        .n_embd_head = @intCast(q.ne[0]),
        .n_head = @intCast(q.ne[1]),
        .n_head_kv = @intCast(@divExact(k.ne[0], q.ne[0])),
        .n_tokens = @intCast(q.ne[2]),
        .per_stream = @intCast(@divExact(q.ne[2], blocks.ne[1])),
        .scale = custom.toFloat(scale),
    };
}

fn floats(tensor: *ggml.Tensor) [*]f32 {
    return @ptrCast(@alignCast(tensor.data.?));
}

fn wholeNode(n: *ggml.Tensor, ith: c_int, nth: c_int, scale: ?*anyopaque) callconv(.c) void {
    const args = argsOf(&n.src, scale);
    variant.kernels().attention.attend_whole(&args, floats(n), custom.openShare(ith, nth));
}

fn partialNode(n: *ggml.Tensor, ith: c_int, nth: c_int, scale: ?*anyopaque) callconv(.c) void {
    const args = argsOf(&n.src, scale);
    variant.kernels().attention.attend(&args, floats(n), custom.openShare(ith, nth));
}

fn mergeNode(n: *ggml.Tensor, ith: c_int, nth: c_int, scale: ?*anyopaque) callconv(.c) void {
    const args = argsOf(&n.src, scale);
    const partials = floats(n.src[5].?);
    variant.kernels().attention.merge(&args, partials, floats(n), custom.share(ith, nth));
}
