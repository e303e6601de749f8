//! Which of the compiled CPU variants runs. One library holds our kernels for several levels of a
//! processor family; the best that this processor and its system allow is chosen once.
const std = @import("std");
const builtin = @import("builtin");
const failure = @import("../failure.zig");
const ggml = @import("../ggml.zig");
const Kernels = @import("variant_root.zig").Kernels;

/// Variants in order, worst first. build/variants.zig compiles one object for each.
const Level = switch (builtin.cpu.arch) {
    .x86_64 => enum {
        x86_64_v2,
        x86_64_v3,
        x86_64_v3_vnni,
        x86_64_v4,
        x86_64_v4_vnni,
        x86_64_v4_amx,
    },
    .aarch64 => enum { baseline, dotprod },
    else => @compileError("variant.zig knows x86_64 and aarch64 only"),
};

const names = std.enums.values(Level);

const table: [names.len]*const Kernels = blk: {
    var variants: [names.len]*const Kernels = undefined;
    for (names, &variants) |name, *k| {
        k.* = @extern(*const Kernels, .{
            .name = "sluice_" ++ @tagName(name),
            .visibility = .hidden,
        });
    }
    break :blk variants;
};

/// The levels that this processor can run; none before the first question.
var known: std.atomic.Value(u8) = .init(0);

/// The kernels for this processor.
pub fn kernels() *const Kernels {
    return table[@backingInt(level())];
}

/// The same of every variant that this processor can run, for tests that compare them.
pub fn runnable() []const *const Kernels {
    const all = struct {
        var buffer: [names.len]*const Kernels = undefined;
    };
    var n: usize = 0;
    for (names, table) |name, k| {
        if (!levels().contains(name)) continue;
        all.buffer[n] = k;
        n += 1;
    }
    return all.buffer[0..n];
}

/// The kernels of a level that this processor may lack, for tests that play what it lacks.
pub fn kernelsOf(which: Level) *const Kernels {
    return table[@backingInt(which)];
}

/// Makes the variant of this name the one that kernels() gives. For measurements, and for tests of
/// what another processor computes.
pub fn force(name: []const u8) failure.Error!void {
    if (std.meta.stringToEnum(Level, name)) |wanted| {
        const only: Levels = .initOne(wanted);
        if (detect().contains(wanted)) return known.store(only.bits.mask, .monotonic);
    }
    var text: [128]u8 = undefined;
    var list: std.Io.Writer = .fixed(&text);
    var found = detect().iterator();
    while (found.next()) |one| list.print(" {t}", .{one}) catch {};
    return failure.set(
        "Cannot use the kernel variant \"{s}\": this processor runs{s}",
        .{ name[0..@min(name.len, 40)], list.buffered() },
    );
}

/// The level and what ggml was compiled with, such as "x86_64_v4+avx512_vnni+avx512_bf16".
/// Libraries of one version that give the same text compute with the same kernels.
pub fn describe(buffer: []u8) []const u8 {
    var writer: std.Io.Writer = .fixed(buffer);
    writer.print("{t}", .{level()}) catch {};
    for (features) |feature| {
        if (feature.has() != 0) writer.print("+{s}", .{feature.name}) catch {};
    }
    return writer.buffered();
}

const Feature = struct { name: []const u8, has: *const fn () callconv(.c) c_int };
const features = switch (builtin.cpu.arch) {
    .x86_64 => [_]Feature{
        .{ .name = "avx2", .has = &ggml.ggml_cpu_has_avx2 },
        .{ .name = "avx_vnni", .has = &ggml.ggml_cpu_has_avx_vnni },
        .{ .name = "avx512", .has = &ggml.ggml_cpu_has_avx512 },
        .{ .name = "avx512_vnni", .has = &ggml.ggml_cpu_has_avx512_vnni },
        .{ .name = "avx512_bf16", .has = &ggml.ggml_cpu_has_avx512_bf16 },
        .{ .name = "amx_int8", .has = &ggml.ggml_cpu_has_amx_int8 },
    },
    .aarch64 => [_]Feature{
        .{ .name = "dotprod", .has = &ggml.ggml_cpu_has_dotprod },
        .{ .name = "fp16", .has = &ggml.ggml_cpu_has_fp16_va },
        .{ .name = "i8mm", .has = &ggml.ggml_cpu_has_matmul_int8 },
        .{ .name = "sve", .has = &ggml.ggml_cpu_has_sve },
    },
    else => unreachable,
};

const Levels = std.EnumSet(Level);

