//! Mixtures of experts as ggml nodes (cpu/experts.zig), with weights in panels (packed.zig).
const custom = @import("custom.zig");
const failure = @import("failure.zig");
const ggml = @import("ggml.zig");
const kernel = @import("cpu/experts.zig");
const panels = @import("packed.zig");
const product = @import("cpu/product.zig");
const variant = @import("cpu/variant.zig");

/// The tensors of sluice_experts().
pub const Sources = struct {
    values: *ggml.Tensor,
    router: *ggml.Tensor,
    gate_up: *ggml.Tensor,
    down: *ggml.Tensor,
    n_used: usize,
    added: ?*ggml.Tensor,
};

/// The nodes that choose experts and go through them; see sluice.h.
pub fn node(context: *ggml.Context, s: Sources) failure.Error!*ggml.Tensor {
    try check(s);
    const n_tokens: usize = @intCast(s.values.ne[1]);
    const n_expert: usize = @intCast(s.router.ne[1]);
    const n_ff: usize = @intCast(s.down.ne[0]);
    const n_embd = s.values.ne[0];
    const n_slots: i64 = @intCast(s.n_used * n_tokens);
    const n_used = custom.fromCount(s.n_used);

    const scores_ne: [2]i64 = .{ s.router.ne[1], s.values.ne[1] };
    const scores =
        custom.node(context, .f32, scores_ne, &.{ s.values, s.router }, &scoreNode, null);
    const length: i64 = @intCast(kernel.Routing.len(n_expert, s.n_used, n_tokens));
    const routing = custom.node(context, .i32, .{ length, 1 }, &.{scores}, &routeNode, n_used);

    const in_bytes: i64 = @intCast(product.tileBytes(@intCast(n_embd), 1));
    const in = [_]*ggml.Tensor{ s.values, routing };
    const in_tiles =
        custom.node(context, .i8, .{ in_bytes, n_slots }, &in, &quantizeNode(.nothing), n_used);
    const up_sums = [_]*ggml.Tensor{ s.gate_up, in_tiles, routing };
    const up_ne: [2]i64 = .{ s.gate_up.ne[1], n_slots };
    const hidden = custom.node(context, .f32, up_ne, &up_sums, &multiplyNode, n_used);

    const ff_bytes: i64 = @intCast(product.tileBytes(n_ff, 1));
    const ff = [_]*ggml.Tensor{ hidden, routing };
    const ff_tiles =
        custom.node(context, .i8, .{ ff_bytes, n_slots }, &ff, &quantizeNode(.swiglu), n_used);
    const down_sums = [_]*ggml.Tensor{ s.down, ff_tiles, routing };
    const down_ne: [2]i64 = .{ n_embd, n_slots };
    const found = custom.node(context, .f32, down_ne, &down_sums, &multiplyNode, n_used);

    const out_ne: [2]i64 = .{ n_embd, s.values.ne[1] };
    const more = s.added orelse
        return custom.node(context, .f32, out_ne, &.{ found, routing }, &combineNode, n_used);
    return custom.node(context, .f32, out_ne, &.{ found, routing, more }, &combineNode, n_used);
}

fn check(s: Sources) failure.Error!void {
    const x, const router = .{ s.values, s.router };
    const gate_up = try panels.expertOf(s.gate_up);
    const down = try panels.expertOf(s.down);
    const n_embd = x.ne[0];
    const is_x = x.type == .f32 and x.nb[0] == 4 and x.ne[2] == 1 and x.ne[3] == 1;
    const is_router = router.type == .f32 and ggml.ggml_is_contiguous(router) and
        router.ne[0] == n_embd and router.ne[2] == 1 and router.ne[3] == 1;
    const are_experts = gate_up.n_in == n_embd and down.n_out == n_embd and
        gate_up.n_out == 2 * down.n_in and
        s.gate_up.ne[2] == router.ne[1] and s.down.ne[2] == router.ne[1];
    const is_used = s.n_used > 0 and s.n_used <= router.ne[1];
    const is_added = if (s.added) |a|
        a.type == .f32 and ggml.ggml_is_contiguous(a) and
            a.ne[0] == n_embd and a.ne[1] == x.ne[1] and a.ne[2] == 1 and a.ne[3] == 1
    else
        true;
    if (is_x and is_router and are_experts and is_used and is_added) return;
    return failure.set(
        "Cannot go through {d} of {d} experts with rows of {d}: sizes, types or strides do not " ++
            "belong together",
        .{ s.n_used, router.ne[1], n_embd },
    );
}

