//! What this processor can do at most: bytes read from memory, and multiplications with additions
//! of bytes, of codes of four bits with bytes, and of floats, by a number of threads at once.
//!
//!     roofline [--threads N] [--megabytes N]
//!
//! Prints one line of JSON: the best of several passes of each. It is compiled for the very CPU
//! that runs it, so the widest instruction that this has is known when it is compiled.
const std = @import("std");
const builtin = @import("builtin");

/// How often a job is done at least; where there are several, each is done so often.
const passes = 12;
const passes_of_job = 4;
const line_bytes = 64;
/// Long against the start of a thread, short against the patience of a user.
const pass_ops = 20_000_000_000;

const Job = *const fn (part: []const u8) u64;

pub fn main(init: std.process.Init) !void {
    const args = try init.minimal.args.toSlice(init.arena.allocator());
    var n_threads: usize = 2;
    // Far more than the caches of this year's servers share among a few threads.
    var megabytes: usize = 1024;
    var i: usize = 1;
    while (i + 1 < args.len) : (i += 2) {
        const value = try std.fmt.parseInt(usize, args[i + 1], 10);
        if (std.mem.eql(u8, args[i], "--threads")) {
            n_threads = value;
        } else if (std.mem.eql(u8, args[i], "--megabytes")) {
            megabytes = value;
        } else return error.UnknownOption;
    }
    if (i < args.len or n_threads == 0 or megabytes == 0) return error.UnknownOption;
    const page = comptime std.mem.Alignment.fromByteUnits(std.heap.page_size_max);
    const bytes = try std.heap.page_allocator.alignedAlloc(u8, page, megabytes << 20);
    useLargePages(bytes);
    // Pages that were never written are all the same one.
    for (bytes, 0..) |*byte, at| byte.* = @truncate(at *% 31 >> 3);

    const kind: Kind = if (wide == .amx and !allowTiles()) .vpdpbusd_zmm else wide;
    const read = try bestOf(&reads, n_threads, bytes);
    const int8 = try bestOf(&.{int8Job(kind)}, n_threads, bytes);
    const int4 = if (int4Job(kind)) |job| try bestOf(&.{job}, n_threads, bytes) else int8;
    const f32s = try bestOf(&.{&multiplyFloats}, n_threads, bytes);
    const bf16s = if (bf16Job()) |job| try bestOf(&.{job}, n_threads, bytes) else 0;
    var buffer: [256]u8 = undefined;
    var out = std.Io.File.stdout().writerStreaming(init.io, &buffer);
    try out.interface.print(
        "{{\"threads\":{d},\"read_gb_s\":{d:.3},\"int8_gops\":{d:.3},\"int4_gops\":{d:.3}," ++
            "\"f32_gflops\":{d:.3},\"bf16_gflops\":{d:.3},\"int8_instruction\":\"{s}\"}}\n",
        .{ n_threads, read, int8, int4, f32s, bf16s, kind.name() },
    );
    try out.interface.flush();
}

/// Does each of the jobs several times on all threads; gives the most done in a nanosecond.
fn bestOf(jobs: []const Job, n_threads: usize, bytes: []const u8) !f64 {
    const team = try std.heap.page_allocator.alloc(Member, n_threads);
    defer std.heap.page_allocator.free(team);
    const share = bytes.len / n_threads / 4096 * 4096;
    var best: f64 = 0;
    for (0..@max(passes, passes_of_job * jobs.len)) |pass| {
        var waiting: std.atomic.Value(usize) = .init(n_threads);
        for (team, 0..) |*member, at| member.* = .{
            .job = jobs[pass % jobs.len],
            .part = bytes[at * share ..][0..share],
            .waiting = &waiting,
        };
        for (team[1..]) |*member| member.thread = try .spawn(.{}, Member.work, .{member});
        team[0].work();
        for (team[1..]) |*member| member.thread.?.join();
        var start: u64 = std.math.maxInt(u64);
        var end: u64 = 0;
        var done: u64 = 0;
        for (team) |member| {
            start = @min(start, member.start_ns);
            end = @max(end, member.end_ns);
            done += member.done;
        }
        const took: f64 = @floatFromInt(@max(1, end - start));
        best = @max(best, @as(f64, @floatFromInt(done)) / took);
    }
    return best;
}