/// The best level.
fn level() Level {
    var best: Level = names[0];
    for (names) |name| {
        if (levels().contains(name)) best = name;
    }
    return best;
}

fn levels() Levels {
    var found: Levels = .{ .bits = .{ .mask = @intCast(known.load(.monotonic)) } };
    if (found.count() == 0) {
        found = detect();
        known.store(found.bits.mask, .monotonic);
    }
    return found;
}

fn detect() Levels {
    return if (builtin.cpu.arch == .x86_64) detectX86() else detectArm();
}

fn detectArm() Levels {
    var found: Levels = .initOne(.baseline);
    const has_dotprod = switch (builtin.os.tag) {
        .linux => std.c.getauxval(std.elf.AT.HWCAP) & std.os.linux.HWCAP.ASIMDDP != 0,
        .macos => true, // every processor of Apple's that runs it
        else => false,
    };
    if (has_dotprod) found.insert(.dotprod);
    return found;
}

fn detectX86() Levels {
    var found: Levels = .initOne(.x86_64_v2);
    if (cpuid(0, 0).eax < 7) return found;
    const leaf1 = cpuid(1, 0);
    const leaf7 = cpuid(7, 0);
    const extended = cpuid(0x80000001, 0);
    // The system must save the registers too: ymm is 6, zmm another 0xe0.
    const saved = if (has(leaf1.ecx, 27)) xgetbv() else 0;
    // Bits that level 3 adds: fma, movbe, avx, f16c; bmi1, avx2, bmi2; lzcnt.
    const v3 = saved & 0x06 == 0x06 and has(leaf1.ecx, 12) and has(leaf1.ecx, 22) and
        has(leaf1.ecx, 28) and has(leaf1.ecx, 29) and has(leaf7.ebx, 3) and
        has(leaf7.ebx, 5) and has(leaf7.ebx, 8) and has(extended.ecx, 5);
    if (!v3) return found;
    found.insert(.x86_64_v3);
    if (leaf7.eax >= 1 and has(cpuid(7, 1).eax, 4)) found.insert(.x86_64_v3_vnni);
    // Level 4 adds avx512 f, dq, cd, bw, vl.
    const v4 = saved & 0xe6 == 0xe6 and has(leaf7.ebx, 16) and has(leaf7.ebx, 17) and
        has(leaf7.ebx, 28) and has(leaf7.ebx, 30) and has(leaf7.ebx, 31);
    if (!v4) return found;
    found.insert(.x86_64_v4);
    if (!has(leaf7.ecx, 11)) return found;
    found.insert(.x86_64_v4_vnni);
    if (canUseTiles()) found.insert(.x86_64_v4_amx);
    return found;
}

/// Whether programs have the tiles of AMX for bytes.
pub fn canUseTiles() bool {
    if (builtin.os.tag != .linux or cpuid(0, 0).eax < 7 or !has(cpuid(1, 0).ecx, 27)) return false;
    const leaf7 = cpuid(7, 0);
    const tiles_saved = 0x6_0000;
    if (xgetbv() & tiles_saved != tiles_saved or !has(leaf7.edx, 24) or !has(leaf7.edx, 25)) {
        return false;
    }
    // Linux gives the registers to a process that asks, unless a thread has a signal stack without
    // room for them.
    const request_permission = 0x1023;
    const tile_data = 18;
    return std.os.linux.syscall2(.arch_prctl, request_permission, tile_data) == 0;
}

fn has(register: u32, bit: u5) bool {
    return register >> bit & 1 == 1;
}

const Cpuid = struct { eax: u32, ebx: u32, ecx: u32, edx: u32 };

fn cpuid(leaf: u32, subleaf: u32) Cpuid {
    var eax: u32 = undefined;
    var ebx: u32 = undefined;
    var ecx: u32 = undefined;
    var edx: u32 = undefined;
    asm volatile ("cpuid"
        : [eax] "={eax}" (eax),
          [ebx] "={ebx}" (ebx),
          [ecx] "={ecx}" (ecx),
          [edx] "={edx}" (edx),
        : [leaf] "{eax}" (leaf),
          [subleaf] "{ecx}" (subleaf),
    );
    return .{ .eax = eax, .ebx = ebx, .ecx = ecx, .edx = edx };
}

/// Register states that the system saves.
fn xgetbv() u32 {
    return asm volatile ("xgetbv"
        : [states] "={eax}" (-> u32),
        : [register] "{ecx}" (@as(u32, 0)),
        : .{ .edx = true });
}
