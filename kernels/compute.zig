//! One graph, computed until it ends or nobody wants it any more.
const std = @import("std");
const ggml = @import("ggml.zig");
const failure = @import("failure.zig");

/// Whom a computation is for: member i has gone once cancelled[members[i]] is not 0.
pub const Audience = struct {
    cancelled: ?[*]const i32,
    members: []const i32,

    fn hasGone(audience: *const Audience) bool {
        const cancelled = audience.cancelled orelse return false;
        for (audience.members) |member| {
            if (@atomicLoad(i32, &cancelled[@intCast(member)], .monotonic) == 0) return false;
        }
        return audience.members.len != 0;
    }
};

/// True if the graph was computed, false if it was left because its audience had gone.
pub fn compute(
    backend: *ggml.Backend,
    graph: *ggml.Graph,
    audience: Audience,
) failure.Error!bool {
    for (audience.members) |member| {
        if (member < 0) {
            return failure.set("Cannot compute for member {d}: expected 0 or more", .{member});
        }
    }
    const stops = audience.members.len != 0 and ggml.ggml_backend_is_cpu(backend);
    if (stops) {
        const data: *anyopaque = @constCast(&audience);
        ggml.ggml_backend_cpu_set_abort_callback(backend, &onNode, data);
    }
    defer if (stops) ggml.ggml_backend_cpu_set_abort_callback(backend, null, null);
    return switch (ggml.ggml_backend_graph_compute(backend, graph)) {
        .success => true,
        .aborted => false,
        .alloc_failed => failure.set("Cannot compute the graph: out of memory", .{}),
        else => failure.set("Cannot compute the graph: an operation failed", .{}),
    };
}

/// ggml asks before each node, on the caller's thread.
fn onNode(data: ?*anyopaque) callconv(.c) bool {
    const audience: *const Audience = @ptrCast(@alignCast(data.?));
    return audience.hasGone();
}