fn floats(tensor: *const ggml.Tensor) [*]f32 {
    return @ptrCast(@alignCast(tensor.data.?));
}

/// What the node of a routing computes; its source still says for how many experts and tokens.
fn routingOf(tensor: *const ggml.Tensor, n_used: ?*anyopaque) kernel.Routing {
    const scores = tensor.src[0].?;
    const words: [*]u32 = @ptrCast(@alignCast(tensor.data.?));
    const n_expert: usize = @intCast(scores.ne[0]);
    return .of(words, n_expert, custom.toCount(n_used), @intCast(scores.ne[1]));
}

fn scoreNode(n: *ggml.Tensor, ith: c_int, nth: c_int, _: ?*anyopaque) callconv(.c) void {
    const values, const router = .{ n.src[0].?, n.src[1].? };
    const rows: kernel.Rows = .{
        .values = floats(values),
        .stride = values.nb[1] / @sizeOf(f32),
        .router = floats(router),
        .n_embd = @intCast(values.ne[0]),
        .n_expert = @intCast(router.ne[1]),
        .n_tokens = @intCast(values.ne[1]),
    };
    variant.kernels().experts.score(&rows, floats(n), custom.share(ith, nth));
}

/// Counting is for one thread, and choosing costs less than to wait for others.
fn routeNode(n: *ggml.Tensor, ith: c_int, _: c_int, n_used: ?*anyopaque) callconv(.c) void {
    if (ith == 0) kernel.route(&routingOf(n, n_used), floats(n.src[0].?));
}

/// Tiles of the slots, each expert's for itself: of the rows of their tokens, or of their own.
fn quantizeNode(comptime first: product.Rows.First) @TypeOf(multiplyNode) {
    return struct {
        fn compute(n: *ggml.Tensor, ith: c_int, nth: c_int, n_used: ?*anyopaque) callconv(.c) void {
            const values = n.src[0].?;
            const routing = routingOf(n.src[1].?, n_used);
            const n_values: usize = @intCast(values.ne[0]);
            var rows: product.Rows = .{
                .values = floats(values),
                .stride = values.nb[1] / @sizeOf(f32),
                .n_in = if (first == .swiglu) n_values / 2 else n_values,
                .n_tokens = undefined,
                .first = first,
            };
            for (0..routing.n_expert) |expert| {
                const tokens = routing.tokensOf(expert);
                const slot = routing.starts[expert];
                rows.n_tokens = tokens.len;
                if (first == .swiglu) {
                    rows.values = floats(values) + slot * rows.stride;
                } else {
                    rows.ids = tokens.ptr;
                }
                const tiles = n.data.? + product.tileBytes(rows.n_in, slot);
                variant.kernels().product.quantize(&rows, tiles, custom.share(ith, nth));
            }
        }
    }.compute;
}

fn multiplyNode(n: *ggml.Tensor, ith: c_int, nth: c_int, n_used: ?*anyopaque) callconv(.c) void {
    var weight = panels.expertOf(n.src[0].?) catch unreachable; // checked when the node was made
    const routing = routingOf(n.src[2].?, n_used);
    const tiles = n.src[1].?.data.?;
    const expert_bytes = weight.panelBytes() * (weight.n_out / product.panel_rows);
    for (0..routing.n_expert) |expert| {
        const slot = routing.starts[expert];
        variant.kernels().product.multiply(
            &weight,
            tiles + product.tileBytes(weight.n_in, slot),
            routing.tokensOf(expert).len,
            null,
            floats(n) + slot * weight.n_out,
            custom.share(ith, nth),
        );
        weight.panels = @alignCast(weight.panels + expert_bytes);
    }
}

fn combineNode(n: *ggml.Tensor, ith: c_int, nth: c_int, n_used: ?*anyopaque) callconv(.c) void {
    const sums = n.src[0].?;
    const routing = routingOf(n.src[1].?, n_used);
    const added: ?[*]const f32 = if (n.src[2]) |more| floats(more) else null;
    const n_out: usize = @intCast(sums.ne[0]);
    const share = custom.share(ith, nth);
    variant.kernels().experts.combine(&routing, floats(sums), n_out, added, floats(n), share);
}
