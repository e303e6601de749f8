//! Turning and filling of every variant that this CPU has, against the definition.
const std = @import("std");
const cell = @import("cell.zig");
const rope = @import("rope.zig");
const variant = @import("variant.zig");
const testing = std.testing;
const allocator = testing.allocator;

const n_head = 3;
const n_head_kv = 2;
const n_tokens = 5;
const n_cells = 9;

/// Queries, keys and values of a batch lie in one row for each token, as a joined product has them.
const Case = struct {
    size: usize,
    n_dims: usize,
    values: []f32,
    table: []f32,
    rows: [n_tokens]i64 = .{ 7, 0, 3, 8, 1 },

    const n_heads = n_head + 2 * n_head_kv;

    fn init(size: usize, n_dims: usize) !Case {
        var prng: std.Random.DefaultPrng = .init(size + n_dims);
        const values = try allocator.alloc(f32, size * n_heads * n_tokens);
        const table = try allocator.alloc(f32, 2 * n_dims * n_tokens);
        for (values) |*x| {
            // From below the smallest half float to above the largest.
            const scale = std.math.pow(f32, 10, prng.random().float(f32) * 13 - 8);
            x.* = prng.random().floatNorm(f32) * scale;
        }
        for (table) |*x| x.* = prng.random().floatNorm(f32);
        return .{ .size = size, .n_dims = n_dims, .values = values, .table = table };
    }

    fn deinit(case: *Case) void {
        allocator.free(case.values);
        allocator.free(case.table);
    }

    fn run(
        case: *const Case,
        kernels: *const rope.Functions,
        pairs: rope.Pairs,
        type_: cell.Type,
        cells: [2][]u8,
        out: []f32,
        count: usize,
    ) void {
        const stride = case.size * n_heads;
        for (0..count) |index| kernels.rotate(&.{
            .q = case.values.ptr,
            .q_stride = stride,
            .k = case.values.ptr + n_head * case.size,
            .k_stride = stride,
            .v = case.values.ptr + (n_head + n_head_kv) * case.size,
            .v_stride = stride,
            .table = case.table.ptr,
            .k_cells = cells[0].ptr,
            .v_cells = cells[1].ptr,
            .cell = type_,
            .rows = &case.rows,
            .out = out.ptr,
            .pairs = pairs,
            .n_dims = case.n_dims,
            .n_embd_head = case.size,
            .n_head = n_head,
            .n_head_kv = n_head_kv,
            .n_tokens = n_tokens,
        }, .{ .index = index, .count = count });
    }

    /// Value `i` of a head of a token, turned.
    fn turned(case: *const Case, pairs: rope.Pairs, token: usize, head: usize, i: usize) f64 {
        const x = case.plain(token, head, i);
        if (i >= case.n_dims) return x;
        const table = case.table[token * 2 * case.n_dims ..];
        const y = case.plain(token, head, pairs.partner(i, case.n_dims));
        return x * table[i] + y * table[case.n_dims + i];
    }

    fn plain(case: *const Case, token: usize, head: usize, i: usize) f64 {
        return case.values[(token * n_heads + head) * case.size + i];
    }

    /// What turning may lose: two products rounded to f32.
    fn tolerance(case: *const Case, pairs: rope.Pairs, token: usize, head: usize, i: usize) f64 {
        if (i >= case.n_dims) return 0;
        const table = case.table[token * 2 * case.n_dims ..];
        const y = case.plain(token, head, pairs.partner(i, case.n_dims));
        const parts = @abs(case.plain(token, head, i) * table[i]) +
            @abs(y * table[case.n_dims + i]);
        return parts * 0x1p-23;
    }
};

fn expectNear(expected: f64, found: f64, tolerance: f64) !void {
    if (@abs(expected - found) <= tolerance or expected == found) return;
    std.debug.print("expected {d}, found {d}\n", .{ expected, found });
    return error.TestUnexpectedResult;
}

const sizes = [_][2]usize{ .{ 64, 64 }, .{ 80, 80 }, .{ 96, 32 }, .{ 48, 12 }, .{ 128, 128 } };

