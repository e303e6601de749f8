//! Builds the native library, its tests and the generated symbol table.
//! `zig build --help` lists the steps and options.
const std = @import("std");
const builtin = @import("builtin");
const ggml = @import("kernels/build/ggml.zig");
const variants = @import("kernels/build/variants.zig");
const Build = std.Build;

const zig_version = "0.17.0";
comptime {
    if (!std.mem.eql(u8, builtin.zig_version_string, zig_version)) @compileError(
        "Cannot build with Zig " ++ builtin.zig_version_string ++ ": expected " ++ zig_version,
    );
}

const Steps = struct {
    install: *Build.Step,
    verify: *Build.Step,
    @"test": *Build.Step,
    test_aarch64: *Build.Step,
    check: *Build.Step,
    symbols: *Build.Step,
    symbols_check: *Build.Step,

    fn init(b: *Build) Steps {
        return .{
            .install = b.getInstallStep(),
            .verify = b.step("verify", "Check what the library needs and shows, as install does"),
            .@"test" = b.step("test", "Run the Zig tests"),
            .test_aarch64 = b.step("test-aarch64", "Run those of the kernels on aarch64 by qemu"),
            .check = b.step("check", "Compile for this and every other target, install nothing"),
            .symbols = b.step("symbols", "Write src/ggml/symbols.generated.ts from the headers"),
            .symbols_check = b.step("symbols-check", "Fail if that file is stale"),
        };
    }
};

const Options = struct {
    target: Build.ResolvedTarget,
    optimize: std.lang.Optimize,
    strip: bool,
    /// Source tree of ggml.
    ggml: Build.LazyPath,

    fn init(b: *Build) Options {
        const Mode = enum { fast, debug };
        const mode = b.option(Mode, "optimize", "fast (default) or debug") orelse .fast;
        const strip = b.option(bool, "strip", "Leave debug information out (default: if fast)");
        const source = b.option([]const u8, "ggml", "Source tree of ggml (default: kernels/ggml)");
        return .{
            .target = b.standardTargetOptions(.{}),
            .optimize = if (mode == .fast) .fast else .debug,
            .strip = strip orelse (mode == .fast),
            .ggml = if (source) |path| b.graph.cwdRelativePath(path) else b.path("kernels/ggml"),
        };
    }
};

pub fn build(b: *Build) void {
    const steps: Steps = .init(b);
    const options: Options = .init(b);
    const library = addLibrary(b, options);
    addInstall(b, steps, library);
    addTests(b, steps, options, library);
    addCheck(b, steps, options);
    addSymbols(b, steps, options, library);
}

/// The one shared library: ggml, its CPU backend and our code.
fn addLibrary(b: *Build, options: Options) *Build.Step.Compile {
    const module = b.createModule(.{
        .root_source_file = b.path("kernels/exports.zig"),
        .target = options.target,
        .optimize = options.optimize,
        .strip = options.strip,
        .link_libc = true,
        .link_libcpp = true,
        .pic = true,
        .sanitize_c = .off,
        .omit_frame_pointer = options.optimize == .fast,
    });
    ggml.add(b, module, options.ggml);
    variants.add(b, module);
    module.addCSourceFile(.{ .file = b.path("kernels/ggml_layout.c"), .flags = &.{"-std=c11"} });
    const library = b.addLibrary(.{
        .name = "sluice",
        .linkage = .dynamic,
        .root_module = module,
        .use_llvm = true,
    });
    library.link_z_defs = true;
    library.link_gc_sections = true;
    if (options.target.result.os.tag == .linux) {
        library.setVersionScript(b.path("kernels/build/exports.map"));
    } else {
        library.install_name = "@rpath/libsluice.dylib";
    }
    return library;
}

/// Nothing is installed that `verify` refuses.
fn addInstall(b: *Build, steps: Steps, library: *Build.Step.Compile) void {
    const install = b.addInstallArtifact(library, .{});
    const verify = addVerify(b, library);
    install.step.dependOn(verify);
    steps.install.dependOn(&install.step);
    steps.verify.dependOn(verify);
}

fn addVerify(b: *Build, library: *Build.Step.Compile) *Build.Step {
    const run = b.addRunArtifact(addTool(b, "verify", false));
    run.addArtifactArg(library);
    run.expectExitCode(0);
    return &run.step;
}

