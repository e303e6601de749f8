//! Nodes of experts that do not belong together are refused when they are made.
const std = @import("std");
const experts = @import("experts.zig");
const failure = @import("failure.zig");
const ggml = @import("ggml.zig");
const panels = @import("packed.zig");
const tensor = @import("tensor.zig");
const testing = std.testing;

const q8_0: ggml.Type = @fromBackingInt(8);

test "node() gives a row for each token, and says what does not belong together" {
    const context = try tensor.newContext(1 << 16);
    defer ggml.ggml_free(context);
    const n_embd = 64;
    const n_ff = 32;
    const n_expert = 4;
    const sources: experts.Sources = .{
        .values = ggml.ggml_new_tensor_4d(context, .f32, n_embd, 3, 1, 1),
        .router = ggml.ggml_new_tensor_4d(context, .f32, n_embd, n_expert, 1, 1),
        .gate_up = ggml.ggml_new_tensor_4d(context, q8_0, n_embd, 2 * n_ff, n_expert, 1),
        .down = ggml.ggml_new_tensor_4d(context, q8_0, n_ff, n_embd, n_expert, 1),
        .n_used = 2,
        .added = ggml.ggml_new_tensor_4d(context, .f32, n_embd, 3, 1, 1),
    };
    try testing.expectError(error.Failed, experts.node(context, sources)); // weights without data
    var byte: [64]u8 align(64) = undefined;
    sources.gate_up.data = &byte;
    sources.down.data = &byte;
    const found = try experts.node(context, sources);
    try testing.expectEqualSlices(i64, &.{ n_embd, 3, 1, 1 }, &found.ne);
    const narrow = ggml.ggml_new_tensor_4d(context, .f32, 32, 3, 1, 1);
    const fewer = ggml.ggml_new_tensor_4d(context, q8_0, n_ff, n_embd, 3, 1);
    fewer.data = &byte;
    const floats = ggml.ggml_new_tensor_4d(context, .f16, n_ff, n_embd, n_expert, 1);
    floats.data = &byte;
    inline for (.{
        .{ "values", narrow },        .{ "values", sources.gate_up }, .{ "router", narrow },
        .{ "gate_up", sources.down }, .{ "down", fewer },             .{ "added", narrow },
        .{ "n_used", n_expert + 1 },  .{ "n_used", 0 },               .{ "down", floats },
    }) |change| {
        var changed = sources;
        @field(changed, change[0]) = change[1];
        try testing.expectError(error.Failed, experts.node(context, changed));
    }
}

test "fill() takes several weights one behind another, multiply() only one" {
    const context = try tensor.newContext(1 << 16);
    defer ggml.ggml_free(context);
    const stack = ggml.ggml_new_tensor_4d(context, q8_0, 32, 16, 3, 1);
    var memory: [3 * 16 * 34]u8 align(64) = undefined;
    stack.data = &memory;
    const rows: [16 * 34]u8 = @splat(0);
    for (0..3) |i| try panels.fill(stack, i * rows.len, &rows);
    const values = ggml.ggml_new_tensor_4d(context, .f32, 32, 2, 1, 1);
    const tiles = try panels.quantize(context, values, .nothing, .i8);
    try testing.expectError(error.Failed, panels.multiply(context, stack, tiles, null, null));
    try testing.expectEqualStrings("Cannot use 3 weights in panels as one", failure.get());
}
