//! The one thread pool of the process, under ggml's graphs (by openmp.zig) and our own kernels.
//!
//! A region is a function that every thread of a team runs once. One region runs at a time: callers
//! queue in order of arrival, because two spinning teams on the same cores slow each other down
//! many times over. Inside a region, and for a team of one, nothing is shared and nothing waits.
//! Waiting spins for a while (patience.zig) and then sleeps, so an idle pool costs nothing. A
//! thread that finds another of its team on its own processor sleeps at once: on a busy machine it
//! would spin in the way of whom it waits for. It goes on elsewhere, because a system wakes a
//! thread where its waker runs when all processors are busy, and then leaves both there. Busy
//! machines have smaller teams, too (crowd.zig).
const std = @import("std");
const builtin = @import("builtin");
const Crowd = @import("crowd.zig").Crowd;
const futex = @import("futex.zig");
const library = @import("../library.zig");
const Patience = @import("patience.zig").Patience;
const Taken = @import("share.zig").Taken;
const Word = futex.Word;
const cache_line = std.atomic.cache_line;

/// Threads of the largest team, the caller included.
pub const team_max = 256;
/// Looks at the clock and at its processor once in so many spins, some microseconds: no count of
/// pauses is the same time on two CPUs.
const spins_per_look = 64;
/// Every thread of a starting team starts so many others before its own work.
const fan_out = 4;

/// What a region runs: once on each thread of its team.
pub const Body = *const fn (context: *anyopaque) void;

/// Raised by tests, to run teams larger than the machine.
pub var cpu_count_override: ?u32 = null;
/// False in tests of such teams, which are their own crowd.
pub var gives_way = true;

const Member = struct {
    /// Threads of the team, 0 outside a region.
    size: u32 = 0,
    index: u32 = 0,
};
threadlocal var member: Member = .{};

/// Where a team meets: the last to arrive opens the next phase.
const Barrier = struct {
    arrived: Word align(cache_line) = .init(0),
    phase: Word align(cache_line) = .init(0),
    sleepers: Word = .init(0),

    /// True if this was the last of `size` threads, which has then let the others go.
    fn arrive(self: *Barrier, size: u32) bool {
        if (self.arrived.fetchAdd(1, .acq_rel) + 1 != size) return false;
        self.arrived.store(0, .monotonic);
        change(&self.phase, &self.sleepers);
        return true;
    }

    fn wait(self: *Barrier, phase: u32) void {
        waitWhile(&self.phase, phase, &self.sleepers, &patience.inside);
    }
};

const Worker = struct {
    /// Counts the regions that this worker was asked to join.
    rounds: Word align(cache_line) = .init(0),
    sleepers: Word = .init(0),
    /// Processor where this thread began to wait last.
    place: Word align(cache_line) = .init(nowhere),
    thread: std.Thread = undefined,
};

const Team = struct {
    barrier: Barrier = .{},
    /// Threads of the running region.
    size: u32 align(cache_line) = 1,
    body: Body = undefined,
    context: *anyopaque = undefined,
    stop: bool = false,
    /// For how long the workers of this region ran, added up.
    cpu_ns: std.atomic.Value(u64) = .init(0),
    /// Guarded by the gate.
    crowd: Crowd = .{},
    /// When the last region ended.
    end_ns: u64 = 0,
    /// Workers that exist. Written under the gate, read by anybody.
    n_workers: Word = .init(0),
    /// Worker i is thread i of the team; 0 stands for the caller and has no thread.
    workers: [team_max]Worker = @splat(.{}),
    /// What is taken of each thread's share, in this phase and in the next.
    taken: [2][team_max]Taken = @splat(@splat(.{})),
};
var team: Team = .{};

/// Lets callers in one after another, in order of arrival.
const Gate = struct {
    next: Word align(cache_line) = .init(0),
    serving: Word align(cache_line) = .init(0),

    fn enter(self: *Gate) void {
        const ticket = self.next.fetchAdd(1, .monotonic);
        while (true) {
            const serving = self.serving.load(.acquire);
            if (serving == ticket) return;
            futex.wait(&self.serving, serving);
        }
    }

    fn tryEnter(self: *Gate) bool {
        const serving = self.serving.load(.acquire);
        return self.next.cmpxchgStrong(serving, serving +% 1, .acquire, .monotonic) == null;
    }

    fn leave(self: *Gate) void {
        const next_served = self.serving.fetchAdd(1, .seq_cst) +% 1;
        if (self.next.load(.seq_cst) != next_served) futex.wakeAll(&self.serving);
    }
};
var gate: Gate = .{};

