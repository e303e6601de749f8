//! A row of logits and the numbers that come with it, checked: what the sampler may rely on.
const std = @import("std");
const ggml = @import("ggml.zig");
const failure = @import("failure.zig");
const variant = @import("cpu/variant.zig");
const Params = @import("cpu/sampler.zig").Params;

/// Most logits of a row: an id fits an i32, and a sum of weights 63 bits.
const n_vocab_max = 1 << 28;

/// Row `index` of f32 logits [n_vocab, n_rows].
pub fn of(logits: ?*const ggml.Tensor, index: i32) failure.Error![]const f32 {
    const tensor = logits orelse return failure.set("Cannot use logits: it is null", .{});
    const buffer = tensor.buffer orelse if (tensor.view_src) |source| source.buffer else null;
    const in_host = buffer != null and ggml.ggml_backend_buffer_is_host(buffer.?);
    const data = tensor.data orelse return failure.set("Cannot read logits that have no data", .{});
    if (!in_host) return failure.set("Cannot read logits that are not in host memory", .{});
    if (tensor.type != .f32 or !ggml.ggml_is_contiguous(tensor)) {
        return failure.set("Cannot read logits: expected a contiguous f32 tensor", .{});
    }
    const n_rows = tensor.ne[1] * tensor.ne[2] * tensor.ne[3];
    if (index < 0 or index >= n_rows) {
        return failure.set("Cannot read row {d} of logits: there are {d}", .{ index, n_rows });
    }
    const n_vocab: usize = @intCast(tensor.ne[0]);
    if (n_vocab == 0 or n_vocab > n_vocab_max) {
        return failure.set("Cannot read a row of {d} logits", .{n_vocab});
    }
    const values: [*]const f32 = @ptrCast(@alignCast(data));
    return values[@as(usize, @intCast(index)) * n_vocab ..][0..n_vocab];
}

/// Index of the largest value.
pub fn argmax(values: []const f32) failure.Error!i32 {
    const found = variant.kernels().logits.argmax(values.ptr, values.len);
    if (found < 0) return failure.set("Cannot choose from {d} logits: all are NaN", .{values.len});
    return @intCast(found);
}

/// The record of sluice_sample(), in order; an eighth number is reserved.
const param_names = .{
    "temperature", "top_k", "top_p", "min_p", "repeat_penalty", "seed", "position",
};

/// The record of sluice_sample().
pub fn params(record: ?[*]const f64) failure.Error!Params {
    const p = (record orelse return failure.set("Cannot use params: it is null", .{}))[0..8];
    inline for (param_names, 0..) |name, i| {
        if (std.math.isNan(p[i])) return failure.set("Cannot sample: " ++ name ++ " is NaN", .{});
    }
    if (!(p[4] > 0) or std.math.isInf(p[4])) {
        return failure.set("Cannot sample with repeat_penalty {d}: expected more than 0", .{p[4]});
    }
    return .{
        .temperature = @floatCast(p[0]),
        .top_k = @intFromFloat(std.math.clamp(p[1], 0, n_vocab_max)),
        .top_p = @floatCast(p[2]),
        .min_p = @floatCast(p[3]),
        .repeat_penalty = @floatCast(p[4]),
        .seed = try whole(u32, "seed", p[5]),
        .position = try whole(u64, "position", p[6]),
    };
}

fn whole(comptime T: type, comptime name: []const u8, value: f64) failure.Error!T {
    const max = @min(std.math.maxInt(T), 1 << 53);
    if (!(value >= 0 and value <= max) or value != @trunc(value)) {
        return failure.set(
            "Cannot sample with " ++ name ++ " {d}: expected a whole number up to {d}",
            .{ value, max },
        );
    }
    return @intFromFloat(value);
}
