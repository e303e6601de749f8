//! What one CPU variant exports: a table of its kernels. Compiled once for each by
//! build/variants.zig, which names the table.
const std = @import("std");
const attention = @import("attention.zig");
const experts = @import("experts.zig");
const floats = @import("floats.zig");
const logits = @import("logits.zig");
const product = @import("product.zig");
const rope = @import("rope.zig");

/// Nothing here can fail at run time, and a variant must not bring the machinery that would say so.
pub const panic = std.debug.no_panic;

pub const Kernels = extern struct {
    attention: attention.Functions,
    experts: experts.Functions,
    floats: floats.Functions,
    logits: logits.Functions,
    product: product.Functions,
    rope: rope.Functions,
};

pub const kernels: Kernels = .{
    .attention = attention.vector,
    .experts = experts.vector,
    .floats = floats.vector,
    .logits = logits.vector,
    .product = product.vector,
    .rope = rope.vector,
};

comptime {
    const is_root = @import("root") == @This();
    if (is_root) {
        const name = "sluice_" ++ @import("options").name;
        @export(&kernels, .{ .name = name, .visibility = .hidden });
    }
}