/// Runs `body(context)` on up to `n_threads` threads, the caller being thread 0, and returns when
/// all have returned. The team is never larger than the processors that the process may use, and
/// smaller where threads cannot be started or where other programs keep them from running. Inside a
/// region it runs on the caller alone.
pub fn run(n_threads: u32, body: Body, context: *anyopaque) void {
    const want = @min(n_threads, team_max, cpuCount());
    if (want <= 1 or member.size != 0) return runAlone(body, context);
    gate.enter();
    defer gate.leave();
    grow(want - 1);
    const most = @min(want, team.n_workers.load(.monotonic) + 1);
    if (most == 1) return runAlone(body, context);
    if (!gives_way) return runTogether(most, body, context);
    const start_ns = nowNs(.MONOTONIC);
    const start_cpu_ns = nowNs(.THREAD_CPUTIME_ID);
    team.crowd.rested(start_ns -| team.end_ns);
    const size = team.crowd.size(most);
    team.cpu_ns.store(0, .monotonic);
    if (size == 1) runAlone(body, context) else runTogether(size, body, context);
    const cpu_ns = nowNs(.THREAD_CPUTIME_ID) - start_cpu_ns + team.cpu_ns.load(.monotonic);
    team.end_ns = nowNs(.MONOTONIC);
    team.crowd.ran(size, most, team.end_ns - start_ns, cpu_ns);
}

fn runTogether(size: u32, body: Body, context: *anyopaque) void {
    team.size = size;
    team.body = body;
    team.context = context;
    team.workers[0].place.store(processor(), .monotonic);
    for (&team.taken) |*taken| @memset(taken[0..size], .{});
    startFrom(0);
    member = .{ .size = size, .index = 0 };
    body(context);
    barrier();
    member = .{};
}

fn runAlone(body: Body, context: *anyopaque) void {
    const outer = member;
    member = .{ .size = 1, .index = 0 };
    defer member = outer;
    body(context);
}

/// Waits until every thread of the region has called it as often.
pub fn barrier() void {
    const size = member.size;
    if (size <= 1) return;
    const phase = team.barrier.phase.load(.monotonic);
    if (!team.barrier.arrive(size)) team.barrier.wait(phase);
    // Nobody looks at it before all have come to the next one.
    team.taken[phase % 2][member.index].units.store(0, .monotonic);
}

/// What is taken of each thread's share of the one work that a team may divide so between two
/// barriers; null for a team of one.
pub fn sharesTaken() ?[*]Taken {
    if (member.size <= 1) return null;
    return &team.taken[team.barrier.phase.load(.monotonic) % 2];
}

/// Number of the calling thread in its region; 0 outside.
pub fn threadIndex() u32 {
    return member.index;
}

/// Threads of the calling thread's region; 1 outside.
pub fn teamSize() u32 {
    return @max(1, member.size);
}

/// Worker threads that exist now.
pub fn workerCount() u32 {
    return team.n_workers.load(.monotonic);
}

/// Ends all workers and returns 0, or returns 1 and does nothing while a region runs or is waited
/// for. The next region starts workers again.
pub fn shutdown() u32 {
    if (!gate.tryEnter()) return 1;
    defer gate.leave();
    const n_workers = team.n_workers.load(.monotonic);
    team.stop = true;
    for (team.workers[1 .. n_workers + 1]) |*worker| start(worker);
    for (team.workers[1 .. n_workers + 1]) |*worker| worker.thread.join();
    team.stop = false;
    team.crowd = .{};
    team.n_workers.store(0, .monotonic);
    return 0;
}

/// Processors that the calling thread may run on; at least 1.
pub fn cpuCount() u32 {
    if (cpu_count_override) |count| return count;
    const count = std.Thread.getCpuCount() catch 1;
    return @intCast(std.math.clamp(count, 1, std.math.maxInt(i32)));
}

/// Starts threads until there are `n_workers`, or as many as the system gives.
fn grow(n_workers: u32) void {
    var have = team.n_workers.load(.monotonic);
    if (have >= n_workers) return;
    library.retain();
    // Signals of the host program are not for our workers; a new thread inherits the mask.
    var all: std.c.sigset_t = undefined;
    var before: std.c.sigset_t = undefined;
    _ = sigfillset(&all);
    _ = pthread_sigmask(std.c.SIG.SETMASK, &all, &before);
    defer _ = pthread_sigmask(std.c.SIG.SETMASK, &before, null);
    while (have < n_workers) {
        const worker = &team.workers[have + 1];
        worker.rounds.store(0, .monotonic);
        const options: std.Thread.SpawnConfig = .{ .stack_size = 8 << 20 };
        worker.thread = std.Thread.spawn(options, work, .{ worker, have + 1 }) catch return;
        have += 1;
        team.n_workers.store(have, .monotonic);
    }
}
extern "c" fn sigfillset(set: *std.c.sigset_t) c_int;
extern "c" fn pthread_sigmask(how: c_int, set: *const std.c.sigset_t, old: ?*std.c.sigset_t) c_int;

fn work(worker: *Worker, index: u32) void {
    member = .{ .index = index };
    var rounds: u32 = 0;
    while (true) {
        waitWhile(&worker.rounds, rounds, &worker.sleepers, &patience.between);
        rounds +%= 1;
        if (team.stop) return;
        startFrom(index);
        const size = team.size;
        member = .{ .size = size, .index = index };
        moveAway();
        const start_cpu_ns = nowNs(.THREAD_CPUTIME_ID);
        team.body(team.context);
        _ = team.cpu_ns.fetchAdd(nowNs(.THREAD_CPUTIME_ID) - start_cpu_ns, .monotonic);
        // The caller waits at its last barrier for the others; they go on to wait for a new region.
        _ = team.barrier.arrive(size);
    }
}

