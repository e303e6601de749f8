//! Weights in panels as ggml tensors, and the two graph ops that read them (cpu/product.zig).
const std = @import("std");
const custom = @import("custom.zig");
const ggml = @import("ggml.zig");
const failure = @import("failure.zig");
const pool = @import("cpu/pool.zig");
const product = @import("cpu/product.zig");
const variant = @import("cpu/variant.zig");

/// Whether a weight [n_in, n_out] of this ggml type can lie in panels on this processor.
pub fn accepts(type_: c_int, n_in: usize, n_out: usize) bool {
    const format = product.Format.of(type_) orelse return false;
    return n_in != 0 and n_out != 0 and
        n_in % format.groupLen() == 0 and n_out % product.panel_rows == 0;
}

/// The layout of a weight in panels.
fn layoutOf(weight: *const ggml.Tensor) failure.Error!product.Weight {
    if (weight.ne[2] != 1) {
        return failure.set("Cannot use {d} weights in panels as one", .{weight.ne[2]});
    }
    return stackOf(weight);
}

/// The layout of the first of several weights [n_in, n_out, n] in panels, one behind another.
pub fn stackOf(weight: *const ggml.Tensor) failure.Error!product.Weight {
    const n_in: usize = @intCast(weight.ne[0]);
    const n_out: usize = @intCast(weight.ne[1]);
    const type_ = @backingInt(weight.type);
    if (!accepts(type_, n_in, n_out) or weight.ne[3] != 1) {
        return failure.set(
            "Cannot use a weight of type {d} [{d}, {d}] in panels",
            .{ type_, n_in, n_out },
        );
    }
    const data = weight.data orelse
        return failure.set("Cannot use a weight in panels that has no data", .{});
    return .{
        .format = product.Format.of(type_).?,
        .panels = @alignCast(data),
        .n_in = n_in,
        .n_out = n_out,
    };
}

/// Puts rows of a file into the panels of `weight`, from byte `at` on, on all threads.
pub fn fill(weight: *ggml.Tensor, at: usize, rows: []const u8) failure.Error!void {
    const layout = try stackOf(weight);
    const panel_bytes = layout.panelBytes();
    if (rows.len % panel_bytes != 0 or at % panel_bytes != 0) {
        return failure.set(
            "Cannot fill panels with {d} bytes at {d}: expected multiples of {d}",
            .{ rows.len, at, panel_bytes },
        );
    }
    var filling: Filling = .{
        .layout = layout,
        .rows = rows,
        .panels = weight.data.?[at..][0..rows.len],
    };
    pool.run(pool.cpuCount(), Filling.share, &filling);
}

const Filling = struct {
    layout: product.Weight,
    rows: []const u8,
    panels: []u8,

    fn share(context: *anyopaque) void {
        const filling: *const Filling = @ptrCast(@alignCast(context));
        const panel_bytes = filling.layout.panelBytes();
        const n = filling.rows.len / panel_bytes;
        const index = pool.threadIndex();
        const count = pool.teamSize();
        const first = n * index / count * panel_bytes;
        const end = n * (index + 1) / count * panel_bytes;
        const layout = filling.layout;
        const rows = filling.rows[first..end];
        product.pack(layout.format, rows, filling.panels[first..end], layout.n_in);
    }
};

/// What happens to values before they are quantized.
pub const First = union(enum) {
    nothing,
    rms_norm: struct { weight: *ggml.Tensor, eps: f32 },
    swiglu,
};

/// A node that quantizes f32 values [n_in, n_tokens] into tiles; [2 n_in, n_tokens] for swiglu.
pub fn quantize(
    context: *ggml.Context,
    values: *ggml.Tensor,
    first: First,
) failure.Error!*ggml.Tensor {
    const n_in = if (first == .swiglu) @divFloor(values.ne[0], 2) else values.ne[0];
    if (values.type != .f32 or values.nb[0] != 4 or values.ne[2] != 1 or values.ne[3] != 1 or
        @mod(values.ne[0], n_in) != 0 or @mod(n_in, product.block_len) != 0)
    {
        return failure.set(
            "Cannot quantize values of type {d}, {d} in a row: expected f32 and a multiple of 32",
            .{ @backingInt(values.type), values.ne[0] },
        );
    }
    const ne: [2]i64 = .{ @intCast(product.tileBytes(@intCast(n_in), 1)), values.ne[1] };
    switch (first) {
        .nothing, .swiglu => {
            const op = if (first == .swiglu) &quantizeNode(.swiglu) else &quantizeNode(.nothing);
            return custom.node(context, .i8, ne, &.{values}, op, null);
        },
        .rms_norm => |norm| {
            const w = norm.weight;
            if (w.type != .f32 or w.ne[0] != n_in or w.nb[0] != 4 or w.ne[1] != 1) {
                return failure.set(
                    "Cannot norm rows of {d} with a weight of type {d} [{d}, {d}]",
                    .{ n_in, @backingInt(w.type), w.ne[0], w.ne[1] },
                );
            }
            const eps = custom.fromFloat(norm.eps);
            return custom.node(context, .i8, ne, &.{ values, w }, &quantizeNode(.rms_norm), eps);
        },
    }
}

