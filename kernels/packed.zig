//! Weights in panels as ggml tensors, quantized ones (cpu/product.zig) and floats (cpu/floats.zig),
//! and the graph ops that read them.
const std = @import("std");
const custom = @import("custom.zig");
const ggml = @import("ggml.zig");
const failure = @import("failure.zig");
const floats = @import("cpu/floats.zig");
const pool = @import("cpu/pool.zig");
const product = @import("cpu/product.zig");
const variant = @import("cpu/variant.zig");
const Kernels = @import("cpu/variant_root.zig").Kernels;

/// Whether a weight [n_in, n_out] of this ggml type can lie in panels on this processor.
pub fn accepts(type_: c_int, n_in: usize, n_out: usize) bool {
    const group_len = if (product.Format.of(type_)) |format|
        format.groupLen()
    else if (floats.Format.of(type_) != null)
        product.block_len
    else
        return false;
    return n_in != 0 and n_out != 0 and n_in % group_len == 0 and n_out % product.panel_rows == 0;
}

/// A weight in panels.
pub const Layout = union(enum) {
    quants: product.Weight,
    floats: floats.Weight,

    /// That of a weight of a ggml type, if there is one.
    pub fn of(
        type_: c_int,
        panels: [*]align(product.panel_rows) const u8,
        n_in: usize,
        n_out: usize,
    ) ?Layout {
        if (product.Format.of(type_)) |format| return .{ .quants = .{
            .format = format,
            .panels = panels,
            .n_in = n_in,
            .n_out = n_out,
        } };
        return .{ .floats = .{
            .format = floats.Format.of(type_) orelse return null,
            .panels = panels,
            .n_in = n_in,
            .n_out = n_out,
        } };
    }

    /// What its products read beside it.
    pub fn tiles(layout: *const Layout) Tiles {
        return switch (layout.*) {
            .quants => .quants,
            .floats => .floats,
        };
    }

    /// A share of the product with the tiles of n_tokens, as product.Multiply.
    pub fn multiply(
        layout: *const Layout,
        kernels: *const Kernels,
        rows: [*]const u8,
        n_tokens: usize,
        added: ?[*]const f32,
        sums: [*]f32,
        share: product.Share,
    ) void {
        switch (layout.*) {
            .quants => |*w| kernels.product.multiply(w, rows, n_tokens, added, sums, share),
            .floats => |*w| kernels.floats.multiply(w, rows, n_tokens, added, sums, share),
        }
    }

    fn panelBytes(layout: *const Layout) usize {
        return switch (layout.*) {
            inline else => |*weight| weight.panelBytes(),
        };
    }

    fn asPanels(layout: *const Layout) product.Panels {
        return switch (layout.*) {
            inline else => |*weight| .of(weight),
        };
    }

    /// Tells what will be multiplied next.
    fn comeBefore(layout: *Layout, next: *const product.Panels) void {
        switch (layout.*) {
            inline else => |*weight| weight.next = next,
        }
    }

    /// Puts rows of a file into panels.
    pub fn pack(layout: *const Layout, rows: []const u8, panels: []u8) void {
        switch (layout.*) {
            .quants => |w| product.pack(w.format, rows, panels, w.n_in),
            .floats => |w| floats.pack(rows, panels, w.n_in),
        }
    }

    fn readRow(layout: *const Layout, row: usize, out: []f32) void {
        switch (layout.*) {
            .quants => |w| product.readRow(w.format, w.panels, w.n_in, row, out),
            .floats => |w| floats.readRow(w.format, w.panels, w.n_in, row, out),
        }
    }
};

/// The layout of a weight in panels.
fn layoutOf(weight: *const ggml.Tensor) failure.Error!Layout {
    if (weight.ne[2] != 1) {
        return failure.set("Cannot use {d} weights in panels as one", .{weight.ne[2]});
    }
    return stackOf(weight);
}