/// One thread of a pass.
const Member = struct {
    job: Job,
    part: []const u8,
    /// How many have not begun; nobody does before all are there.
    waiting: *std.atomic.Value(usize),
    thread: ?std.Thread = null,
    start_ns: u64 = 0,
    end_ns: u64 = 0,
    /// Bytes or operations.
    done: u64 = 0,

    fn work(self: *Member) void {
        _ = self.waiting.fetchSub(1, .acq_rel);
        while (self.waiting.load(.acquire) > 0) std.atomic.spinLoopHint();
        self.start_ns = nowNs();
        self.done = self.job(self.part);
        self.end_ns = nowNs();
    }
};

fn nowNs() u64 {
    var time: std.c.timespec = undefined;
    _ = std.c.clock_gettime(.MONOTONIC, &time);
    return @as(u64, @intCast(time.sec)) * std.time.ns_per_s + @as(u64, @intCast(time.nsec));
}

/// Asks for large pages, so that no walk of page tables is measured. Nothing is lost without.
fn useLargePages(bytes: []align(std.heap.page_size_max) u8) void {
    if (builtin.os.tag != .linux) return;
    _ = std.os.linux.madvise(bytes.ptr, bytes.len, std.os.linux.MADV.HUGEPAGE);
}

const Words = @Vector(line_bytes / 8, u64);
const lines_at_once = 8;

/// Which way is the fastest differs by processor, and by how busy its memory is.
const reads = [_]Job{
    &Reading(1, 0).read,    &Reading(1, 1024).read, &Reading(2, 0).read,
    &Reading(2, 4096).read, &Reading(4, 0).read,    &Reading(4, 4096).read,
};

/// Reads in some places at once, and asks for what lies so far ahead unless that is 0.
fn Reading(comptime places: usize, comptime ahead: usize) type {
    const lines = lines_at_once / places;
    const step = line_bytes * lines;
    return struct {
        fn read(part: []const u8) u64 {
            var sums: [places][lines]Words = @splat(@splat(@splat(0)));
            const share = part.len / places / step * step;
            var at: usize = 0;
            while (at < share) : (at += step) {
                inline for (&sums, 0..) |*own, place| inline for (own, 0..) |*sum, line| {
                    const bytes = part.ptr + place * share + at + line * line_bytes;
                    // An address behind the end may be prefetched: it is not read.
                    if (ahead > 0) @prefetch(bytes + ahead, .{ .rw = .read, .locality = 3 });
                    const words: *const Words = @ptrCast(@alignCast(bytes));
                    sum.* ^= words.*;
                };
            }
            for (sums) |own| for (own) |sum| std.mem.doNotOptimizeAway(@reduce(.Xor, sum));
            return places * share;
        }
    };
}

/// How bytes are multiplied and summed up, best last.
const Kind = enum {
    vectors,
    vpmaddubsw_ymm,
    vpdpbusd_ymm,
    vpdpbusd_zmm,
    amx,
    sdot,

    fn name(kind: Kind) []const u8 {
        return switch (kind) {
            .vectors => "i16 vectors",
            .vpmaddubsw_ymm => "vpmaddubsw ymm",
            .vpdpbusd_ymm => "vpdpbusd ymm",
            .vpdpbusd_zmm => "vpdpbusd zmm",
            .amx => "tdpbssd",
            .sdot => "sdot",
        };
    }
};

/// The best that this CPU has.
const wide: Kind = switch (builtin.cpu.arch) {
    .x86_64 => if (builtin.os.tag == .linux and builtin.cpu.has(.x86, .amx_int8))
        .amx
    else if (builtin.cpu.has(.x86, .avx512vnni))
        .vpdpbusd_zmm
    else if (builtin.cpu.has(.x86, .avxvnni))
        .vpdpbusd_ymm
    else if (builtin.cpu.has(.x86, .avx2)) .vpmaddubsw_ymm else .vectors,
    .aarch64 => if (builtin.cpu.has(.aarch64, .dotprod)) .sdot else .vectors,
    else => .vectors,
};

