//! From a row of logits to a token: repeat penalty, top-k, top-p, min-p, temperature, draw.
//!
//! Each step keeps a front part of the candidates in order of likelihood, equal logits in order of
//! id; a logit of -inf (a masked token) or NaN is no candidate. Probabilities that decide are whole
//! numbers and the random number belongs to (seed, position), so the token depends on nothing else:
//! not on the CPU variant, threads, batch or the order of sums.
const std = @import("std");
const failure = @import("../failure.zig");
const logits = @import("logits.zig");
const philox = @import("philox.zig").philox;
const scratch = @import("scratch.zig");
const exponential = @import("exponential.zig");
const Key = logits.Key;

/// Lower temperatures are taken as 0: their inverse leaves the range of floats.
const temperature_min = 1e-8;

/// The steps of the chain; the defaults do nothing.
pub const Params = struct {
    /// 0 or less: the most likely token.
    temperature: f32 = 1,
    /// 0 or less: all.
    top_k: usize = 0,
    /// Keeps the fewest tokens whose probabilities add up to it; 1 or more: all.
    top_p: f32 = 1,
    /// Keeps tokens with this fraction of the largest probability; 0 or less: all.
    min_p: f32 = 0,
    /// Divides positive and multiplies other logits of tokens in the history.
    repeat_penalty: f32 = 1,
    seed: u32 = 0,
    position: u64 = 0,
};

/// What the chain leaves. Lives in the thread's scratch memory until its next sample.
const Candidates = union(enum) {
    /// One token, without a draw.
    only: u32,
    /// Most likely first, with weights.
    list: struct { keys: []const Key, weights: []const u32, total: u64 },
    /// Every id of the row has a weight, 0 for those left out.
    row: struct { values: []const f32, weights: []const u32, total: u64, count: usize },
};

/// Draws a token.
pub fn sample(
    functions: *const logits.Functions,
    row: []const f32,
    params: Params,
    history: []const i32,
) failure.Error!u32 {
    var memory = try begin(row.len);
    switch (try chain(functions, row, params, history, &memory)) {
        .only => |id| return id,
        .list => |list| {
            const target = draw(params, list.total);
            const found = functions.find(list.weights.ptr, list.weights.len, target);
            return logits.idOf(list.keys[found]);
        },
        .row => |all| {
            const target = draw(params, all.total);
            return @intCast(functions.find(all.weights.ptr, all.weights.len, target));
        },
    }
}

/// Writes what the chain leaves, most likely first, as far as there is room, and returns how many
/// candidates there are.
pub fn candidates(
    functions: *const logits.Functions,
    row: []const f32,
    params: Params,
    history: []const i32,
    ids: []i32,
    probabilities: []f32,
) failure.Error!usize {
    var memory = try begin(row.len);
    switch (try chain(functions, row, params, history, &memory)) {
        .only => |id| {
            if (ids.len != 0) {
                ids[0] = @intCast(id);
                probabilities[0] = 1;
            }
            return 1;
        },
        .list => |list| {
            report(list.keys, params, list.total, ids, probabilities);
            return list.keys.len;
        },
        .row => |all| {
            // Those left out are the least likely, so the front of all is the front of the rest.
            const n = @min(ids.len, all.count);
            const keys = memory.take(Key, logits.selectRoom(row.len));
            const front = sortedFront(functions, all.values, n, keys);
            report(front, params, all.total, ids, probabilities);
            return all.count;
        },
    }
}

fn begin(n: usize) failure.Error!scratch.Scratch {
    const size = scratch.sizeOf(f32, n) + scratch.sizeOf(u32, n) +
        scratch.sizeOf(Key, logits.selectRoom(n));
    return scratch.begin(size) orelse
        failure.set("Cannot sample from {d} logits: out of memory", .{n});
}

fn chain(
    functions: *const logits.Functions,
    row: []const f32,
    params: Params,
    history: []const i32,
    memory: *scratch.Scratch,
) failure.Error!Candidates {
    const values = try penalize(row, params.repeat_penalty, history, memory);
    const best = functions.argmax(values.ptr, values.len);
    const max = if (best < 0) -std.math.inf(f32) else values[@intCast(best)];
    if (max == -std.math.inf(f32)) {
        return failure.set("Cannot sample: none of {d} logits is a number above -inf", .{row.len});
    }
    if (params.temperature < temperature_min or max == std.math.inf(f32)) {
        return .{ .only = @intCast(best) };
    }
    const all: logits.Scale = .{ .max = max };
    const final: logits.Scale = .{
        .max = max,
        .inverse_temperature = 1 / params.temperature,
        .cut = exponential.inverse(params.min_p),
    };
    const weights = memory.take(u32, row.len);
    const cuts_k = params.top_k > 0 and params.top_k < row.len;
    if (!cuts_k and params.top_p >= 1) {
        var count: usize = undefined;
        const total = functions.weigh(values.ptr, row.len, &final, weights.ptr, &count);
        return .{
            .row = .{ .values = values, .weights = weights, .total = total, .count = count },
        };
    }
    var rest = memory.*;
    const keys = rest.take(Key, logits.selectRoom(row.len));
    const front = if (!cuts_k)
        nucleus(functions, values, &all, params.top_p, keys, weights)
    else
        nucleusOf(sortedFront(functions, values, params.top_k, keys), &all, params.top_p);
    return weighList(front, &final, weights);
}