/// Starts the workers that `index` is responsible for: a tree, so that a large team starts fast.
fn startFrom(index: u32) void {
    const first = index * fan_out + 1;
    if (first >= team.size) return;
    for (team.workers[first..@min(first + fan_out, team.size)]) |*worker| start(worker);
}

fn start(worker: *Worker) void {
    change(&worker.rounds, &worker.sleepers);
}

/// Adds 1 to `word` and wakes whoever sleeps on it.
fn change(word: *Word, sleepers: *const Word) void {
    _ = word.fetchAdd(1, .seq_cst);
    if (sleepers.load(.seq_cst) != 0) futex.wakeAll(word);
}

/// Returns once `word` no longer holds `value`: spins, then sleeps.
fn waitWhile(word: *const Word, value: u32, sleepers: *Word, own: *Patience) void {
    const place = &team.workers[member.index].place;
    const here = processor();
    if (place.load(.monotonic) != here) place.store(here, .monotonic);
    var start_ns: u64 = 0;
    var took_ns: u64 = 0;
    var spins: u32 = if (was_in_the_way) spins_per_look - 1 else 0;
    while (word.load(.acquire) == value) {
        std.atomic.spinLoopHint();
        spins += 1;
        if (spins % spins_per_look != 0) continue;
        was_in_the_way = isInTheWay();
        const now = nowNs(.MONOTONIC);
        if (start_ns == 0) start_ns = now;
        took_ns = now - start_ns;
        if (!was_in_the_way and took_ns < own.spin_ns) continue;
        sleepWhile(word, value, sleepers);
        own.waited(nowNs(.MONOTONIC) - start_ns);
        if (member.size != 0) moveAway();
        return;
    }
    own.waited(took_ns);
}
/// This thread's, inside a region and for one. Other programs make only waits inside long.
threadlocal var patience: struct { inside: Patience = .{}, between: Patience = .{} } = .{};
/// What this thread found when it looked last; then it looks at once the next time.
threadlocal var was_in_the_way = false;

/// Whether another thread of the team was last seen on this processor. Yielding to it would not do:
/// Linux takes that for giving up a whole slice, to whoever else is there.
fn isInTheWay() bool {
    const here = processor();
    if (here == nowhere) return false;
    for (team.workers[0..member.size], 0..) |*other, index| {
        if (index != member.index and other.place.load(.monotonic) == here) return true;
    }
    return false;
}

/// Leaves the processor of a thread of the team with a lower index for one that no thread of it was
/// last seen on; stays where there is none.
fn moveAway() void {
    const here = processor();
    const place = &team.workers[member.index].place;
    place.store(here, .monotonic);
    if (builtin.os.tag != .linux or here == nowhere) return;
    for (team.workers[0..member.index]) |*other| {
        if (other.place.load(.monotonic) == here) break;
    } else return;
    var allowed: Processors = undefined;
    if (sched_getaffinity(0, @sizeOf(Processors), &allowed) != 0) return;
    var free = allowed;
    for (team.workers[0..member.size]) |*other| {
        const at = other.place.load(.monotonic);
        if (at < @bitSizeOf(Processors)) free[at / @bitSizeOf(usize)] &= ~bitOf(at);
    }
    // Refused where none is left.
    if (sched_setaffinity(0, @sizeOf(Processors), &free) != 0) return;
    _ = sched_setaffinity(0, @sizeOf(Processors), &allowed);
    place.store(processor(), .monotonic);
}
/// A bit for each, as Linux has them.
const Processors = [1024 / @bitSizeOf(usize)]usize;
extern "c" fn sched_getaffinity(thread: c_int, bytes: usize, set: *Processors) c_int;
extern "c" fn sched_setaffinity(thread: c_int, bytes: usize, set: *const Processors) c_int;

fn bitOf(number: u32) usize {
    return @as(usize, 1) << @intCast(number % @bitSizeOf(usize));
}

/// Number of the processor that runs this, as far as the system tells.
pub fn processor() u32 {
    if (builtin.os.tag == .macos) {
        var number: usize = undefined;
        return if (pthread_cpu_number_np(&number) == 0) @intCast(number) else nowhere;
    }
    const number = sched_getcpu();
    return if (number < 0) nowhere else @intCast(number);
}
const nowhere = std.math.maxInt(u32);
extern "c" fn sched_getcpu() c_int;
extern "c" fn pthread_cpu_number_np(number: *usize) c_int;

fn sleepWhile(word: *const Word, value: u32, sleepers: *Word) void {
    // Either we see the change or its maker sees us: both sides write, then read, in total order.
    _ = sleepers.fetchAdd(1, .seq_cst);
    while (word.load(.seq_cst) == value) futex.wait(word, value);
    _ = sleepers.fetchSub(1, .monotonic);
}

fn nowNs(clock: std.c.clockid_t) u64 {
    var time: std.c.timespec = undefined;
    _ = std.c.clock_gettime(clock, &time);
    return @as(u64, @intCast(time.sec)) * std.time.ns_per_s + @as(u64, @intCast(time.nsec));
}