fn int8Job(kind: Kind) Job {
    // Only what this CPU has may be assembled for it.
    return switch (kind) {
        .amx => if (wide == .amx)
            &tiles("tdpbssd %%tmm6, %%tmm7, %%tmm{d}", 64).job
        else
            unreachable,
        .vpdpbusd_zmm => if (builtin.cpu.has(.x86, .avx512vnni))
            &repeated("vpdpbusd %%zmm30, %%zmm31, %%zmm{d}", 64).job
        else
            unreachable,
        .vpdpbusd_ymm => if (wide == .vpdpbusd_ymm)
            &repeated("{{vex}} vpdpbusd %%ymm14, %%ymm15, %%ymm{d}", 32).job
        else
            unreachable,
        .vpmaddubsw_ymm => if (wide == .vpmaddubsw_ymm) &repeated(
            "vpmaddubsw %%ymm14, %%ymm15, %%ymm12\n" ++
                "vpmaddwd %%ymm12, %%ymm14, %%ymm13\nvpaddd %%ymm13, %%ymm{0d}, %%ymm{0d}",
            32,
        ).job else unreachable,
        .sdot => if (wide == .sdot)
            &repeated("sdot v{d}.4s, v30.16b, v31.16b", 16).job
        else
            unreachable,
        .vectors => &multiplyVectors,
    };
}

/// Codes of four bits, where they take fewer instructions than bytes: pairs of their products fit
/// 16 bits eight times.
fn int4Job(kind: Kind) ?Job {
    if (wide != .vpmaddubsw_ymm or kind != wide) return null;
    const n_sums = 6;
    const n_pairs = 8;
    const multiply = "vpmaddubsw %%ymm14, %%ymm15, %%ymm{d}\n";
    const add = "vpaddw %%ymm{d}, %%ymm{1d}, %%ymm{1d}\n";
    const widen = "vpmaddwd %%ymm{0d}, %%ymm14, %%ymm12\nvpaddd %%ymm12, %%ymm{1d}, %%ymm{1d}\n";
    comptime var text: []const u8 = "";
    comptime {
        for (0..n_sums) |sum| text = text ++ std.fmt.comptimePrint(multiply, .{sum});
        // Each of the others is added up when the next has begun.
        const n_others = n_sums * (n_pairs - 1);
        for (0..n_others + 1) |at| {
            if (at < n_others) text = text ++ std.fmt.comptimePrint(multiply, .{12 + at % 2});
            if (at == 0) continue;
            text = text ++ std.fmt.comptimePrint(add, .{ 12 + (at - 1) % 2, (at - 1) % n_sums });
        }
        for (0..n_sums) |sum| text = text ++ std.fmt.comptimePrint(widen, .{ sum, n_sums + sum });
    }
    return &looped(text, 2 * 32 * n_pairs * n_sums).job;
}

/// Floats of 16 bits, where the CPU has an instruction for them.
fn bf16Job() ?Job {
    if (builtin.cpu.arch != .x86_64 or !builtin.cpu.has(.x86, .avx512bf16)) return null;
    if (builtin.cpu.has(.x86, .amx_bf16) and allowTiles()) {
        return &tiles("tdpbf16ps %%tmm6, %%tmm7, %%tmm{d}", 32).job;
    }
    return &repeated("vdpbf16ps %%zmm30, %%zmm31, %%zmm{d}", 32).job;
}

/// A loop of twelve of the instructions that do not wait for each other. It is one piece of
/// assembly: a compiler that may put a value into memory between two of them does.
fn repeated(comptime form: []const u8, comptime products: u64) type {
    const n_sums = 12;
    comptime var text: []const u8 = "";
    comptime for (0..n_sums) |sum| {
        text = text ++ std.fmt.comptimePrint(form, .{sum}) ++ "\n";
    };
    return looped(text, 2 * products * n_sums);
}

/// A loop of instructions that do so many operations.
fn looped(comptime text: []const u8, comptime ops: u64) type {
    const body = "1:\n" ++ text ++ switch (builtin.cpu.arch) {
        .x86_64 => "dec %[n]\njnz 1b\n",
        else => "subs %[n], %[n], #1\nb.ne 1b\n",
    };
    return struct {
        fn job(_: []const u8) u64 {
            var n: u64 = pass_ops / ops;
            const done = n * ops;
            switch (builtin.cpu.arch) {
                .x86_64 => asm volatile (body
                    : [n] "+r" (n),
                    :
                    : x86_vectors),
                else => asm volatile (body
                    : [n] "+r" (n),
                    :
                    : arm_vectors),
            }
            return done;
        }
    };
}

