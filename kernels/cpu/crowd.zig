//! How many threads a team gets while other programs want the processors too. Pure: no clock.
//!
//! Every thread of a team has a share of each node, and others take of it only what it has not
//! begun (share.zig). When another program takes the processor of one, the others wait for it,
//! node after node, and a smaller team is faster. What tells is how much of its time a team does
//! not run: on a quiet machine next to nothing. A team that loses about one of its processors
//! would do as well without it, so it falls by 1, then by 2, by 4, until it no longer does. A
//! larger one is tried once the small one has lost little for a while, or nobody worked for as
//! long. That doubles with every try that fails, and with every fall, because a try may succeed by
//! luck, until a whole team has done well for long.
const std = @import("std");

pub const Crowd = struct {
    /// Threads of the largest team that lost little when it ran last.
    limit: u32 = unlimited,
    /// Threads that the next fall takes.
    fall: u32 = 1,
    /// Threads that the running try adds to the limit; 0 while there is none.
    rise: u32 = 0,
    /// How long teams of this size have done well or rested.
    good_ns: u64 = 0,
    /// How long they must before a larger one is tried.
    pause_ns: u64 = pause_min_ns,
    /// Of the regions since the last verdict.
    took_ns: u64 = 0,
    cpu_ns: u64 = 0,

    /// Tells that no region has run for so long: what was learned before then is old.
    pub fn rested(self: *Crowd, ns: u64) void {
        if (self.rise == 0) self.good_ns += ns;
    }

    /// Threads for the next region, which wants `want`.
    pub fn size(self: *Crowd, want: u32) u32 {
        if (self.rise == 0 and self.limit < want and self.good_ns >= self.pause_ns) {
            self.rise = 1;
            self.good_ns = 0;
            self.took_ns = 0;
            self.cpu_ns = 0;
        }
        return @min(want, self.limit +| self.rise);
    }

    /// Tells of a region that ran on `n` of the `want` threads: the time that it took, and for how
    /// much of it its threads ran, added up over all of them.
    pub fn ran(self: *Crowd, n: u32, want: u32, took_ns: u64, cpu_ns: u64) void {
        self.took_ns += took_ns;
        self.cpu_ns += cpu_ns;
        const is_try = n > self.limit;
        if (self.took_ns < @as(u64, if (is_try) try_verdict_ns else verdict_ns)) return;
        if (isCrowded(n, self.took_ns, self.cpu_ns)) {
            if (is_try) self.wait() else self.shrink(n);
            self.rise = 0;
            self.good_ns = 0;
        } else {
            self.good_ns += self.took_ns;
            if (is_try) self.accept(n, want) else self.settle();
        }
        self.took_ns = 0;
        self.cpu_ns = 0;
    }

    fn shrink(self: *Crowd, n: u32) void {
        if (n > 1 and self.fall == 1) self.wait();
        self.limit = @max(1, n -| self.fall);
        self.fall *|= 2;
    }

    fn wait(self: *Crowd) void {
        self.pause_ns = @min(self.pause_ns * 2, pause_max_ns);
    }

    fn settle(self: *Crowd) void {
        self.fall = 1;
        if (self.limit == unlimited and self.good_ns >= pause_max_ns) self.pause_ns = pause_min_ns;
    }

    /// Keeps the team of a try that went well for long enough; a larger one follows at once.
    fn accept(self: *Crowd, n: u32, want: u32) void {
        if (self.good_ns < proof_ns) return;
        self.limit = if (n == want) unlimited else n;
        self.rise = if (n == want) 0 else self.rise * 2;
        self.good_ns = 0;
    }
};

/// Whether the threads lost a processor, and more than the quarter that uneven work may cost. A
/// server and its clients that take part of one leave a whole team faster than a smaller one.
fn isCrowded(n: u32, took_ns: u64, cpu_ns: u64) bool {
    const lost_ns = took_ns * n -| cpu_ns;
    const least = if (n == 1) 1 else @max(4, n);
    return lost_ns * 4 > took_ns * least;
}

const unlimited = std.math.maxInt(u32);
const ms = std.time.ns_per_ms;
/// A program that wakes up for a moment is no crowd: no verdict on less time.
const verdict_ns = 32 * ms;
/// A try that fails is expensive and ends sooner.
const try_verdict_ns = 8 * ms;
/// A try that goes well may be luck: slices of a scheduler are some milliseconds long.
const proof_ns = 64 * ms;
/// One that stays for a verdict is often gone by the next, so the first pause is short.
const pause_min_ns = 25 * ms;
const pause_max_ns = 1600 * ms;

const testing = std.testing;

