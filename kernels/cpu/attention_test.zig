//! Attention of every variant that this CPU has, against the soft max in double precision.
const std = @import("std");
const attention = @import("attention.zig");
const cell = @import("cell.zig");
const cell_test = @import("cell_test.zig");
const variant = @import("variant.zig");
const Share = @import("share.zig").Share;
const Taken = @import("share.zig").Taken;
const testing = std.testing;
const allocator = testing.allocator;

/// The most shares that tests divide a work into.
const shares_most = 64;

/// Sequences of different lengths whose blocks lie between each other's, back to front.
const Case = struct {
    const n_blocks = 4;
    const scale = 0.3;

    q: []f32,
    /// The numbers that the cells hold.
    k: []f32,
    v: []f32,
    k_cells: []u8,
    v_cells: []u8,
    blocks: []i32,
    n_seen: []i32,
    args: attention.Args,

    const Heads = struct { size: usize, n: usize, n_kv: usize };

    fn init(type_: cell.Type, heads: Heads, per_stream: usize, n_seen: []const i32) !Case {
        var prng: std.Random.DefaultPrng = .init(heads.size);
        const random = prng.random();
        const n_streams = n_seen.len / per_stream;
        const row = heads.size * heads.n_kv;
        const n_cells = n_streams * n_blocks * attention.chunk_len;
        const q = try allocator.alloc(f32, heads.size * heads.n * n_seen.len);
        for (q) |*x| x.* = random.floatNorm(f32);
        const blocks = try allocator.alloc(i32, n_blocks * n_streams);
        for (blocks, 0..) |*block, i| {
            const from_end = n_blocks - 1 - i % n_blocks;
            block.* = @intCast(from_end * n_streams + i / n_blocks);
        }
        var case: Case = .{
            .q = q,
            .k = try allocator.alloc(f32, row * n_cells),
            .v = try allocator.alloc(f32, row * n_cells),
            .k_cells = try allocator.alloc(u8, type_.bytes(row) * n_cells),
            .v_cells = try allocator.alloc(u8, type_.bytes(row) * n_cells),
            .blocks = blocks,
            .n_seen = try allocator.dupe(i32, n_seen),
            .args = undefined,
        };
        fill(type_, random, row, case.k, case.k_cells);
        fill(type_, random, row, case.v, case.v_cells);
        case.args = .{
            .q = q.ptr,
            .q_stride = heads.size * heads.n,
            .k = case.k_cells.ptr,
            .v = case.v_cells.ptr,
            .type = type_,
            .cell_bytes = type_.bytes(row),
            .blocks = blocks.ptr,
            .n_blocks = n_blocks,
            .n_seen = case.n_seen.ptr,
            .n_embd_head = heads.size,
            .n_head = heads.n,
            .n_head_kv = heads.n_kv,
            .n_tokens = n_seen.len,
            .per_stream = per_stream,
            .scale = scale,
        };
        case.spoilUnseen();
        return case;
    }

    fn fill(type_: cell.Type, random: std.Random, row: usize, values: []f32, cells: []u8) void {
        for (values) |*x| x.* = random.floatNorm(f32);
        const bytes = type_.bytes(row);
        for (0..values.len / row) |i| {
            const to = cells[bytes * i ..][0..bytes];
            cell.store(type_, values.ptr + row * i, row, to.ptr);
            cell_test.read(type_, to, values[row * i ..][0..row]);
        }
    }

    /// Where nothing was written yet, anything may lie.
    fn spoilUnseen(case: *Case) void {
        const a = case.args;
        for (0..a.n_tokens / a.per_stream) |stream| {
            const n_seen: usize = @intCast(case.n_seen[(stream + 1) * a.per_stream - 1]);
            for (n_seen..n_blocks * attention.chunk_len) |position| {
                const at = case.cellOf(stream, position) * a.cell_bytes;
                for ([_][]u8{ case.k_cells, case.v_cells }) |cells| {
                    @memset(cells[at..][0..a.cell_bytes], 0xff);
                }
            }
        }
    }

    fn deinit(case: *Case) void {
        inline for (.{ "q", "k", "v", "k_cells", "v_cells", "blocks", "n_seen" }) |name| {
            allocator.free(@field(case, name));
        }
    }

    fn cellOf(case: *const Case, stream: usize, position: usize) usize {
        const block: usize = @intCast(case.blocks[stream * n_blocks + position / 64]);
        return block * 64 + position % 64;
    }

    fn outLen(case: *const Case) usize {
        return case.args.n_embd_head * case.args.n_head * case.args.n_tokens;
    }

    /// By partial sums, one after another as so many threads would.
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
        @memset(out, std.math.nan(f32));
        var taken: [shares_most]Taken = @splat(.{});
        for (0..count) |i| {
            const share: Share = .{ .index = i, .count = count, .taken = &taken };
            kernels.attend(&a, partials.ptr, share);
        }
        for (0..count) |i| {
            const share: Share = .{ .index = i, .count = count };
            kernels.merge(&a, partials.ptr, out.ptr, share);
        }
    }

    fn attendWhole(
        case: *const Case,
        kernels: *const attention.Functions,
        count: usize,
        out: []f32,
    ) void {
        @memset(out, std.math.nan(f32));
        var taken: [shares_most]Taken = @splat(.{});
        for (0..count) |i| {
            const share: Share = .{ .index = i, .count = count, .taken = &taken };
            kernels.attend_whole(&case.args, out.ptr, share);
        }
    }

    /// The soft max of a head of a token.
    fn expected(case: *const Case, token: usize, head: usize, values: []f64) void {
        const a = case.args;
        const size = a.n_embd_head;
        const q = case.q[token * a.q_stride + head * size ..][0..size];
        const head_kv = head / (a.n_head / a.n_head_kv);
        var sum: f64 = 0;
        @memset(values, 0);
        for (0..@intCast(case.n_seen[token])) |position| {
            const row = case.cellOf(token / a.per_stream, position) * a.n_head_kv + head_kv;
            var dot: f64 = 0;
            for (q, case.k[row * size ..][0..size]) |x, y| dot += @as(f64, x) * y;
            const weight = @exp(dot * scale);
            sum += weight;
            for (values, case.v[row * size ..][0..size]) |*value, x| value.* += weight * x;
        }
        for (values) |*value| value.* /= sum;
    }

    fn expectSoftMax(case: *const Case, out: []const f32) !void {
        const size = case.args.n_embd_head;
        var values: [512]f64 = undefined;
        for (0..out.len / size) |i| {
            case.expected(i / case.args.n_head, i % case.args.n_head, values[0..size]);
            for (values[0..size], out[size * i ..][0..size]) |wanted, found| {
                try testing.expectApproxEqAbs(wanted, found, 2e-5);
            }
        }
    }
};

