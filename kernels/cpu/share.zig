//! How the threads of a team divide a work.
const std = @import("std");

/// How much of a thread's share is taken, in a cache line of its own.
pub const Taken = extern struct {
    units: std.atomic.Value(usize) align(std.atomic.cache_line) = .init(0),
};

/// Share `index` of `count` of a work.
pub const Share = extern struct {
    index: usize,
    count: usize,
    /// Of each share; null where a thread does its own alone.
    taken: ?[*]Taken = null,

    /// First and end of this share of n units.
    pub fn of(share: Share, n: usize) [2]usize {
        return .{ n * share.index / share.count, n * (share.index + 1) / share.count };
    }

    /// This share of n units, at most `at_once` at a time, and then what others have left of
    /// theirs: another program, or another thread of the same core, may slow one down at any time.
    pub fn runs(share: Share, n: usize, at_once: usize) Runs {
        return .{ .share = share, .n = n, .at_once = at_once };
    }
};

/// Runs of units for one thread.
pub const Runs = struct {
    share: Share,
    n: usize,
    at_once: usize,
    /// How many shares are done with, its own first.
    n_done: usize = 0,
    /// What is taken of its own where nobody else takes of it.
    alone: std.atomic.Value(usize) = .init(0),

    /// First and end of the next run; null when there is nothing left to do.
    pub fn next(runs: *Runs) ?[2]usize {
        const count = runs.share.count;
        const n_shares = if (runs.share.taken != null) @min(count, shares_max) else 1;
        while (runs.n_done < n_shares) : (runs.n_done += 1) {
            const index = (runs.share.index + runs.n_done) % count;
            const taken = if (runs.share.taken) |all| &all[index].units else &runs.alone;
            const first, const end = Share.of(.{ .index = index, .count = count }, runs.n);
            const from, const to = take(taken, end - first, runs.at_once) orelse continue;
            return .{ first + from, first + to };
        }
        return null;
    }
};

/// Shares that a thread looks at: to see that nothing is left of one costs a miss of the cache.
const shares_max = 4;

/// First and end of some of n units of which nobody else has taken one.
fn take(taken: *std.atomic.Value(usize), n: usize, at_once: usize) ?[2]usize {
    var from = taken.load(.monotonic);
    while (from < n) {
        // Never more than half of what is left, so that all threads end at about one time.
        const to = from + std.math.clamp((n - from) / 2, 1, at_once);
        from = taken.cmpxchgWeak(from, to, .monotonic, .monotonic) orelse return .{ from, to };
    }
    return null;
}

const testing = std.testing;

test "runs() gives a thread that works alone its own share, in order" {
    var runs = Share.runs(.{ .index = 1, .count = 3 }, 30, 4);
    var at: usize = 10;
    while (runs.next()) |run| {
        try testing.expectEqual(at, run[0]);
        try testing.expect(run[1] > run[0] and run[1] <= run[0] + 4);
        at = run[1];
    }
    try testing.expectEqual(20, at);
    try testing.expectEqual(null, runs.next());
}

test "runs() gives what threads leave to one that comes after its own share" {
    var taken: [3]Taken = @splat(.{});
    var slow = Share.runs(.{ .index = 2, .count = 3, .taken = &taken }, 30, 2);
    const first = slow.next().?;
    try testing.expectEqual(20, first[0]);
    var n: usize = first[1] - first[0];
    var fast = Share.runs(.{ .index = 0, .count = 3, .taken = &taken }, 30, 2);
    while (fast.next()) |run| n += run[1] - run[0];
    try testing.expectEqual(30, n);
    try testing.expectEqual(null, slow.next());
}

const Crew = struct {
    n: usize,
    taken: [4]Taken = @splat(.{}),
    times: [1000]std.atomic.Value(u32) = @splat(.init(0)),

    fn work(crew: *Crew, index: usize) void {
        const share: Share = .{ .index = index, .count = crew.taken.len, .taken = &crew.taken };
        var runs = share.runs(crew.n, 7);
        while (runs.next()) |run| {
            for (crew.times[run[0]..run[1]]) |*times| _ = times.fetchAdd(1, .monotonic);
        }
    }
};

test "runs() gives every unit to one thread, however many there are of both" {
    for ([_]usize{ 0, 1, 3, 5, 64, 1000 }) |n| {
        for (0..20) |_| {
            var crew: Crew = .{ .n = n };
            var threads: [4]std.Thread = undefined;
            for (&threads, 0..) |*thread, i| thread.* = try .spawn(.{}, Crew.work, .{ &crew, i });
            for (threads) |thread| thread.join();
            for (crew.times[0..n]) |times| try testing.expectEqual(1, times.raw);
            for (crew.times[n..]) |times| try testing.expectEqual(0, times.raw);
        }
    }
}
