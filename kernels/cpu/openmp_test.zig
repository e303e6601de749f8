//! The entry points under code that clang compiled, see openmp_test.c.
const std = @import("std");
const useProcessors = @import("pool_test.zig").useProcessors;
const useOwnProcessors = @import("pool_test.zig").useOwnProcessors;
const testing = std.testing;

comptime {
    _ = @import("openmp.zig");
}

extern fn captures_none(n_threads: c_int) c_int;
extern fn captures_eight(n_threads: c_int) c_int;
extern fn single_and_barrier(n_threads: c_int, n_phases: c_int) c_int;
extern fn serial_regions() c_int;

test "a parallel region gets its threads and up to eight captured variables" {
    useProcessors(4);
    defer useOwnProcessors();
    for (0..20) |_| {
        for (1..5) |n_threads| {
            try testing.expectEqual(0, captures_none(@intCast(n_threads)));
            try testing.expectEqual(0, captures_eight(@intCast(n_threads)));
        }
    }
}

test "single runs once and barrier separates phases" {
    useProcessors(4);
    defer useOwnProcessors();
    for (1..5) |n_threads| {
        try testing.expectEqual(0, single_and_barrier(@intCast(n_threads), 200));
    }
}

test "a region without num_threads or inside another is serial" {
    useProcessors(4);
    defer useOwnProcessors();
    try testing.expectEqual(0, serial_regions());
}