/// The `k` most likely tokens, in order.
fn sortedFront(
    functions: *const logits.Functions,
    values: []const f32,
    k: usize,
    keys: []Key,
) []const Key {
    if (k == 0) return &.{};
    const n = functions.select(values.ptr, values.len, k, keys.ptr);
    std.sort.pdq(Key, keys[0..n], {}, std.sort.desc(Key));
    return keys[0..n];
}

/// The row with the penalty applied once to each token of the history.
fn penalize(
    row: []const f32,
    penalty: f32,
    history: []const i32,
    memory: *scratch.Scratch,
) failure.Error![]const f32 {
    if (penalty == 1 or history.len == 0) return row;
    const values = memory.take(f32, row.len);
    @memcpy(values, row);
    for (history) |id| {
        if (id < 0 or id >= row.len) {
            return failure.set(
                "Cannot penalize token {d}: the vocabulary has {d}",
                .{ id, row.len },
            );
        }
        const logit = row[@intCast(id)]; // from the row: a token that comes twice is penalized once
        values[@intCast(id)] = if (logit <= 0) logit * penalty else logit / penalty;
    }
    return values;
}

/// The fewest of the most likely tokens that together reach `top_p` of the whole row.
fn nucleus(
    functions: *const logits.Functions,
    values: []const f32,
    scale: *const logits.Scale,
    top_p: f32,
    keys: []Key,
    weights: []u32,
) []const Key {
    var count: usize = undefined;
    const total = functions.weigh(values.ptr, values.len, scale, weights.ptr, &count);
    var k: usize = 256;
    while (true) : (k *|= 8) {
        const front = sortedFront(functions, values, @min(k, count), keys);
        if (frontReaching(front, scale, top_p, total)) |reaching| return reaching;
        if (front.len == count) return front;
    }
}

/// The same, of tokens that are sorted already.
fn nucleusOf(keys: []const Key, scale: *const logits.Scale, top_p: f32) []const Key {
    if (top_p >= 1) return keys;
    var total: u64 = 0;
    for (keys) |key| total += weightOf(key, scale);
    return frontReaching(keys, scale, top_p, total) orelse keys;
}

fn frontReaching(
    keys: []const Key,
    scale: *const logits.Scale,
    top_p: f32,
    total: u64,
) ?[]const Key {
    const target = @as(f64, top_p) * @as(f64, @floatFromInt(total));
    var sum: u64 = 0;
    for (keys, 1..) |key, n| {
        sum += weightOf(key, scale);
        if (@as(f64, @floatFromInt(sum)) >= target) return keys[0..n];
    }
    return null;
}

/// Applies min-p and temperature to sorted tokens.
fn weighList(keys: []const Key, scale: *const logits.Scale, weights: []u32) Candidates {
    var total: u64 = 0;
    var n: usize = 0;
    for (keys) |key| {
        if (n != 0 and !(logits.valueOf(key) - scale.max >= scale.cut)) break;
        weights[n] = weightOf(key, scale);
        total += weights[n];
        n += 1;
    }
    return .{ .list = .{ .keys = keys[0..n], .weights = weights[0..n], .total = total } };
}

fn weightOf(key: Key, scale: *const logits.Scale) u32 {
    return @intFromFloat(scale.weigh(logits.valueOf(key)) * logits.weight_one);
}

fn report(
    keys: []const Key,
    params: Params,
    total: u64,
    ids: []i32,
    probabilities: []f32,
) void {
    if (keys.len == 0) return;
    const scale: logits.Scale = .{
        .max = logits.valueOf(keys[0]),
        .inverse_temperature = 1 / params.temperature,
    };
    const sum = @as(f64, @floatFromInt(total)) / logits.weight_one;
    const n = @min(ids.len, keys.len);
    for (keys[0..n], ids[0..n], probabilities[0..n]) |key, *id, *probability| {
        id.* = @intCast(logits.idOf(key));
        probability.* = @floatCast(scale.weigh(logits.valueOf(key)) / sum);
    }
}

/// A number below `total`, evenly.
fn draw(params: Params, total: u64) u64 {
    const position: [2]u32 = @bitCast(params.position);
    const random = philox(.{ position[0], position[1], 0, 0 }, .{ params.seed, 0 });
    const bits = @as(u64, random[1]) << 32 | random[0];
    return @intCast(@as(u128, bits) * total >> 64);
}