const x86_vectors = vectorRegisters("xmm", 16, "cc");
const arm_vectors = vectorRegisters("v", 32, "nzcv");

fn vectorRegisters(
    comptime prefix: []const u8,
    comptime n: usize,
    comptime flags: []const u8,
) std.lang.assembly.Clobbers {
    var clobbers: std.lang.assembly.Clobbers = .{};
    if (!@hasField(std.lang.assembly.Clobbers, flags)) return clobbers;
    @setEvalBranchQuota(100_000);
    @field(clobbers, flags) = true;
    for (0..n) |i| @field(clobbers, std.fmt.comptimePrint("{s}{d}", .{ prefix, i })) = true;
    return clobbers;
}

/// For processors that have no instruction for it.
fn multiplyVectors(_: []const u8) u64 {
    const length = std.simd.suggestVectorLength(i16) orelse 1;
    var factor: @Vector(length, i16) = @splat(3);
    std.mem.doNotOptimizeAway(&factor);
    var sums: [8]@Vector(length, i16) = @splat(@splat(1));
    const ops = 2 * length * sums.len;
    const n = pass_ops / 4 / ops;
    for (0..n) |_| {
        inline for (&sums) |*sum| sum.* = sum.* *% factor +% factor;
    }
    for (sums) |sum| std.mem.doNotOptimizeAway(@reduce(.Xor, sum));
    return n * ops;
}

const has_avx512 = builtin.cpu.arch == .x86_64 and builtin.cpu.has(.x86, .avx512f);
const has_fma = builtin.cpu.arch != .x86_64 or builtin.cpu.has(.x86, .fma);

fn multiplyFloats(_: []const u8) u64 {
    // What compilers prefer is narrower on some processors that do as many of the widest.
    const length = if (has_avx512) 16 else std.simd.suggestVectorLength(f32) orelse 1;
    var factor: @Vector(length, f32) = @splat(0.999);
    std.mem.doNotOptimizeAway(&factor);
    var sums: [12]@Vector(length, f32) = @splat(@splat(1));
    const ops = 2 * length * sums.len;
    const n = pass_ops / 4 / ops;
    for (0..n) |_| {
        inline for (&sums) |*sum| {
            sum.* = if (has_fma)
                @mulAdd(@TypeOf(factor), sum.*, factor, factor)
            else
                sum.* * factor + factor;
        }
    }
    for (sums) |sum| std.mem.doNotOptimizeAway(@reduce(.Add, sum));
    return n * ops;
}

/// Products of tiles of 16 rows and 64 bytes: 16 x 16 sums of so many products each.
fn tiles(comptime form: []const u8, comptime products: u64) type {
    const n_sums = 6;
    const body = comptime blk: {
        var text: []const u8 = "ldtilecfg (%[config])\n";
        for (0..8) |tile| text = text ++ std.fmt.comptimePrint("tilezero %%tmm{d}\n", .{tile});
        text = text ++ "1:\n";
        for (0..n_sums) |tile| text = text ++ std.fmt.comptimePrint(form ++ "\n", .{tile});
        break :blk text ++ "dec %[n]\njnz 1b\ntilerelease\n";
    };
    return struct {
        fn job(_: []const u8) u64 {
            // Palette 1; the bytes of each row from 16 on, the rows of each tile from 48 on.
            var config: [64]u8 align(64) = @splat(0);
            config[0] = 1;
            for (0..8) |tile| {
                config[16 + 2 * tile] = 64;
                config[48 + tile] = 16;
            }
            const ops = 2 * 16 * 16 * products * n_sums;
            var n: u64 = pass_ops / ops;
            const done = n * ops;
            asm volatile (body
                : [n] "+r" (n),
                : [config] "r" (&config),
                : .{ .memory = true, .cc = true });
            return done;
        }
    };
}

/// Asks Linux for the tiles' registers; false where it refuses.
fn allowTiles() bool {
    if (wide != .amx) return false;
    const request_permission = 0x1023;
    const tile_data = 18;
    return std.os.linux.syscall2(.arch_prctl, request_permission, tile_data) == 0;
}
