//! Our kernels for each level of x86-64, compiled from one source into objects of the one library.
//! cpu/variant.zig chooses among them at run time. Objects share no inline code, so nothing of a
//! higher level can leak into what every processor runs.
const std = @import("std");
const Build = std.Build;

const Level = struct {
    name: []const u8,
    model: *const std.Target.Cpu.Model,
    more: std.Target.Cpu.Feature.Set = .empty,
};
const x86 = std.Target.x86.cpu;
const features = std.Target.x86.featureSet;
const levels = [_]Level{
    .{ .name = "x86_64_v2", .model = &x86.x86_64_v2 },
    .{ .name = "x86_64_v3", .model = &x86.x86_64_v3 },
    .{ .name = "x86_64_v3_vnni", .model = &x86.x86_64_v3, .more = features(&.{.avxvnni}) },
    .{ .name = "x86_64_v4", .model = &x86.x86_64_v4 },
    .{ .name = "x86_64_v4_vnni", .model = &x86.x86_64_v4, .more = features(&.{.avx512vnni}) },
};

/// Adds every variant to `module`; on other processors than x86-64 there is nothing to add.
pub fn add(b: *Build, module: *Build.Module) void {
    const target = module.resolved_target.?;
    if (target.result.cpu.arch != .x86_64) return;
    for (levels) |level| {
        var query = target.query;
        query.cpu_arch = .x86_64;
        query.cpu_model = .{ .explicit = level.model };
        query.cpu_features_add = level.more;
        query.cpu_features_sub = .empty;
        const options = b.addOptions();
        options.addOption([]const u8, "name", level.name);
        const root = b.createModule(.{
            .root_source_file = b.path("kernels/cpu/variant_root.zig"),
            .target = b.resolveTargetQuery(query),
            .optimize = module.optimize,
            .strip = module.strip,
            .pic = true,
        });
        root.addOptions("options", options);
        module.addObject(b.addObject(.{
            .name = level.name,
            .root_module = root,
            .use_llvm = true, // Zig's own backend has no 512-bit vectors yet
        }));
    }
}