/// A node that multiplies a weight in panels [n_in, n_out] with the tiles of n_tokens; f32
/// [n_out, n_tokens], added to `added` of the same shape if there is one.
pub fn multiply(
    context: *ggml.Context,
    weight: *ggml.Tensor,
    tiles: *ggml.Tensor,
    added: ?*ggml.Tensor,
) failure.Error!*ggml.Tensor {
    const layout = try layoutOf(weight);
    if (tiles.type != .i8 or tiles.ne[0] != product.tileBytes(layout.n_in, 1)) {
        return failure.set("Cannot multiply rows of {d} with tiles of {d} bytes", .{
            layout.n_in,
            tiles.ne[0],
        });
    }
    const ne: [2]i64 = .{ weight.ne[1], tiles.ne[1] };
    const more = added orelse
        return custom.node(context, .f32, ne, &.{ weight, tiles }, &multiplyNode, null);
    if (more.type != .f32 or more.ne[0] != ne[0] or more.ne[1] != ne[1] or
        more.nb[0] != 4 or more.nb[1] != 4 * ne[0] or more.ne[2] != 1 or more.ne[3] != 1)
    {
        return failure.set("Cannot add values of type {d} [{d}, {d}] to a product [{d}, {d}]", .{
            @backingInt(more.type), more.ne[0], more.ne[1], ne[0], ne[1],
        });
    }
    return custom.node(context, .f32, ne, &.{ weight, tiles, more }, &multiplyNode, null);
}

/// A node that reads rows of a weight in panels, those whose numbers are `ids`: f32
/// [n_in, n_tokens]. Every id must be below n_out.
pub fn getRows(
    context: *ggml.Context,
    weight: *ggml.Tensor,
    ids: *ggml.Tensor,
) failure.Error!*ggml.Tensor {
    _ = try layoutOf(weight);
    if (ids.type != .i32 or ids.nb[0] != 4 or ids.ne[1] != 1 or ids.ne[2] != 1) {
        return failure.set("Cannot read rows by ids of type {d}: expected a vector of i32", .{
            @backingInt(ids.type),
        });
    }
    const ne: [2]i64 = .{ weight.ne[0], ids.ne[0] };
    return custom.node(context, .f32, ne, &.{ weight, ids }, &rowsNode, null);
}

/// The products of this processor.
pub fn kernels() *const product.Functions {
    return &variant.kernels().product;
}

fn quantizeNode(comptime first: product.Rows.First) @TypeOf(multiplyNode) {
    return struct {
        fn compute(
            node: *ggml.Tensor,
            ith: c_int,
            nth: c_int,
            eps: ?*anyopaque,
        ) callconv(.c) void {
            const values = node.src[0].?;
            const n_values: usize = @intCast(values.ne[0]);
            const rows: product.Rows = .{
                .values = @ptrCast(@alignCast(values.data.?)),
                .stride = values.nb[1] / @sizeOf(f32),
                .n_in = if (first == .swiglu) n_values / 2 else n_values,
                .n_tokens = @intCast(values.ne[1]),
                .first = first,
                .weight = if (node.src[1]) |w| @ptrCast(@alignCast(w.data)) else null,
                .eps = custom.toFloat(eps),
            };
            kernels().quantize(&rows, node.data.?, custom.share(ith, nth));
        }
    }.compute;
}

fn multiplyNode(node: *ggml.Tensor, ith: c_int, nth: c_int, _: ?*anyopaque) callconv(.c) void {
    const layout = layoutOf(node.src[0].?) catch unreachable; // checked when the node was made
    const tiles = node.src[1].?;
    const added: ?[*]const f32 =
        if (node.src[2]) |more| @ptrCast(@alignCast(more.data.?)) else null;
    kernels().multiply(
        &layout,
        tiles.data.?,
        @intCast(tiles.ne[1]),
        added,
        @ptrCast(@alignCast(node.data.?)),
        custom.share(ith, nth),
    );
}

fn rowsNode(node: *ggml.Tensor, ith: c_int, nth: c_int, _: ?*anyopaque) callconv(.c) void {
    const layout = layoutOf(node.src[0].?) catch unreachable; // checked when the node was made
    const ids: [*]const i32 = @ptrCast(@alignCast(node.src[1].?.data.?));
    const out: [*]f32 = @ptrCast(@alignCast(node.data.?));
    const first, const end = custom.share(ith, nth).of(@intCast(node.ne[1]));
    for (first..end) |i| {
        const values = out[i * layout.n_in ..][0..layout.n_in];
        product.readRow(layout.format, layout.panels, layout.n_in, @intCast(ids[i]), values);
    }
}
