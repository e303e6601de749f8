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
    if (!product.exists) return false;
    const format = product.Format.of(type_) orelse return false;
    return n_in != 0 and n_out != 0 and
        n_in % format.groupLen() == 0 and n_out % product.panel_rows == 0;
}

/// The layout of a weight in panels.
fn layoutOf(weight: *const ggml.Tensor) failure.Error!product.Weight {
    const n_in: usize = @intCast(weight.ne[0]);
    const n_out: usize = @intCast(weight.ne[1]);
    const type_ = @backingInt(weight.type);
    if (!accepts(type_, n_in, n_out) or weight.ne[2] != 1 or weight.ne[3] != 1) {
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
    const layout = try layoutOf(weight);
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

/// A node that quantizes f32 values [n_in, n_tokens] into tiles.
pub fn quantize(context: *ggml.Context, values: *ggml.Tensor) failure.Error!*ggml.Tensor {
    if (values.type != .f32 or values.nb[0] != 4 or values.ne[2] != 1 or values.ne[3] != 1 or
        @mod(values.ne[0], product.block_len) != 0)
    {
        return failure.set(
            "Cannot quantize values of type {d}, {d} in a row: expected f32 and a multiple of 32",
            .{ @backingInt(values.type), values.ne[0] },
        );
    }
    const row_bytes = product.tileBytes(@intCast(values.ne[0]), 1);
    const ne: [2]i64 = .{ @intCast(row_bytes), values.ne[1] };
    return custom.node(context, .i8, ne, &.{values}, &quantizeNode, null);
}

/// A node that multiplies a weight in panels [n_in, n_out] with the tiles of n_tokens; f32
/// [n_out, n_tokens].
pub fn multiply(
    context: *ggml.Context,
    weight: *ggml.Tensor,
    tiles: *ggml.Tensor,
) failure.Error!*ggml.Tensor {
    const layout = try layoutOf(weight);
    if (tiles.type != .i8 or tiles.ne[0] != product.tileBytes(layout.n_in, 1)) {
        return failure.set("Cannot multiply rows of {d} with tiles of {d} bytes", .{
            layout.n_in,
            tiles.ne[0],
        });
    }
    const ne: [2]i64 = .{ weight.ne[1], tiles.ne[1] };
    return custom.node(context, .f32, ne, &.{ weight, tiles }, &multiplyNode, null);
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

fn kernels() *const product.Functions {
    // accepts() lets no weight get here on other processors.
    if (!product.exists) unreachable;
    return &variant.kernels().product;
}

fn quantizeNode(node: *ggml.Tensor, ith: c_int, nth: c_int, _: ?*anyopaque) callconv(.c) void {
    const values = node.src[0].?;
    kernels().quantize(
        @ptrCast(@alignCast(values.data.?)),
        values.nb[1] / @sizeOf(f32),
        @intCast(values.ne[0]),
        @intCast(values.ne[1]),
        node.data.?,
        custom.share(ith, nth),
    );
}

fn multiplyNode(node: *ggml.Tensor, ith: c_int, nth: c_int, _: ?*anyopaque) callconv(.c) void {
    const layout = layoutOf(node.src[0].?) catch unreachable; // checked when the node was made
    const tiles = node.src[1].?;
    kernels().multiply(
        &layout,
        tiles.data.?,
        @intCast(tiles.ne[1]),
        @ptrCast(@alignCast(node.data.?)),
        custom.share(ith, nth),
    );
}

fn rowsNode(node: *ggml.Tensor, ith: c_int, nth: c_int, _: ?*anyopaque) callconv(.c) void {
    if (!product.exists) unreachable;
    const layout = layoutOf(node.src[0].?) catch unreachable; // checked when the node was made
    const ids: [*]const i32 = @ptrCast(@alignCast(node.src[1].?.data.?));
    const out: [*]f32 = @ptrCast(@alignCast(node.data.?));
    const first, const end = custom.share(ith, nth).of(@intCast(node.ne[1]));
    for (first..end) |i| {
        const values = out[i * layout.n_in ..][0..layout.n_in];
        product.readRow(layout.format, layout.panels, layout.n_in, @intCast(ids[i]), values);
    }
}
