//! The pool's promises, on teams larger than the machine where that is harder.
const std = @import("std");
const builtin = @import("builtin");
const pool = @import("pool.zig");
const testing = std.testing;

const Count = std.atomic.Value(u32);
const team_sizes = [_]u32{ 1, 2, 3, 4 };

/// Runs teams as if there were so many processors, whether they are there or not.
pub fn useProcessors(count: u32) void {
    pool.cpu_count_override = count;
    pool.gives_way = false;
}

pub fn useOwnProcessors() void {
    pool.cpu_count_override = null;
    pool.gives_way = true;
}

const Visits = struct {
    by_thread: [4]Count = @splat(.init(0)),
    team_size: Count = .init(0),

    fn body(context: *anyopaque) void {
        const visits: *Visits = @ptrCast(@alignCast(context));
        visits.team_size.store(pool.teamSize(), .monotonic);
        _ = visits.by_thread[pool.threadIndex()].fetchAdd(1, .monotonic);
    }
};

test "run() runs the body once on each thread of the team" {
    useProcessors(4);
    defer useOwnProcessors();
    for (0..200) |i| {
        const size = team_sizes[i % team_sizes.len];
        var visits: Visits = .{};
        pool.run(size, Visits.body, &visits);
        try testing.expectEqual(size, visits.team_size.raw);
        for (visits.by_thread, 0..) |count, thread| {
            try testing.expectEqual(@intFromBool(thread < size), count.raw);
        }
    }
}

test "run() takes no more threads than there are processors" {
    useProcessors(2);
    defer useOwnProcessors();
    var visits: Visits = .{};
    pool.run(64, Visits.body, &visits);
    try testing.expectEqual(2, visits.team_size.raw);
}

/// Two threads that meet on one processor.
const Meeting = struct {
    places: [2]Count = @splat(.init(0)),
    stop: std.atomic.Value(bool) = .init(false),

    fn meet(context: *anyopaque) void {
        const meeting: *Meeting = @ptrCast(@alignCast(context));
        look(context);
        pool.barrier();
        if (pool.threadIndex() == 0) return;
        const all = std.posix.sched_getaffinity(0) catch return;
        var one: std.posix.cpu_set_t = @splat(0);
        const at = meeting.places[0].load(.monotonic);
        one[at / @bitSizeOf(usize)] = @as(usize, 1) << @intCast(at % @bitSizeOf(usize));
        std.os.linux.sched_setaffinity(0, &one) catch return;
        std.os.linux.sched_setaffinity(0, &all) catch return;
    }

    fn look(context: *anyopaque) void {
        const meeting: *Meeting = @ptrCast(@alignCast(context));
        meeting.places[pool.threadIndex()].store(pool.processor(), .monotonic);
    }

    fn spin(meeting: *Meeting) void {
        while (!meeting.stop.load(.monotonic)) std.atomic.spinLoopHint();
    }
};

test "run() leads threads that met on one processor apart, even where all are busy" {
    if (builtin.os.tag != .linux) return error.SkipZigTest; // others cannot be told where to run
    if (pool.cpuCount() < 2) return error.SkipZigTest; // there is no other
    pool.gives_way = false;
    defer pool.gives_way = true;
    var meeting: Meeting = .{};
    var others: [4]std.Thread = undefined;
    for (&others) |*other| other.* = try .spawn(.{}, Meeting.spin, .{&meeting});
    defer for (others) |other| other.join();
    defer meeting.stop.store(true, .monotonic);
    var n_apart: u32 = 0;
    for (0..20) |_| {
        pool.run(2, Meeting.meet, &meeting);
        pool.run(2, Meeting.look, &meeting);
        n_apart += @intFromBool(meeting.places[0].raw != meeting.places[1].raw);
    }
    // The system moves threads, too.
    try testing.expect(n_apart >= 15);
}

/// Threads write the number of the phase and read each other's after the barrier.
const Phases = struct {
    n_phases: u32,
    /// One thread of each phase arrives this late, so that the others fall asleep.
    late_ns: u64 = 0,
    written: [4]Count = @splat(.init(0)),
    n_wrong: Count = .init(0),

    fn body(context: *anyopaque) void {
        const phases: *Phases = @ptrCast(@alignCast(context));
        const own = pool.threadIndex();
        const size = pool.teamSize();
        for (1..phases.n_phases + 1) |i| {
            const phase: u32 = @intCast(i);
            if (phase % size == own) busy(phases.late_ns);
            phases.written[own].store(phase, .monotonic);
            pool.barrier();
            for (phases.written[0..size]) |*other| {
                if (other.load(.monotonic) != phase) _ = phases.n_wrong.fetchAdd(1, .monotonic);
            }
            pool.barrier();
        }
    }

    fn busy(ns: u64) void {
        if (ns == 0) return;
        const start = now();
        while (now() - start < ns) std.atomic.spinLoopHint();
    }

    fn now() u64 {
        var time: std.c.timespec = undefined;
        _ = std.c.clock_gettime(.MONOTONIC, &time);
        return @as(u64, @intCast(time.sec)) * std.time.ns_per_s + @as(u64, @intCast(time.nsec));
    }
};

test "barrier() lets nobody into the next phase early" {
    useProcessors(4);
    defer useOwnProcessors();
    for (team_sizes) |size| {
        var phases: Phases = .{ .n_phases = if (size <= 2) 5000 else 300 };
        pool.run(size, Phases.body, &phases);
        try testing.expectEqual(0, phases.n_wrong.raw);
        try testing.expectEqual(phases.n_phases, phases.written[size - 1].raw);
    }
}