/// The layout of the first of the experts' weights [n_in, n_out, n_expert], quantized ones in
/// panels, one behind another.
pub fn expertOf(weight: *const ggml.Tensor) failure.Error!product.Weight {
    return switch (try stackOf(weight)) {
        .quants => |quants| quants,
        .floats => failure.set("Cannot use experts of type {d}: expected a quantized type", .{
            @backingInt(weight.type),
        }),
    };
}

/// The layout of the first of several weights [n_in, n_out, n] in panels, one behind another.
fn stackOf(weight: *const ggml.Tensor) failure.Error!Layout {
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
    // accepts() knows the type
    return Layout.of(type_, @alignCast(data), n_in, n_out) orelse unreachable;
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
    layout: Layout,
    rows: []const u8,
    panels: []u8,

    fn share(context: *anyopaque) void {
        const filling: *const Filling = @ptrCast(@alignCast(context));
        const panel_bytes = filling.layout.panelBytes();
        const own: product.Share = .{ .index = pool.threadIndex(), .count = pool.teamSize() };
        const first, const end = own.of(filling.rows.len / panel_bytes);
        const from, const to = .{ first * panel_bytes, end * panel_bytes };
        filling.layout.pack(filling.rows[from..to], filling.panels[from..to]);
    }
};

/// What products read beside a weight, by the type of its tensor. Plain rows never are i32, so they
/// are not mistaken for tiles of floats.
pub const Tiles = enum(c_int) {
    quants = @backingInt(ggml.Type.i8),
    floats = @backingInt(ggml.Type.i32),

    /// Elements of the tensor that a row of n_in values becomes.
    fn rowLen(tiles: Tiles, n_in: usize) usize {
        return if (tiles == .quants) product.tileBytes(n_in, 1) else n_in;
    }

    /// Bytes of n_tokens rows of n_in values.
    pub fn bytes(tiles: Tiles, n_in: usize, n_tokens: usize) usize {
        return switch (tiles) {
            .quants => product.tileBytes(n_in, n_tokens),
            .floats => floats.tileBytes(n_in, n_tokens),
        };
    }

    /// Puts a share of the rows into tiles.
    pub fn write(
        tiles: Tiles,
        kernels: *const Kernels,
        rows: *const product.Rows,
        to: [*]u8,
        share: product.Share,
    ) void {
        switch (tiles) {
            .quants => kernels.product.quantize(rows, to, share),
            .floats => kernels.floats.tile(rows, to, share),
        }
    }
};

/// What happens to values before they go into tiles.
pub const First = union(enum) {
    nothing,
    rms_norm: struct { weight: *ggml.Tensor, eps: f32 },
    swiglu,
};

/// A node that puts f32 values [n_in, n_tokens] into tiles, i8 for quantized weights and i32 for
/// floats; [2 n_in, n_tokens] for swiglu.
pub fn quantize(
    context: *ggml.Context,
    values: *ggml.Tensor,
    first: First,
    type_: ggml.Type,
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
    const tiles = std.enums.fromInt(Tiles, @backingInt(type_)) orelse
        return failure.set("Cannot make tiles of type {d}: expected i8 or i32", .{
            @backingInt(type_),
        });
    const ne: [2]i64 = .{ @intCast(tiles.rowLen(@intCast(n_in))), values.ne[1] };
    const op = quantizeNode(tiles, first);
    switch (first) {
        .nothing, .swiglu => return custom.node(context, type_, ne, &.{values}, op, null),
        .rms_norm => |norm| {
            const w = norm.weight;
            if (w.type != .f32 or w.ne[0] != n_in or w.nb[0] != 4 or w.ne[1] != 1) {
                return failure.set(
                    "Cannot norm rows of {d} with a weight of type {d} [{d}, {d}]",
                    .{ n_in, @backingInt(w.type), w.ne[0], w.ne[1] },
                );
            }
            const eps = custom.fromFloat(norm.eps);
            return custom.node(context, type_, ne, &.{ values, w }, op, eps);
        },
    }
}

