//! The loops over a row of logits, compiled once for each CPU variant, and the plain loops that
//! say what they must give. Both give the same bits: only whole numbers are summed.
const std = @import("std");
const exponential = @import("exponential.zig");

/// A logit and its id as one number that sorts: larger logits first, then lower ids. The largest
/// key is the most likely token.
pub const Key = u64;

/// Weight of the most likely token. Weights are whole numbers, so that sums have no order.
pub const weight_one: u32 = 1 << 30;

/// Index of the largest value, the lowest of equals; null if every value is NaN.
pub const Argmax = *const fn (values: [*]const f32, n: usize) callconv(.c) isize;
/// Writes the keys of the `k` largest values above -inf to `keys`, in no order, and returns how
/// many there are. `keys` has room for selectRoom(k).
pub const Select = *const fn (
    values: [*]const f32,
    n: usize,
    k: usize,
    keys: [*]Key,
) callconv(.c) usize;
/// Weighs every value: weight_one * e^((value - max) / temperature) where value - max >= cut, else
/// 0. Returns the sum and how many passed the cut.
pub const Weigh = *const fn (
    values: [*]const f32,
    n: usize,
    scale: *const Scale,
    weights: [*]u32,
    n_kept: *usize,
) callconv(.c) u64;
/// Index of the first weight where the running sum exceeds `target`, which is less than the sum.
pub const Find = *const fn (weights: [*]const u32, n: usize, target: u64) callconv(.c) usize;

pub const Scale = extern struct {
    /// The largest value.
    max: f32,
    /// 1 / temperature.
    inverse_temperature: f32 = 1,
    /// Values further below `max` than this are left out; -inf keeps all that are above -inf.
    cut: f32 = -std.math.inf(f32),

    /// Weight of one value as a fraction of the largest one's.
    pub inline fn weigh(scale: *const Scale, value: f32) f32 {
        return exponential.exp((value - scale.max) * scale.inverse_temperature);
    }
};

/// The functions of one variant.
pub const Functions = extern struct { argmax: Argmax, select: Select, weigh: Weigh, find: Find };

/// Keys that `select` needs room for.
pub fn selectRoom(k: usize) usize {
    return k + @max(k, 64) + lanes;
}

const lanes = 16;
const F = @Vector(lanes, f32);
const U = @Vector(lanes, u32);

/// The vector loops, for the CPU that this module is compiled for.
pub const vector: Functions = .{
    .argmax = &argmax,
    .select = &select,
    .weigh = &weigh,
    .find = &find,
};

fn argmax(values: [*]const f32, n: usize) callconv(.c) isize {
    // Large enough that the one comparison at its end costs nothing, small enough to search again.
    const block = 1024;
    var max = -std.math.inf(f32);
    var found: usize = 0;
    var i: usize = 0;
    while (i + block <= n) : (i += block) {
        const peak = largest(values[i..][0..block]);
        if (peak > max) {
            max = peak;
            found = i;
        }
    }
    for (values[i..n], i..) |value, at| {
        if (value > max) {
            max = value;
            found = at;
        }
    }
    // The first of equals lies in the block where the maximum was first seen.
    for (values[found..n], found..) |value, at| if (value == max) return @intCast(at);
    return -1;
}

/// Largest of the values that are numbers; -inf if none is.
inline fn largest(values: []const f32) f32 {
    const n_chains = 4; // of comparisons that do not wait for each other
    var max: [n_chains]F = @splat(@splat(-std.math.inf(f32)));
    var i: usize = 0;
    while (i < values.len) : (i += n_chains * lanes) {
        inline for (&max, 0..) |*m, chain| {
            const v: F = values[i + chain * lanes ..][0..lanes].*;
            m.* = @select(f32, v > m.*, v, m.*);
        }
    }
    var all = max[0];
    for (max[1..]) |m| all = @select(f32, m > all, m, all);
    return @reduce(.Max, all);
}

fn select(values: [*]const f32, n: usize, k: usize, keys: [*]Key) callconv(.c) usize {
    const room = selectRoom(k);
    var count: usize = 0;
    // A value that does not exceed it is not among the k largest of those seen.
    var threshold = -std.math.inf(f32);
    var i: usize = 0;
    while (i + lanes <= n) : (i += lanes) {
        const v: F = values[i..][0..lanes].*;
        if (!@reduce(.Or, v > @as(F, @splat(threshold)))) continue;
        for (values[i..][0..lanes], i..) |value, id| {
            if (!(value > threshold)) continue;
            keys[count] = keyOf(value, id);
            count += 1;
        }
        if (count + lanes > room) {
            keepLargest(keys[0..count], k);
            count = k;
            threshold = valueOf(std.mem.min(Key, keys[0..k]));
        }
    }
    for (values[i..n], i..) |value, id| {
        if (!(value > threshold)) continue;
        keys[count] = keyOf(value, id);
        count += 1;
    }
    if (count <= k) return count;
    keepLargest(keys[0..count], k);
    return k;
}