test "barrier() wakes threads that fell asleep" {
    useProcessors(3);
    defer useOwnProcessors();
    var phases: Phases = .{ .n_phases = 30, .late_ns = 400_000 };
    pool.run(3, Phases.body, &phases);
    try testing.expectEqual(0, phases.n_wrong.raw);
}

/// Threads that each take one unit of their own share in every phase, and then look at all shares.
const Taking = struct {
    n_phases: u32,
    n_wrong: Count = .init(0),
    n_looks: Count = .init(0),

    fn body(context: *anyopaque) void {
        const taking: *Taking = @ptrCast(@alignCast(context));
        const size = pool.teamSize();
        for (0..taking.n_phases) |i| {
            const taken = pool.sharesTaken() orelse return;
            const own = &taken[pool.threadIndex()].units;
            // Some are late, and are looked at by those who have begun.
            if (i % size == pool.threadIndex()) Phases.busy(2000);
            const before = own.fetchAdd(1, .monotonic);
            if (before != 0) _ = taking.n_wrong.fetchAdd(1, .monotonic);
            for (taken[0..size]) |*other| {
                if (other.units.load(.monotonic) > 1) _ = taking.n_wrong.fetchAdd(1, .monotonic);
            }
            _ = taking.n_looks.fetchAdd(1, .monotonic);
            pool.barrier();
        }
    }
};

test "sharesTaken() is nothing at the start of a region and behind every barrier" {
    useProcessors(4);
    defer useOwnProcessors();
    // Teams that grow and shrink, and end with an odd and an even number of phases.
    for (0..200) |i| {
        const size = team_sizes[i % team_sizes.len];
        var taking: Taking = .{ .n_phases = @intCast(1 + i / team_sizes.len % 3) };
        pool.run(size, Taking.body, &taking);
        try testing.expectEqual(0, taking.n_wrong.raw);
        try testing.expectEqual(if (size == 1) 0 else size * taking.n_phases, taking.n_looks.raw);
    }
}

const Nested = struct {
    inner_visits: Count = .init(0),
    n_wrong: Count = .init(0),

    fn outer(context: *anyopaque) void {
        const nested: *Nested = @ptrCast(@alignCast(context));
        const index = pool.threadIndex();
        pool.run(4, inner, nested);
        pool.barrier();
        if (pool.threadIndex() != index) _ = nested.n_wrong.fetchAdd(1, .monotonic);
        // A running region is left alone.
        if (pool.shutdown() != 1) _ = nested.n_wrong.fetchAdd(1, .monotonic);
    }

    fn inner(context: *anyopaque) void {
        const nested: *Nested = @ptrCast(@alignCast(context));
        if (pool.teamSize() != 1) _ = nested.n_wrong.fetchAdd(1, .monotonic);
        pool.barrier();
        _ = nested.inner_visits.fetchAdd(1, .monotonic);
    }
};

test "run() inside a region runs on its caller alone" {
    useProcessors(4);
    defer useOwnProcessors();
    var nested: Nested = .{};
    pool.run(3, Nested.outer, &nested);
    try testing.expectEqual(3, nested.inner_visits.raw);
    try testing.expectEqual(0, nested.n_wrong.raw);
}

fn callMany(n_wrong: *Count) void {
    for (0..100) |i| {
        var phases: Phases = .{ .n_phases = 3 };
        pool.run(team_sizes[i % team_sizes.len], Phases.body, &phases);
        if (phases.written[0].raw != 3) _ = n_wrong.fetchAdd(1, .monotonic);
        _ = n_wrong.fetchAdd(phases.n_wrong.raw, .monotonic);
    }
}

test "run() serves several callers one after another" {
    useProcessors(4);
    defer useOwnProcessors();
    var n_wrong: Count = .init(0);
    var callers: [4]std.Thread = undefined;
    for (&callers) |*caller| caller.* = try .spawn(.{}, callMany, .{&n_wrong});
    for (callers) |caller| caller.join();
    try testing.expectEqual(0, n_wrong.raw);
}

test "shutdown() ends the workers and the next region starts them again" {
    useProcessors(3);
    defer useOwnProcessors();
    for (0..10) |_| {
        var visits: Visits = .{};
        pool.run(3, Visits.body, &visits);
        try testing.expectEqual(3, visits.team_size.raw);
        try testing.expect(pool.workerCount() >= 2);
        try testing.expectEqual(0, pool.shutdown());
        try testing.expectEqual(0, pool.workerCount());
    }
}

/// A region whose last thread does not get to run for most of it.
const Stalled = struct {
    team_size: Count = .init(0),

    fn body(context: *anyopaque) void {
        const stalled: *Stalled = @ptrCast(@alignCast(context));
        const size = pool.teamSize();
        stalled.team_size.store(size, .monotonic);
        if (size > 1 and pool.threadIndex() == size - 1) {
            const time: std.c.timespec = .{ .sec = 0, .nsec = 5 * std.time.ns_per_ms };
            _ = std.c.nanosleep(&time, null);
        }
        pool.barrier();
    }
};

test "run() leaves threads out that the others wait for, until the pool is shut down" {
    pool.cpu_count_override = 2;
    defer pool.cpu_count_override = null;
    try testing.expectEqual(0, pool.shutdown());
    var stalled: Stalled = .{};
    pool.run(2, Stalled.body, &stalled);
    try testing.expectEqual(2, stalled.team_size.raw);
    for (0..10) |_| pool.run(2, Stalled.body, &stalled);
    try testing.expectEqual(1, stalled.team_size.raw);
    try testing.expectEqual(0, pool.shutdown());
    pool.run(2, Stalled.body, &stalled);
    try testing.expectEqual(2, stalled.team_size.raw);
    try testing.expectEqual(0, pool.shutdown());
}