fn expectSameBits(expected: []const f32, found: []const f32) !void {
    try testing.expectEqualSlices(
        u8,
        std.mem.sliceAsBytes(expected),
        std.mem.sliceAsBytes(found),
    );
}

const types = std.enums.values(cell.Type);

test "attend() and merge() give the soft max of every type, head size and group, on every variant" {
    for ([_]usize{ 16, 32, 80, 64, 160, 256 }, 0..) |size, i| {
        const group = ([_]usize{ 1, 3, 4, 7, 2, 5 })[i];
        for (types) |type_| {
            if (!attention.accepts(type_, size)) continue;
            const heads: Case.Heads = .{ .size = size, .n = 2 * group, .n_kv = 2 };
            var case: Case = try .init(type_, heads, 1, &.{ 150, 1, 64 });
            defer case.deinit();
            const out = try allocator.alloc(f32, case.outLen());
            defer allocator.free(out);
            for (variant.runnable()) |kernels| {
                try case.attend(&kernels.attention, 1, out);
                try case.expectSoftMax(out);
            }
        }
    }
}

test "attend_whole() gives the same" {
    for ([_]usize{ 16, 64, 80, 512 }, 0..) |size, i| {
        const group = ([_]usize{ 5, 3, 1, 2 })[i];
        const heads: Case.Heads = .{ .size = size, .n = 2 * group, .n_kv = 2 };
        var n_seen: [30]i32 = undefined;
        for (&n_seen, 0..) |*n, token| n.* = @intCast(token + 50 + token / 15 * 20);
        for (types) |type_| {
            if (!attention.accepts(type_, size)) continue;
            var case: Case = try .init(type_, heads, 15, &n_seen);
            defer case.deinit();
            const out = try allocator.alloc(f32, case.outLen());
            defer allocator.free(out);
            for (variant.runnable()) |kernels| {
                case.attendWhole(&kernels.attention, 1, out);
                try case.expectSoftMax(out);
            }
        }
    }
}

