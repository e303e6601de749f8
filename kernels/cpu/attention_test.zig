//! Attention of every variant that this CPU has, against the soft max in double precision.
const std = @import("std");
const attention = @import("attention.zig");
const variant = @import("variant.zig");
const Share = @import("share.zig").Share;
const testing = std.testing;
const allocator = testing.allocator;

/// Two sequences of different lengths in one cache.
const Case = struct {
    const n_tokens = 2;
    q: []f32,
    k: []f16,
    v: []f16,
    mask: []f16,
    args: attention.Args,

    fn init(
        n_embd_head: usize,
        n_head: usize,
        n_head_kv: usize,
        n_kv: usize,
        lengths: [n_tokens]usize,
    ) !Case {
        var prng: std.Random.DefaultPrng = .init(n_embd_head);
        const random = prng.random();
        const row = n_embd_head * n_head_kv;
        // Cells past the longest sequence, so that strides differ from sizes.
        const n_cells = 300;
        const q = try allocator.alloc(f32, n_embd_head * n_head * n_tokens);
        const k = try allocator.alloc(f16, row * n_cells * n_tokens);
        const v = try allocator.alloc(f16, k.len);
        const mask = try allocator.alloc(f16, n_kv * n_tokens);
        for (q) |*x| x.* = random.floatNorm(f32);
        for (k, v) |*x, *y| {
            x.* = @floatCast(random.floatNorm(f32));
            y.* = @floatCast(random.floatNorm(f32));
        }
        for (mask, 0..) |*x, i| {
            x.* = if (i % n_kv < lengths[i / n_kv]) 0 else -std.math.inf(f16);
        }
        return .{ .q = q, .k = k, .v = v, .mask = mask, .args = .{
            .q = q.ptr,
            .q_stride = n_embd_head * n_head,
            .k = @ptrCast(k.ptr),
            .v = @ptrCast(v.ptr),
            .head_stride = n_embd_head,
            .cell_stride = row,
            .stream_stride = row * n_cells,
            .mask = mask.ptr,
            .mask_stride = n_kv,
            .n_embd_head = n_embd_head,
            .n_head = n_head,
            .n_head_kv = n_head_kv,
            .n_kv = n_kv,
            .n_tokens = n_tokens,
            .per_stream = 1,
            .scale = 0.3,
        } };
    }

    fn deinit(case: *Case) void {
        allocator.free(case.q);
        allocator.free(case.k);
        allocator.free(case.v);
        allocator.free(case.mask);
    }

    fn attend(
        case: *const Case,
        kernels: *const attention.Functions,
        count: usize,
        out: []f32,
    ) !void {
        const a = case.args;
        const partials = try allocator.alloc(f32, attention.partialLen(&a));
        defer allocator.free(partials);
        @memset(partials, std.math.nan(f32));
        for (0..count) |i| {
            kernels.attend(&a, partials.ptr, .{ .index = i, .count = count });
        }
        for (0..count) |i| {
            const share: Share = .{ .index = i, .count = count };
            kernels.merge(&a, partials.ptr, out.ptr, share);
        }
    }

    /// Value `d` of head `head` of a token.
    fn expected(case: *const Case, token: usize, head: usize, d: usize) f64 {
        const a = case.args;
        const q = case.q[token * a.q_stride + head * a.n_embd_head ..];
        const first = token * a.stream_stride + head / (a.n_head / a.n_head_kv) * a.head_stride;
        var sum: f64 = 0;
        var values: f64 = 0;
        for (0..a.n_kv) |cell| {
            if (case.mask[token * a.n_kv + cell] != 0) continue;
            var dot: f64 = 0;
            for (0..a.n_embd_head) |i| {
                dot += @as(f64, q[i]) * @as(f64, case.k[first + cell * a.cell_stride + i]);
            }
            const weight = @exp(dot * 0.3);
            sum += weight;
            values += weight * @as(f64, case.v[first + cell * a.cell_stride + d]);
        }
        return values / sum;
    }
};

test "attend() and merge() give the soft max of every head size and group, on every variant" {
    for (attention.head_sizes, 0..) |size, i| {
        const group = ([_]usize{ 1, 3, 4, 7, 2, 5 })[i];
        var case: Case = try .init(size, 2 * group, 2, 160, .{ 150, 1 });
        defer case.deinit();
        const out = try allocator.alloc(f32, size * 2 * group * Case.n_tokens);
        defer allocator.free(out);
        for (variant.runnable()) |kernels| {
            @memset(out, std.math.nan(f32));
            try case.attend(&kernels.attention, 1, out);
            for (out, 0..) |found, at| {
                const head = at / size % (2 * group);
                const expected = case.expected(at / size / (2 * group), head, at % size);
                try testing.expectApproxEqAbs(expected, found, 2e-5);
            }
        }
    }
}

test "attend() gives a token the same bits for any shares and any cells that it does not see" {
    const size = 64;
    var short: Case = try .init(size, 9, 3, 65, .{ 65, 20 });
    defer short.deinit();
    var long: Case = try .init(size, 9, 3, 257, .{ 65, 20 });
    defer long.deinit();
    var expected: [size * 9 * 2]f32 = undefined;
    var found: [size * 9 * 2]f32 = undefined;
    for (variant.runnable()) |kernels| {
        try short.attend(&kernels.attention, 1, &expected);
        for ([_]usize{ 1, 2, 3, 5, 64 }) |count| {
            for ([_]*const Case{ &short, &long }) |case| {
                try case.attend(&kernels.attention, count, &found);
                try testing.expectEqualSlices(
                    u8,
                    std.mem.sliceAsBytes(&expected),
                    std.mem.sliceAsBytes(&found),
                );
            }
        }
    }
}

test "attend_whole() gives each token the bits that it has alone" {
    const size = 64;
    const lengths = [_]usize{ 150, 70 };
    var case: Case = try .init(size, 9, 3, 160, lengths);
    defer case.deinit();
    var alone: [size * 9 * 2]f32 = undefined;
    var together: [size * 9 * 2]f32 = undefined;
    // Both tokens are of the first stream now.
    case.args.per_stream = 2;
    for (variant.runnable()) |kernels| {
        for ([_]usize{ 1, 2, 3, 7 }) |count| {
            for (0..count) |i| {
                const share: Share = .{ .index = i, .count = count };
                kernels.attention.attend_whole(&case.args, &together, share);
            }
            try case.attend(&kernels.attention, count, &alone);
            try testing.expectEqualSlices(
                u8,
                std.mem.sliceAsBytes(&alone),
                std.mem.sliceAsBytes(&together),
            );
        }
    }
}

test "accepts() knows the sizes that have kernels" {
    try testing.expect(attention.accepts(64));
    try testing.expect(!attention.accepts(0));
    try testing.expect(!attention.accepts(72));
}
