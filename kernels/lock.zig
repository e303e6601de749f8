//! A lock on a file between processes: the kernel's own, so it ends with the process that holds it.
const std = @import("std");
const failure = @import("failure.zig");
const c = std.c;

pub const Lock = struct {
    file: c.fd_t,

    /// Makes the file where it is missing, and locks it; fails at once where somebody else has.
    pub fn take(path: [*:0]const u8) failure.Error!*Lock {
        const how: c.O = .{ .ACCMODE = .RDWR, .CREAT = true, .CLOEXEC = true };
        const file = c.open(path, how, @as(c.mode_t, 0o666));
        if (file < 0) return failure.set("Cannot lock '{s}': {t}", .{ path, errno() });
        errdefer _ = c.close(file);
        if (c.flock(file, c.LOCK.EX | c.LOCK.NB) != 0) {
            if (errno() == .AGAIN) return failure.set("Cannot lock '{s}': it is locked", .{path});
            return failure.set("Cannot lock '{s}': {t}", .{ path, errno() });
        }
        const lock = std.heap.c_allocator.create(Lock) catch
            return failure.set("Cannot lock '{s}': out of memory", .{path});
        lock.* = .{ .file = file };
        return lock;
    }

    pub fn release(lock: *Lock) void {
        _ = c.close(lock.file);
        std.heap.c_allocator.destroy(lock);
    }
};

fn errno() c.E {
    return @fromBackingInt(@intCast(c._errno().*));
}

test "take() lets one in at a time" {
    const testing = std.testing;
    var folder = testing.tmpDir(.{});
    defer folder.cleanup();
    try folder.dir.writeFile(testing.io, .{ .sub_path = "lock", .data = "" });
    const path = try folder.dir.realPathFileAlloc(testing.io, "lock", testing.allocator);
    defer testing.allocator.free(path);
    const first = try Lock.take(path);
    try testing.expectError(error.Failed, Lock.take(path));
    try testing.expect(std.mem.endsWith(u8, failure.get(), "it is locked"));
    first.release();
    const second = try Lock.take(path);
    second.release();
    try testing.expectError(error.Failed, Lock.take("/no/such/folder/lock"));
    try testing.expectEqualStrings("Cannot lock '/no/such/folder/lock': NOENT", failure.get());
}