fn weigh(
    values: [*]const f32,
    n: usize,
    scale: *const Scale,
    weights: [*]u32,
    n_kept: *usize,
) callconv(.c) u64 {
    var sum: @Vector(lanes, u64) = @splat(0);
    var kept: U = @splat(0);
    const max: F = @splat(scale.max);
    const inverse_temperature: F = @splat(scale.inverse_temperature);
    const cut: F = @splat(scale.cut);
    const lowest: F = @splat(-std.math.inf(f32));
    const one: F = @splat(@floatFromInt(weight_one));
    var i: usize = 0;
    while (i + lanes <= n) : (i += lanes) {
        const v: F = values[i..][0..lanes].*;
        const below = v - max;
        const keep = (v > lowest) & (below >= cut);
        const e = exponential.exp(below * inverse_temperature) * one;
        const whole: @Vector(lanes, i32) = @intFromFloat(@select(f32, keep, e, @as(F, @splat(0))));
        const w: U = @bitCast(whole);
        weights[i..][0..lanes].* = w;
        sum += w;
        kept += @intFromBool(keep);
    }
    var total = @reduce(.Add, sum);
    var n_total: usize = @reduce(.Add, kept);
    for (values[i..n], weights[i..n]) |value, *weight| {
        weight.* = reference.weighOne(value, scale, &n_total);
        total += weight.*;
    }
    n_kept.* = n_total;
    return total;
}

fn find(weights: [*]const u32, n: usize, target: u64) callconv(.c) usize {
    const block = 16 * lanes;
    var sum: u64 = 0;
    var i: usize = 0;
    while (i + block <= n) : (i += block) {
        var part: @Vector(lanes, u64) = @splat(0);
        for (0..block / lanes) |j| part += @as(U, weights[i + j * lanes ..][0..lanes].*);
        const next = sum + @reduce(.Add, part);
        if (next > target) break;
        sum = next;
    }
    return i + reference.findFrom(weights[i..n], target - sum);
}

/// Moves the `k` largest of `keys` to its front, in no order.
fn keepLargest(keys: []Key, k: usize) void {
    var low: usize = 0;
    var high = keys.len;
    var rounds_left: usize = 2 * std.math.log2_int_ceil(usize, keys.len + 1);
    while (high - low > 8) : (rounds_left -= 1) {
        // Bad luck with every pivot: sort what is left.
        if (rounds_left == 0) break;
        const pivot = medianOf(keys[low], keys[low + (high - low) / 2], keys[high - 1]);
        // [low, a) is above the pivot, [a, b) not; keys are distinct, so both sides shrink.
        var a = low;
        for (low..high) |b| {
            if (keys[b] <= pivot) continue;
            std.mem.swap(Key, &keys[a], &keys[b]);
            a += 1;
        }
        if (k < a) high = a else if (k > a) low = a else return;
    }
    std.sort.pdq(Key, keys[low..high], {}, std.sort.desc(Key));
}

fn medianOf(a: Key, b: Key, c: Key) Key {
    return @max(@min(a, b), @min(@max(a, b), c));
}

fn keyOf(value: f32, id: usize) Key {
    // -0.0 and 0.0 are equal and must sort as such.
    const bits: u32 = @bitCast(value + 0.0);
    const sign: u32 = @bitCast(@as(i32, @bitCast(bits)) >> 31);
    const ordered = bits ^ (sign | 0x80000000);
    return @as(Key, ordered) << 32 | ~@as(u32, @intCast(id));
}

/// Value of a key.
pub fn valueOf(key: Key) f32 {
    const ordered: u32 = @truncate(key >> 32);
    const sign: u32 = @bitCast(@as(i32, @bitCast(~ordered)) >> 31);
    return @bitCast(ordered ^ (sign | 0x80000000));
}

/// Id of a key.
pub fn idOf(key: Key) u32 {
    return ~@as(u32, @truncate(key));
}

/// The same functions, one value at a time.
pub const reference = struct {
    pub const functions: Functions = .{
        .argmax = &referenceArgmax,
        .select = &referenceSelect,
        .weigh = &referenceWeigh,
        .find = &referenceFind,
    };

    fn referenceArgmax(values: [*]const f32, n: usize) callconv(.c) isize {
        var found: isize = -1;
        for (values[0..n], 0..) |value, i| {
            if (std.math.isNan(value)) continue;
            if (found < 0 or value > values[@intCast(found)]) found = @intCast(i);
        }
        return found;
    }

    fn referenceSelect(values: [*]const f32, n: usize, k: usize, keys: [*]Key) callconv(.c) usize {
        // The smallest of the kept keys goes when a larger one comes.
        var count: usize = 0;
        for (values[0..n], 0..) |value, id| {
            if (!(value > -std.math.inf(f32))) continue;
            const key = keyOf(value, id);
            if (count < k) {
                keys[count] = key;
                count += 1;
                continue;
            }
            const least = std.mem.findMin(Key, keys[0..k]);
            if (key > keys[least]) keys[least] = key;
        }
        return count;
    }

    fn referenceWeigh(
        values: [*]const f32,
        n: usize,
        scale: *const Scale,
        weights: [*]u32,
        n_kept: *usize,
    ) callconv(.c) u64 {
        var total: u64 = 0;
        n_kept.* = 0;
        for (values[0..n], weights[0..n]) |value, *weight| {
            weight.* = weighOne(value, scale, n_kept);
            total += weight.*;
        }
        return total;
    }

    fn weighOne(value: f32, scale: *const Scale, n_kept: *usize) u32 {
        if (!(value > -std.math.inf(f32)) or !(value - scale.max >= scale.cut)) return 0;
        n_kept.* += 1;
        return @intFromFloat(scale.weigh(value) * weight_one);
    }

    fn referenceFind(weights: [*]const u32, n: usize, target: u64) callconv(.c) usize {
        return findFrom(weights[0..n], target);
    }

    fn findFrom(weights: []const u32, target: u64) usize {
        var sum: u64 = 0;
        for (weights, 0..) |weight, i| {
            sum += weight;
            if (sum > target) return i;
        }
        unreachable; // target is less than the sum
    }
};
