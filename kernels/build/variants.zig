//! Our kernels for each level of a processor family, compiled from one source into objects of the
//! one library. cpu/variant.zig chooses among them at run time. Objects share no inline code, so
//! nothing of a higher level can leak into what every processor runs.
const std = @import("std");
const Build = std.Build;

const Level = struct {
    name: []const u8,
    model: *const std.Target.Cpu.Model,
    more: std.Target.Cpu.Feature.Set = .empty,
};
const x86 = std.Target.x86.cpu;
const x86Features = std.Target.x86.featureSet;
const x86_levels = [_]Level{
    .{ .name = "x86_64_v2", .model = &x86.x86_64_v2 },
    .{ .name = "x86_64_v3", .model = &x86.x86_64_v3 },
    .{ .name = "x86_64_v3_vnni", .model = &x86.x86_64_v3, .more = x86Features(&.{.avxvnni}) },
    .{ .name = "x86_64_v4", .model = &x86.x86_64_v4 },
    .{ .name = "x86_64_v4_vnni", .model = &x86.x86_64_v4, .more = x86Features(&.{.avx512vnni}) },
    .{
        .name = "x86_64_v4_amx",
        .model = &x86.x86_64_v4,
        .more = x86Features(&.{ .avx512vnni, .amx_tile, .amx_int8 }),
    },
};
const arm = std.Target.aarch64.cpu;
const armFeatures = std.Target.aarch64.featureSet;
const arm_levels = [_]Level{
    .{ .name = "baseline", .model = &arm.generic },
    .{ .name = "dotprod", .model = &arm.generic, .more = armFeatures(&.{.dotprod}) },
};

/// Adds every variant to `module`.
pub fn add(b: *Build, module: *Build.Module) void {
    const target = module.resolved_target.?;
    const levels: []const Level = switch (target.result.cpu.arch) {
        .x86_64 => &x86_levels,
        .aarch64 => &arm_levels,
        else => unreachable, // ggml.zig has said so
    };
    for (levels) |level| {
        var query = target.query;
        query.cpu_arch = target.result.cpu.arch;
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
