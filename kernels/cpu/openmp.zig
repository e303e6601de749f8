//! The OpenMP entry points that clang emits for ggml-cpu.c, on the pool. Hidden, so that another
//! OpenMP runtime in the process neither sees nor replaces them.
//!
//! Exactly what `parallel num_threads`, `single` and `barrier` need; anything else fails to link.
const std = @import("std");
const builtin = @import("builtin");
const pool = @import("pool.zig");

/// Captured variables that a parallel region may have.
const args_max = 8;
const Args = [args_max]?*anyopaque;

/// An outlined region: two thread ids, then a pointer for each captured variable.
const Microtask = *const fn (
    *const i32,
    *const i32,
    ?*anyopaque,
    ?*anyopaque,
    ?*anyopaque,
    ?*anyopaque,
    ?*anyopaque,
    ?*anyopaque,
    ?*anyopaque,
    ?*anyopaque,
) callconv(.c) void;

const Region = struct { microtask: Microtask, args: Args };

/// What the next region of this thread asked for; 1 when it did not say.
threadlocal var next_threads: u32 = 1;

/// Apple's arm64 passes variadic arguments on the stack. Everywhere else they lie where those of a
/// fixed prototype do, and Zig 0.17 has no va_list for aarch64-linux.
const is_variadic = builtin.os.tag == .macos and builtin.cpu.arch == .aarch64;

fn forkCall(
    _: ?*anyopaque,
    n_args: i32,
    microtask: Microtask,
    a0: ?*anyopaque,
    a1: ?*anyopaque,
    a2: ?*anyopaque,
    a3: ?*anyopaque,
    a4: ?*anyopaque,
    a5: ?*anyopaque,
    a6: ?*anyopaque,
    a7: ?*anyopaque,
) callconv(.c) void {
    // Arguments past n_args are whatever lies there; the region takes none of them.
    var region: Region = .{
        .microtask = microtask,
        .args = .{ a0, a1, a2, a3, a4, a5, a6, a7 },
    };
    fork(n_args, &region);
}

fn forkCallVariadic(_: ?*anyopaque, n_args: i32, microtask: Microtask, ...) callconv(.c) void {
    var list = @cVaStart();
    defer @cVaEnd(&list);
    var region: Region = .{ .microtask = microtask, .args = @splat(null) };
    const n: usize = @intCast(@min(n_args, args_max));
    for (region.args[0..n]) |*arg| arg.* = @cVaArg(&list, ?*anyopaque);
    fork(n_args, &region);
}

fn fork(n_args: i32, region: *Region) void {
    if (n_args > args_max) @panic("openmp.zig: a parallel region captures too many variables");
    const n_threads = next_threads;
    next_threads = 1;
    pool.run(n_threads, runRegion, region);
}

fn runRegion(context: *anyopaque) void {
    const region: *const Region = @ptrCast(@alignCast(context));
    const thread: i32 = @intCast(pool.threadIndex());
    const a = region.args;
    // A C function does not mind arguments past those that it takes.
    region.microtask(&thread, &thread, a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
}

fn pushNumThreads(_: ?*anyopaque, _: i32, n_threads: i32) callconv(.c) void {
    next_threads = @intCast(@max(1, n_threads));
}

fn globalThreadNum(_: ?*anyopaque) callconv(.c) i32 {
    return @intCast(pool.threadIndex());
}

fn single(_: ?*anyopaque, _: i32) callconv(.c) i32 {
    return @intFromBool(pool.threadIndex() == 0);
}

fn endSingle(_: ?*anyopaque, _: i32) callconv(.c) void {}

fn barrier(_: ?*anyopaque, _: i32) callconv(.c) void {
    pool.barrier();
}

fn numThreads() callconv(.c) i32 {
    return @intCast(pool.teamSize());
}

fn threadNum() callconv(.c) i32 {
    return @intCast(pool.threadIndex());
}

comptime {
    const fork_call = if (is_variadic) &forkCallVariadic else &forkCall;
    @export(fork_call, .{ .name = "__kmpc_fork_call", .visibility = .hidden });
    @export(&pushNumThreads, .{ .name = "__kmpc_push_num_threads", .visibility = .hidden });
    @export(&globalThreadNum, .{ .name = "__kmpc_global_thread_num", .visibility = .hidden });
    @export(&single, .{ .name = "__kmpc_single", .visibility = .hidden });
    @export(&endSingle, .{ .name = "__kmpc_end_single", .visibility = .hidden });
    @export(&barrier, .{ .name = "__kmpc_barrier", .visibility = .hidden });
    @export(&numThreads, .{ .name = "omp_get_num_threads", .visibility = .hidden });
    @export(&threadNum, .{ .name = "omp_get_thread_num", .visibility = .hidden });
}