/// A machine with some processors of which other programs take some.
const Machine = struct {
    n_cpus: u32,
    n_taken: u32,
    crowd: Crowd = .{},

    /// Runs regions of `region_ns` for so long; gives the size of the last.
    fn run(self: *Machine, for_ns: u64, region_ns: u64) u32 {
        var n: u32 = 0;
        for (0..for_ns / region_ns) |_| {
            n = self.crowd.size(self.n_cpus);
            const fits = n + self.n_taken <= self.n_cpus;
            // All wait for those who do not fit, for three quarters of the time.
            const cpu_ns = if (fits) region_ns * n else region_ns * n / 4;
            self.crowd.ran(n, self.n_cpus, region_ns, cpu_ns);
        }
        return n;
    }
};

test "a team stays whole on a quiet machine" {
    var machine: Machine = .{ .n_cpus = 8, .n_taken = 0 };
    for (0..1000) |_| try testing.expectEqual(8, machine.run(5 * ms, 5 * ms));
}

test "a team stays whole when another program wakes up for a moment" {
    var machine: Machine = .{ .n_cpus = 2, .n_taken = 0 };
    for (0..100) |_| {
        machine.n_taken = 1;
        try testing.expectEqual(2, machine.run(10 * ms, 10 * ms));
        machine.n_taken = 0;
        try testing.expectEqual(2, machine.run(90 * ms, 10 * ms));
    }
}

test "a team falls to one thread where every processor is taken, and tries no other" {
    for ([_]u32{ 2, 3, 16, 256 }) |n_cpus| {
        var machine: Machine = .{ .n_cpus = n_cpus, .n_taken = n_cpus };
        try testing.expectEqual(1, machine.run(500 * ms, 10 * ms));
        for (0..1000) |_| try testing.expectEqual(1, machine.run(10 * ms, 10 * ms));
    }
}

test "a team takes all processors that are left" {
    for ([_]u32{ 1, 4, 7, 15 }) |n_taken| {
        var machine: Machine = .{ .n_cpus = 16, .n_taken = n_taken };
        _ = machine.run(2000 * ms, 5 * ms);
        var n_smaller: u32 = 0;
        for (0..2000) |_| {
            if (machine.run(5 * ms, 5 * ms) != 16 - n_taken) n_smaller += 1;
        }
        // Tries are rare.
        try testing.expect(n_smaller < 30);
    }
}

test "a team is whole again soon after the others have gone" {
    var machine: Machine = .{ .n_cpus = 16, .n_taken = 16 };
    try testing.expectEqual(1, machine.run(5000 * ms, 10 * ms));
    machine.n_taken = 0;
    try testing.expectEqual(16, machine.run(2 * pause_min_ns + 500 * ms, 10 * ms));
    // One that failed often waits longer, but never much longer than the longest pause.
    machine.n_taken = 1;
    try testing.expectEqual(15, machine.run(20_000 * ms, 10 * ms));
    machine.n_taken = 0;
    try testing.expectEqual(16, machine.run(pause_max_ns + 100 * ms, 10 * ms));
}

test "a team that falls again and again falls ever more rarely" {
    var machine: Machine = .{ .n_cpus = 2, .n_taken = 0 };
    var n_whole: u32 = 0;
    // The other program leaves a processor just long enough for a try to succeed.
    for (0..2000) |_| {
        machine.n_taken = @intFromBool(machine.crowd.limit == unlimited);
        if (machine.run(10 * ms, 10 * ms) == 2) n_whole += 1;
    }
    try testing.expect(n_whole < 200);
}

test "a team that has rested for as long as it would wait tries to be larger at once" {
    var machine: Machine = .{ .n_cpus = 2, .n_taken = 1 };
    try testing.expectEqual(1, machine.run(20_000 * ms, 10 * ms));
    machine.n_taken = 0;
    try testing.expectEqual(1, machine.run(10 * ms, 10 * ms));
    machine.crowd.rested(pause_max_ns);
    try testing.expectEqual(2, machine.run(10 * ms, 10 * ms));
    machine.n_taken = 1;
    machine.crowd.rested(pause_max_ns);
    try testing.expectEqual(1, machine.run(200 * ms, 10 * ms));
}

test "uneven work is no crowd" {
    for ([_]u32{ 2, 3, 4, 16, 256 }) |n| {
        var crowd: Crowd = .{};
        crowd.ran(n, n, 100 * ms, @as(u64, n) * 76 * ms);
        try testing.expectEqual(n, crowd.size(n));
    }
}

test "a region that wants less than the limit is left alone" {
    var crowd: Crowd = .{ .limit = 4 };
    try testing.expectEqual(3, crowd.size(3));
    try testing.expectEqual(4, crowd.size(8));
    crowd.good_ns = pause_min_ns;
    try testing.expectEqual(3, crowd.size(3));
    try testing.expectEqual(5, crowd.size(8));
}