fn addTests(b: *Build, steps: Steps, options: Options, library: *Build.Step.Compile) void {
    const tests = addKernelTests(b, options.target, library);
    steps.@"test".dependOn(&b.addRunArtifact(tests).step);
    steps.check.dependOn(&tests.step);
    for ([_][]const u8{ "declaration", "verify" }) |name| {
        const tool = b.addTest(.{ .name = name, .root_module = toolModule(b, name, false) });
        steps.@"test".dependOn(&b.addRunArtifact(tool).step);
    }
}

/// The tests of the kernels: they take ggml from the built library and all of ours from its source.
fn addKernelTests(
    b: *Build,
    target: Build.ResolvedTarget,
    library: *Build.Step.Compile,
) *Build.Step.Compile {
    const module = b.createModule(.{
        .root_source_file = b.path("kernels/tests.zig"),
        .target = target,
        .optimize = .safe,
        .link_libc = true,
    });
    module.linkLibrary(library);
    variants.add(b, module);
    module.addIncludePath(b.path("kernels/include/openmp"));
    module.addCSourceFile(.{
        .file = b.path("kernels/cpu/openmp_test.c"),
        .flags = &.{ "-std=c11", "-fopenmp" },
    });
    return b.addTest(.{ .name = "kernels", .root_module = module, .use_llvm = true });
}

/// Compiles and links all of it for targets that this machine is not, without optimizing.
fn addCheck(b: *Build, steps: Steps, options: Options) void {
    const triples = [_][]const u8{ "aarch64-linux-gnu", "aarch64-macos" };
    for (triples) |triple| {
        const query = Build.parseTargetQuery(.{ .arch_os_abi = triple }) catch unreachable;
        var other = options;
        other.target = b.resolveTargetQuery(query);
        other.optimize = .debug;
        const library = addLibrary(b, other);
        steps.check.dependOn(addVerify(b, library));
        if (other.target.result.os.tag == .linux) addEmulatedTests(b, steps, other.target, library);
    }
}

/// The tests of the kernels on processors of aarch64 that qemu plays, one for each variant. The
/// system's libraries are those of Debian's libc6-arm64-cross.
fn addEmulatedTests(
    b: *Build,
    steps: Steps,
    target: Build.ResolvedTarget,
    library: *Build.Step.Compile,
) void {
    const tests = addKernelTests(b, target, library);
    const qemu = b.findProgramLazy(.{ .names = &.{ "qemu-aarch64-static", "qemu-aarch64" } });
    for ([_][]const u8{ "cortex-a57", "max" }) |cpu| {
        const run: *Build.Step.Run = .create(b, b.fmt("run kernels on {s}", .{cpu}));
        run.addFileArg(qemu);
        run.addArgs(&.{ "-L", "/usr/aarch64-linux-gnu", "-cpu", cpu });
        run.addArtifactArg(tests);
        run.expectExitCode(0);
        steps.test_aarch64.dependOn(&run.step);
    }
}

/// The generated symbol table: `symbols` writes it, `symbols-check` compares.
fn addSymbols(b: *Build, steps: Steps, options: Options, library: *Build.Step.Compile) void {
    const table = "src/ggml/symbols.generated.ts";
    const generator = addTool(b, "symbols", true);
    const update = b.addUpdateSourceFiles();
    const generate = addGenerate(b, options, generator, library);
    update.addCopyFileToSource(generate.addOutputFileArg("symbols.generated.ts"), table);
    steps.symbols.dependOn(&update.step);
    const compare = addGenerate(b, options, generator, library);
    compare.addArg("--check");
    compare.addFileArg(b.path(table));
    compare.expectExitCode(0);
    steps.symbols_check.dependOn(&compare.step);
}

fn addGenerate(
    b: *Build,
    options: Options,
    generator: *Build.Step.Compile,
    library: *Build.Step.Compile,
) *Build.Step.Run {
    const run = b.addRunArtifact(generator);
    run.addArtifactArg(library);
    run.addFileArg(b.path("kernels/build/symbols.txt"));
    run.addFileArg(b.path("kernels/include/sluice.h"));
    run.addDirectoryArg(options.ggml.path(b, "include"));
    return run;
}

/// A program of kernels/build that runs during the build.
fn addTool(b: *Build, name: []const u8, opens_libraries: bool) *Build.Step.Compile {
    return b.addExecutable(.{ .name = name, .root_module = toolModule(b, name, opens_libraries) });
}

fn toolModule(b: *Build, name: []const u8, opens_libraries: bool) *Build.Module {
    return b.createModule(.{
        .root_source_file = b.path(b.fmt("kernels/build/{s}.zig", .{name})),
        .target = b.graph.host,
        .link_libc = opens_libraries,
    });
}
