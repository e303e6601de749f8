//! Fails unless two files are equal: `same FRESH CHECKED_IN COMMAND`, COMMAND being what renews it.
const std = @import("std");

pub fn main(init: std.process.Init) !void {
    const arena = init.arena.allocator();
    const args = try init.minimal.args.toSlice(arena);
    if (args.len != 4) return error.ExpectedThreeArguments;
    const cwd = std.Io.Dir.cwd();
    const fresh = try cwd.readFileAlloc(init.io, args[1], arena, .limited(4 << 20));
    const kept = try cwd.readFileAlloc(init.io, args[2], arena, .limited(4 << 20));
    if (std.mem.eql(u8, fresh, kept)) return;
    std.log.err("{s} is stale: run {s}", .{ args[2], args[3] });
    std.process.exit(1);
}