test "a token has the same bits for any shares, and where less of its sequence has blocks" {
    const heads: Case.Heads = .{ .size = 64, .n = 9, .n_kv = 3 };
    var case: Case = try .init(.f16, heads, 1, &.{ 65, 20 });
    defer case.deinit();
    const expected = try allocator.alloc(f32, case.outLen());
    defer allocator.free(expected);
    const found = try allocator.alloc(f32, case.outLen());
    defer allocator.free(found);
    for (variant.runnable()) |kernels| {
        try case.attend(&kernels.attention, 1, expected);
        for ([_]usize{ 1, 2, 3, 5, 64 }) |count| {
            try case.attend(&kernels.attention, count, found);
            try expectSameBits(expected, found);
        }
        // The second sequence alone, with the one block that it needs.
        var alone = case;
        alone.args.q = case.args.q.? + case.args.q_stride;
        alone.args.blocks = case.args.blocks.? + Case.n_blocks;
        alone.args.n_seen = case.args.n_seen.? + 1;
        alone.args.n_blocks = 1;
        alone.args.n_tokens = 1;
        try alone.attend(&kernels.attention, 2, found[0..alone.outLen()]);
        try expectSameBits(expected[alone.outLen()..], found[0..alone.outLen()]);
    }
}

test "attend() divides the keys that a token sees among the shares, and no empty blocks" {
    const heads: Case.Heads = .{ .size = 64, .n = 9, .n_kv = 3 };
    var case: Case = try .init(.f16, heads, 1, &.{40});
    defer case.deinit();
    const partials = try allocator.alloc(f32, attention.partialLen(&case.args));
    defer allocator.free(partials);
    const size = partials.len / (heads.n * Case.n_blocks);
    for (variant.runnable()) |kernels| for (0..heads.n_kv) |index| {
        @memset(partials, std.math.nan(f32));
        const share: Share = .{ .index = index, .count = heads.n_kv };
        kernels.attention.attend(&case.args, partials.ptr, share);
        var n_found: usize = 0;
        for (0..heads.n * Case.n_blocks) |partial| {
            if (!std.math.isNan(partials[partial * size])) n_found += 1;
        }
        try testing.expectEqual(heads.n / heads.n_kv, n_found);
    };
}

test "a token has the same bits in a prompt as alone, of every type, on every variant" {
    var n_seen: [150]i32 = undefined;
    for (&n_seen, 0..) |*n, token| n.* = @intCast(token + 1);
    for (types) |type_| {
        for ([_]usize{ 1, 3, 4 }) |group| {
            const heads: Case.Heads = .{ .size = 96, .n = 2 * group, .n_kv = 2 };
            var case: Case = try .init(type_, heads, n_seen.len, &n_seen);
            defer case.deinit();
            const alone = try allocator.alloc(f32, case.outLen());
            defer allocator.free(alone);
            const together = try allocator.alloc(f32, case.outLen());
            defer allocator.free(together);
            for (variant.runnable()) |kernels| {
                try case.attend(&kernels.attention, 3, alone);
                for ([_]usize{ 1, 2, 3, 7 }) |count| {
                    case.attendWhole(&kernels.attention, count, together);
                    try expectSameBits(alone, together);
                }
            }
        }
    }
}

test "what only later tokens see does not touch earlier ones, not even when it is infinite" {
    const heads: Case.Heads = .{ .size = 32, .n = 2, .n_kv = 1 };
    var case: Case = try .init(.f32, heads, 4, &.{ 61, 62, 63, 64 });
    defer case.deinit();
    const out = try allocator.alloc(f32, case.outLen());
    defer allocator.free(out);
    const last = case.v_cells[case.cellOf(0, 63) * case.args.cell_bytes ..][0..4];
    std.mem.writeInt(u32, last, @bitCast(std.math.inf(f32)), .little);
    for (variant.runnable()) |kernels| {
        case.attendWhole(&kernels.attention, 1, out);
        try case.expectSoftMax(out[0 .. 3 * 2 * 32]);
        try testing.expect(std.math.isInf(out[3 * 2 * 32]));
    }
}

test "accepts() takes heads of whole vectors, and of whole blocks where cells have blocks" {
    try testing.expect(attention.accepts(.f16, 16));
    try testing.expect(attention.accepts(.f16, 80));
    try testing.expect(!attention.accepts(.q8_0, 80));
    try testing.expect(attention.accepts(.q8_0, 96));
    try testing.expect(!attention.accepts(.f32, 0));
    try testing.expect(!attention.accepts(.f32, 72));
    try testing.expect(!attention.accepts(.f32, 528));
}
