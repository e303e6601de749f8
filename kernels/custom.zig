//! Graph nodes of our own: ggml calls them on every thread of a team.
const ggml = @import("ggml.zig");
const pool = @import("cpu/pool.zig");
const Share = @import("cpu/share.zig").Share;

/// A node of type `type_` and shape `ne` that `op` computes from `sources`.
pub fn node(
    context: *ggml.Context,
    type_: ggml.Type,
    ne: [2]i64,
    sources: []const *ggml.Tensor,
    op: ggml.CustomOp,
    userdata: ?*anyopaque,
) *ggml.Tensor {
    return ggml.ggml_custom_4d(
        context,
        type_,
        ne[0],
        ne[1],
        1,
        1,
        sources.ptr,
        @intCast(sources.len),
        op,
        ggml.n_tasks_max,
        userdata,
    );
}

/// What thread `ith` of `nth` does.
pub fn share(ith: c_int, nth: c_int) Share {
    return .{ .index = @intCast(ith), .count = @intCast(nth) };
}

/// The same, and then what other threads have left of theirs; for one work of a node.
pub fn openShare(ith: c_int, nth: c_int) Share {
    return .{ .index = @intCast(ith), .count = @intCast(nth), .taken = pool.sharesTaken() };
}

/// A number above 0 that travels as the pointer that ggml hands on.
pub fn fromCount(count: usize) ?*anyopaque {
    return @ptrFromInt(count);
}

/// The number that was handed on.
pub fn toCount(userdata: ?*anyopaque) usize {
    return @intFromPtr(userdata);
}

/// A number that travels as the pointer that ggml hands on; never null for a number above 0.
pub fn fromFloat(value: f32) ?*anyopaque {
    return @ptrFromInt(@as(u32, @bitCast(value)));
}

/// The number that was handed on.
pub fn toFloat(userdata: ?*anyopaque) f32 {
    return @bitCast(@as(u32, @intCast(@intFromPtr(userdata))));
}