test "rotate() turns queries and writes keys and values, for any size and pairs" {
    for (sizes) |size_and_dims| {
        const size, const n_dims = size_and_dims;
        var case: Case = try .init(size, n_dims);
        defer case.deinit();
        const out = try allocator.alloc(f32, size * n_head * n_tokens);
        defer allocator.free(out);
        const keys = try allocator.alloc(f32, size * n_head_kv * n_cells);
        defer allocator.free(keys);
        const values = try allocator.alloc(f32, keys.len);
        defer allocator.free(values);
        for (variant.runnable()) |kernels| for (std.enums.values(rope.Pairs)) |pairs| {
            @memset(out, std.math.nan(f32));
            @memset(keys, 42);
            const cells = .{ std.mem.sliceAsBytes(keys), std.mem.sliceAsBytes(values) };
            case.run(&kernels.rope, pairs, .f32, cells, out, 3);
            for (0..n_tokens) |token| for (0..size) |i| {
                for (0..n_head) |head| try expectNear(
                    case.turned(pairs, token, head, i),
                    out[(token * n_head + head) * size + i],
                    case.tolerance(pairs, token, head, i),
                );
                for (0..n_head_kv) |head| {
                    const row: usize = @intCast(case.rows[token]);
                    const at = (row * n_head_kv + head) * size + i;
                    const tolerance = case.tolerance(pairs, token, n_head + head, i);
                    const key = case.turned(pairs, token, n_head + head, i);
                    try expectNear(key, keys[at], tolerance);
                    const value = case.plain(token, n_head + n_head_kv + head, i);
                    try testing.expectEqual(value, values[at]);
                }
            };
            // Cells of no token are left alone.
            for (keys[2 * n_head_kv * size ..][0 .. n_head_kv * size]) |x| {
                try testing.expectEqual(42, x);
            }
        };
    }
}

test "rotate() rounds to half floats as every processor does, on every variant" {
    for (sizes) |size_and_dims| {
        const size, const n_dims = size_and_dims;
        var case: Case = try .init(size, n_dims);
        defer case.deinit();
        const out = try allocator.alloc(f32, size * n_head * n_tokens);
        defer allocator.free(out);
        const floats = try allocator.alloc(f32, 2 * size * n_head_kv * n_cells);
        defer allocator.free(floats);
        const halves = try allocator.alloc(f16, floats.len);
        defer allocator.free(halves);
        const n = floats.len / 2;
        for (variant.runnable()) |kernels| {
            @memset(floats, 1);
            @memset(halves, 1);
            const wide = .{
                std.mem.sliceAsBytes(floats[0..n]), std.mem.sliceAsBytes(floats[n..]),
            };
            const narrow = .{
                std.mem.sliceAsBytes(halves[0..n]), std.mem.sliceAsBytes(halves[n..]),
            };
            case.run(&kernels.rope, .neighbours, .f32, wide, out, 1);
            case.run(&kernels.rope, .neighbours, .f16, narrow, out, 1);
            for (floats, halves) |x, y| try testing.expectEqual(@as(f16, @floatCast(x)), y);
        }
    }
}

test "rotate() gives the same bits for any number of threads" {
    var case: Case = try .init(64, 64);
    defer case.deinit();
    const n = 64 * n_head_kv * n_cells;
    for (variant.runnable()) |kernels| {
        var outs: [3][64 * n_head * n_tokens]f32 = undefined;
        var cells: [3][2][n]f16 = @splat(@splat(@splat(0)));
        for (&outs, &cells, [_]usize{ 1, 2, 7 }) |*out, *kv, count| {
            const both = .{ std.mem.sliceAsBytes(&kv[0]), std.mem.sliceAsBytes(&kv[1]) };
            case.run(&kernels.rope, .halves, .f16, both, out, count);
        }
        for (outs[1..], cells[1..]) |*out, *kv| {
            try testing.expectEqualSlices(f32, &outs[0], out);
            try testing.expectEqualSlices(f16, &cells[0][0], &kv[0]);
            try testing.expectEqualSlices(f16, &cells[0][1], &kv[1]);
        }
    }
}
