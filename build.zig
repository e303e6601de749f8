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
        "Cannot build with Zig " ++ builtin.zig_version_string ++ ": expected " ++ zig_version ++
            ", get it with tools/setup or set SLUICE_ZIG",
    );
}

const Steps = struct {
    install: *Build.Step,
    symbols: *Build.Step,
    symbols_check: *Build.Step,
    check: *Build.Step,
    @"test": *Build.Step,

    fn init(b: *Build) Steps {
        return .{
            .install = b.getInstallStep(),
            .symbols = b.step("symbols", "Write src/ggml/symbols.generated.ts from the headers"),
            .symbols_check = b.step("symbols-check", "Fail if src/ggml/symbols.generated.ts is stale"),
            .check = b.step("check", "Compile for every supported target, install nothing"),
            .@"test" = b.step("test", "Run the Zig tests"),
        };
    }
};

const Options = struct {
    target: Build.ResolvedTarget,
    optimize: std.lang.Optimize,
    strip: bool,
    ggml: Build.LazyPath,

    fn init(b: *Build) Options {
        const Mode = enum { fast, debug };
        const mode = b.option(Mode, "optimize", "fast (default) or debug") orelse .fast;
        const strip = b.option(bool, "strip", "Leave debug information out (default: unless debug)");
        const source = b.option([]const u8, "ggml", "Source tree of ggml (default: kernels/ggml)");
        return .{
            .target = b.standardTargetOptions(.{}),
            .optimize = switch (mode) {
                .fast => .fast,
                .debug => .debug,
            },
            .strip = strip orelse (mode == .fast),
            .ggml = if (source) |path| b.graph.cwdRelativePath(path) else b.path("kernels/ggml"),
        };
    }
};

pub fn build(b: *Build) void {
    const steps: Steps = .init(b);
    const options: Options = .init(b);
    const library = addLibrary(b, options);
    steps.install.dependOn(&b.addInstallArtifact(library, .{}).step);
    addSymbols(b, steps, options, library);
}

/// The generated symbol table: `symbols` writes it, `symbols-check` compares.
fn addSymbols(b: *Build, steps: Steps, options: Options, library: *Build.Step.Compile) void {
    const table = "src/ggml/symbols.generated.ts";
    const generator = b.addExecutable(.{
        .name = "symbols",
        .root_module = b.createModule(.{
            .root_source_file = b.path("kernels/build/symbols.zig"),
            .target = b.graph.host,
            .link_libc = true, // to open the library
        }),
    });
    const run = b.addRunArtifact(generator);
    run.addArtifactArg(library);
    run.addFileArg(b.path("kernels/build/symbols.txt"));
    run.addFileArg(b.path("kernels/include/sluice.h"));
    run.addDirectoryArg(options.ggml.path(b, "include"));
    const generated = run.addOutputFileArg("symbols.generated.ts");
    const update = b.addUpdateSourceFiles();
    update.addCopyFileToSource(generated, table);
    steps.symbols.dependOn(&update.step);
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
        .omit_frame_pointer = options.strip,
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
    }
    return library;
}
