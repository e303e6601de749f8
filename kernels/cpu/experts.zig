//! What a mixture of experts computes around its products (product.zig): the scores of the experts,
//! which of them each token gets, and the sum of what they give.
//!
//! A token and one of its experts are a slot. Slots stand in the order of their experts, so that
//! the tokens of an expert lie side by side and its weight is read once for all of them. Nothing
//! that a token gets depends on its neighbours.
const std = @import("std");
const across = @import("across.zig");
const exponential = @import("exponential.zig");
const half = @import("half.zig");
const product = @import("product.zig");
const Share = @import("share.zig").Share;

const F = half.F;

/// Which experts a batch goes through.
pub const Routing = extern struct {
    n_expert: usize,
    n_used: usize,
    n_tokens: usize,
    /// [n_used, n_tokens]: where the experts of each token stand, the best one first.
    slots: [*]u32,
    /// [n_used, n_tokens]: their parts of the sum.
    weights: [*]f32,
    /// [n_used * n_tokens]: the token of each slot.
    tokens: [*]i32,
    /// [n_expert + 1]: the first slot of each expert, and the end of all.
    starts: [*]u32,

    /// Numbers of 4 bytes that it takes.
    pub fn len(n_expert: usize, n_used: usize, n_tokens: usize) usize {
        return 3 * n_used * n_tokens + n_expert + 1;
    }

    /// The one that lies in `words`.
    pub fn of(words: [*]u32, n_expert: usize, n_used: usize, n_tokens: usize) Routing {
        const n_slots = n_used * n_tokens;
        return .{
            .n_expert = n_expert,
            .n_used = n_used,
            .n_tokens = n_tokens,
            .slots = words,
            .weights = @ptrCast(words + n_slots),
            .tokens = @ptrCast(words + 2 * n_slots),
            .starts = words + 3 * n_slots,
        };
    }

    /// The tokens of an expert.
    pub fn tokensOf(routing: *const Routing, expert: usize) []const i32 {
        return routing.tokens[routing.starts[expert]..routing.starts[expert + 1]];
    }
};

/// Rows f32 [n_embd, n_tokens] and the router f32 [n_embd, n_expert], n_embd a multiple of 32.
pub const Rows = extern struct {
    values: [*]const f32,
    /// Floats from one row to the next.
    stride: usize,
    router: [*]const f32,
    n_embd: usize,
    n_expert: usize,
    n_tokens: usize,
};

/// The functions of one variant.
pub const Functions = extern struct {
    /// Products of the router with each row: f32 [n_expert, n_tokens].
    score: *const fn (rows: *const Rows, scores: [*]f32, share: Share) callconv(.c) void,
    /// The weighted sums of what the experts of each token gave, `sums` f32 [n_out, n_slots], and
    /// of `added` if there is some: f32 [n_out, n_tokens], n_out a multiple of 16.
    combine: *const fn (
        routing: *const Routing,
        sums: [*]const f32,
        n_out: usize,
        added: ?[*]const f32,
        out: [*]f32,
        share: Share,
    ) callconv(.c) void,
};

/// Those of the CPU that this module is compiled for.
pub const vector: Functions = .{ .score = &score, .combine = &combine };

fn score(rows: *const Rows, scores: [*]f32, share: Share) callconv(.c) void {
    const first, const end = share.of(rows.n_tokens * rows.n_expert);
    for (first..end) |i| {
        const values = rows.values + i / rows.n_expert * rows.stride;
        const weights = rows.router + i % rows.n_expert * rows.n_embd;
        var sums: [2]F = @splat(@splat(0));
        var k: usize = 0;
        while (k < rows.n_embd) : (k += sums.len * half.lanes) {
            inline for (&sums, 0..) |*sum, j| {
                const at = k + j * half.lanes;
                const part = values[at..][0..half.lanes].*;
                sum.* = half.multiplyAdd(part, weights[at..][0..half.lanes].*, sum.*);
            }
        }
        scores[i] = across.all(.sum, sums[0] + sums[1]);
    }
}

fn combine(
    routing: *const Routing,
    sums: [*]const f32,
    n_out: usize,
    added: ?[*]const f32,
    out: [*]f32,
    share: Share,
) callconv(.c) void {
    const n_parts = n_out / half.lanes;
    const first, const end = share.of(routing.n_tokens * n_parts);
    for (first..end) |i| {
        const choice = i / n_parts * routing.n_used;
        const column = i % n_parts * half.lanes;
        var sum: F = @splat(0);
        for (choice..choice + routing.n_used) |c| {
            const row = sums + routing.slots[c] * n_out;
            sum = half.multiplyAdd(@splat(routing.weights[c]), row[column..][0..half.lanes].*, sum);
        }
        const at = i * half.lanes;
        if (added) |a| sum += @as(F, a[at..][0..half.lanes].*);
        out[at..][0..half.lanes].* = sum;
    }
}

/// Gives each token the experts of its best scores, f32 [n_expert, n_tokens], and puts the slots in
/// the order of the experts. Of equal scores the first wins.
pub fn route(routing: *const Routing, scores: [*]const f32) void {
    const n_used = routing.n_used;
    for (0..routing.n_tokens) |t| {
        const of_token = scores[t * routing.n_expert ..][0..routing.n_expert];
        const chosen = routing.slots[t * n_used ..][0..n_used];
        choose(of_token, chosen);
        weigh(of_token, chosen, routing.weights[t * n_used ..][0..n_used]);
    }
    group(routing);
}

/// The numbers of the best scores, sorted. What is no number is never better, nor worse.
fn choose(scores: []const f32, chosen: []u32) void {
    for (scores, 0..) |candidate, expert| {
        var at = @min(expert, chosen.len);
        while (at > 0 and candidate > scores[chosen[at - 1]]) : (at -= 1) {
            if (at < chosen.len) chosen[at] = chosen[at - 1];
        }
        if (at < chosen.len) chosen[at] = @intCast(expert);
    }
}

/// The soft max over the chosen scores: that over all of them, divided by the sum of the chosen.
fn weigh(scores: []const f32, chosen: []const u32, weights: []f32) void {
    var sum: f32 = 0;
    for (weights, chosen) |*weight, expert| {
        weight.* = exponential.exp(scores[expert] - scores[chosen[0]]);
        sum += weight.*;
    }
    for (weights) |*weight| weight.* /= sum;
}

/// Turns the experts that stand in `slots` into slots.
fn group(routing: *const Routing) void {
    const choices = routing.slots[0 .. routing.n_used * routing.n_tokens];
    const starts = routing.starts[0 .. routing.n_expert + 1];
    @memset(starts, 0);
    for (choices) |expert| starts[expert + 1] += 1;
    for (starts[1..], starts[0..routing.n_expert]) |*start, before| start.* += before;
    for (choices, 0..) |*choice, i| {
        const slot = starts[choice.*];
        starts[choice.*] += 1;
        routing.tokens[slot] = @intCast(i / routing.n_used);
        choice.* = slot;
    }
    // Each start has moved on to the next one.
    std.mem.copyBackwards(u32, starts[1..], starts[0..routing.n_expert]);
    starts[0] = 0;
}
