//! How ggml is compiled into the library: its core, its registry and its CPU backend, from a pinned
//! source tree. One list per kind of file; no other file of the build names a ggml source.
const std = @import("std");
const Build = std.Build;

const core_c = [_][]const u8{ "src/ggml.c", "src/ggml-alloc.c", "src/ggml-quants.c" };
// Without src/ggml.cpp: all it does is to attach a debugger when a C++ exception ends the process.
const core_cpp = [_][]const u8{
    "src/ggml-backend.cpp",     "src/ggml-backend-meta.cpp", "src/ggml-opt.cpp",
    "src/ggml-threading.cpp",   "src/gguf.cpp",              "src/ggml-backend-dl.cpp",
    "src/ggml-backend-reg.cpp",
};
const cpu_c = [_][]const u8{"src/ggml-cpu/quants.c"};
const cpu_cpp = [_][]const u8{
    "src/ggml-cpu/ggml-cpu.cpp", "src/ggml-cpu/repack.cpp",     "src/ggml-cpu/iqp.cpp",
    "src/ggml-cpu/hbm.cpp",      "src/ggml-cpu/traits.cpp",     "src/ggml-cpu/amx/amx.cpp",
    "src/ggml-cpu/amx/mmq.cpp",  "src/ggml-cpu/binary-ops.cpp", "src/ggml-cpu/unary-ops.cpp",
    "src/ggml-cpu/vec.cpp",      "src/ggml-cpu/ops.cpp",        "src/ggml-cpu/llamafile/sgemm.cpp",
};
/// The one file that starts threads; `-fopenmp` makes it call the entry points of cpu/openmp.zig.
/// The loops of ggml-quants.c and amx/ would need more of them and run on one thread instead.
const threads_c = "src/ggml-cpu/ggml-cpu.c";

/// Adds ggml to `module`. `source` is its source tree.
pub fn add(b: *Build, module: *Build.Module, source: Build.LazyPath) void {
    const target = module.resolved_target.?.result;
    for ([_][]const u8{ "include", "src", "src/ggml-cpu" }) |dir| {
        module.addIncludePath(source.path(b, dir));
    }
    module.addIncludePath(versionHeader(b).getDirectory());
    module.addIncludePath(b.path("kernels/include/openmp"));

    const flags = commonFlags(b, target, module.optimize.? == .fast);
    const c = concat(b, flags, &.{"-std=c11"});
    const cpp = concat(b, flags, &.{ "-std=c++17", "-fvisibility-inlines-hidden" });
    const threads = concat(b, c, &.{ "-fopenmp", "-DGGML_USE_OPENMP" });
    module.addCSourceFile(.{ .file = source.path(b, threads_c), .flags = threads });
    module.addCSourceFiles(.{ .root = source, .files = &core_c, .flags = c });
    module.addCSourceFiles(.{ .root = source, .files = &cpu_c, .flags = c });
    module.addCSourceFiles(.{ .root = source, .files = &core_cpp, .flags = cpp });
    module.addCSourceFiles(.{ .root = source, .files = &cpu_cpp, .flags = cpp });
    const arch = archDir(target.cpu.arch);
    module.addCSourceFile(.{
        .file = source.path(b, b.fmt("src/ggml-cpu/arch/{s}/quants.c", .{arch})),
        .flags = c,
    });
    module.addCSourceFile(.{
        .file = source.path(b, b.fmt("src/ggml-cpu/arch/{s}/repack.cpp", .{arch})),
        .flags = cpp,
    });
}

/// Directory of ggml's hand-written kernels for `arch`.
fn archDir(arch: std.Target.Cpu.Arch) []const u8 {
    return switch (arch) {
        .x86_64 => "x86",
        .aarch64 => "arm",
        else => std.debug.panic(
            "Cannot build for {t}: expected x86_64 or aarch64, choose one with -Dtarget",
            .{arch},
        ),
    };
}

fn commonFlags(b: *Build, target: std.Target, is_fast: bool) []const []const u8 {
    const flags = [_][]const u8{
        "-fvisibility=hidden",
        "-D_GNU_SOURCE",
        "-DNDEBUG",
        "-DGGML_SHARED",
        "-DGGML_BUILD",
        "-DGGML_BACKEND_SHARED",
        "-DGGML_BACKEND_BUILD",
        "-DGGML_SCHED_MAX_COPIES=4",
        "-DGGML_USE_CPU",
        "-DGGML_USE_CPU_REPACK",
        "-DGGML_USE_LLAMAFILE",
    };
    // Zig's own default for C is -O2; ggml's release build is tuned for -O3.
    const level: []const []const u8 = if (is_fast) &.{"-O3"} else &.{};
    const is_macos = target.os.tag == .macos;
    const system: []const []const u8 = if (is_macos) &.{"-D_DARWIN_C_SOURCE"} else &.{};
    return concat(b, concat(b, &flags, level), system);
}

/// What ggml's own build writes: the release that is pinned, for ggml_version().
fn versionHeader(b: *Build) *Build.Step.WriteFile {
    const Lock = struct { version: []const u8 };
    const text = @embedFile("../ggml.lock.json");
    const options: std.json.ParseOptions = .{ .ignore_unknown_fields = true };
    const lock = std.json.parseFromSliceLeaky(Lock, b.allocator, text, options) catch |err|
        std.debug.panic("Cannot read kernels/ggml.lock.json: {t}", .{err});
    const files = b.addWriteFiles();
    const header = b.fmt(
        "#define GGML_VERSION \"{s}\"\n#define GGML_COMMIT \"release\"\n",
        .{lock.version},
    );
    _ = files.add("ggml-version.h", header);
    return files;
}

fn concat(b: *Build, head: []const []const u8, tail: []const []const u8) []const []const u8 {
    return std.mem.concat(b.allocator, []const u8, &.{ head, tail }) catch @panic("OOM");
}