/// A node that multiplies a weight in panels [n_in, n_out] with the tiles of n_tokens; f32
/// [n_out, n_tokens], added to `added` of the same shape if there is one. `next` is the weight that
/// will be multiplied next, if that is known.
pub fn multiply(
    context: *ggml.Context,
    weight: *ggml.Tensor,
    tiles: *ggml.Tensor,
    added: ?*ggml.Tensor,
    next: ?*ggml.Tensor,
) failure.Error!*ggml.Tensor {
    const layout = try layoutOf(weight);
    if (next) |then| _ = try layoutOf(then);
    const expected = layout.tiles();
    const n_in: usize = @intCast(weight.ne[0]);
    if (@backingInt(tiles.type) != @backingInt(expected) or tiles.ne[0] != expected.rowLen(n_in)) {
        return failure.set(
            "Cannot multiply a weight of type {d} [{d}, {d}] with type {d}, {d} in a row: " ++
                "expected tiles of type {d}, {d} in a row",
            .{
                @backingInt(weight.type), n_in,        weight.ne[1],
                @backingInt(tiles.type),  tiles.ne[0], @backingInt(expected),
                expected.rowLen(n_in),
            },
        );
    }
    const ne: [2]i64 = .{ weight.ne[1], tiles.ne[1] };
    if (added) |more| try mustFit(more, ne);
    const node = custom.node(context, .f32, ne, &.{ weight, tiles }, &multiplyNode, null);
    node.src[2] = added;
    node.src[3] = next;
    return node;
}

/// Checks that `added` can be added to products of this shape.
fn mustFit(added: *const ggml.Tensor, ne: [2]i64) failure.Error!void {
    const fits = added.type == .f32 and added.ne[0] == ne[0] and added.ne[1] == ne[1] and
        added.nb[0] == 4 and added.nb[1] == 4 * ne[0] and added.ne[2] == 1 and added.ne[3] == 1;
    if (!fits) {
        return failure.set("Cannot add values of type {d} [{d}, {d}] to a product [{d}, {d}]", .{
            @backingInt(added.type), added.ne[0], added.ne[1], ne[0], ne[1],
        });
    }
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

fn quantizeNode(tiles: Tiles, first: First) ggml.CustomOp {
    switch (tiles) {
        inline else => |t| switch (first) {
            inline else => |_, f| {
                return &Quantizing(t, @field(product.Rows.First, @tagName(f))).compute;
            },
        },
    }
}

fn Quantizing(comptime tiles: Tiles, comptime first: product.Rows.First) type {
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
            tiles.write(variant.kernels(), &rows, node.data.?, custom.share(ith, nth));
        }
    };
}

fn multiplyNode(node: *ggml.Tensor, ith: c_int, nth: c_int, _: ?*anyopaque) callconv(.c) void {
    // Both were checked when the node was made.
    var layout = layoutOf(node.src[0].?) catch unreachable;
    const then = if (node.src[3]) |weight| layoutOf(weight) catch unreachable else null;
    const next = if (then) |known| known.asPanels() else null;
    if (next) |*panels| layout.comeBefore(panels);
    const tiles = node.src[1].?;
    const n_tokens: usize = @intCast(tiles.ne[1]);
    const added: ?[*]const f32 =
        if (node.src[2]) |more| @ptrCast(@alignCast(more.data.?)) else null;
    const sums: [*]f32 = @ptrCast(@alignCast(node.data.?));
    const share = custom.openShare(ith, nth);
    layout.multiply(variant.kernels(), tiles.data.?, n_tokens, added, sums, share);
}

fn rowsNode(node: *ggml.Tensor, ith: c_int, nth: c_int, _: ?*anyopaque) callconv(.c) void {
    const layout = layoutOf(node.src[0].?) catch unreachable; // checked when the node was made
    const ids: [*]const i32 = @ptrCast(@alignCast(node.src[1].?.data.?));
    const out: [*]f32 = @ptrCast(@alignCast(node.data.?));
    const n_in: usize = @intCast(node.ne[0]);
    const first, const end = custom.share(ith, nth).of(@intCast(node.ne[1]));
    for (first..end) |i| layout.readRow(@intCast(ids[i]), out[i * n_in ..][0..n_in]);
}
