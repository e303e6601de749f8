//! Memory that a thread keeps from call to call, freed when the thread ends.
const std = @import("std");
const library = @import("../library.zig");

/// What is kept at most between two calls; a larger need is served and then given back.
const kept_max = 16 << 20;
const alignment: std.mem.Alignment = .@"64";

const Block = struct { bytes: []align(64) u8 };
threadlocal var block: ?*Block = null;

/// One call's use of the thread's memory.
pub const Scratch = struct {
    free: []align(64) u8,

    /// Takes room for `n` items. What `take` gives adds up to at most the size that `begin` got.
    pub fn take(scratch: *Scratch, comptime T: type, n: usize) []T {
        const size = sizeOf(T, n);
        const part = scratch.free[0..size];
        scratch.free = @alignCast(scratch.free[size..]);
        return @as([*]T, @ptrCast(@alignCast(part.ptr)))[0..n];
    }
};

/// Bytes that `take(T, n)` uses.
pub fn sizeOf(comptime T: type, n: usize) usize {
    return std.mem.alignForward(usize, n * @sizeOf(T), 64);
}

/// The thread's memory, `size` bytes of it, until the next `begin` of this thread. Null: none left.
pub fn begin(size: usize) ?Scratch {
    const own = block orelse create() orelse return null;
    if (own.bytes.len < size or own.bytes.len > kept_max) {
        std.heap.c_allocator.free(own.bytes);
        own.bytes = &.{};
        const rounded = std.mem.alignForward(usize, size, 64 << 10);
        own.bytes = std.heap.c_allocator.alignedAlloc(u8, alignment, rounded) catch return null;
    }
    return .{ .free = own.bytes };
}

fn create() ?*Block {
    const own = std.heap.c_allocator.create(Block) catch return null;
    own.* = .{ .bytes = &.{} };
    library.retain(); // the destructor below is code of this library
    const key = threadEndKey() orelse {
        std.heap.c_allocator.destroy(own);
        return null;
    };
    if (std.c.pthread_setspecific(key, own) != 0) {
        std.heap.c_allocator.destroy(own);
        return null;
    }
    block = own;
    return own;
}

fn onThreadEnd(value: *anyopaque) callconv(.c) void {
    const own: *Block = @ptrCast(@alignCast(value));
    std.heap.c_allocator.free(own.bytes);
    std.heap.c_allocator.destroy(own);
}

const KeyState = enum(u8) { none, making, ready };
var key_state: std.atomic.Value(KeyState) = .init(.none);
var end_key: std.c.pthread_key_t = undefined;

/// The process-wide key whose destructor frees the block of a thread that ends.
fn threadEndKey() ?std.c.pthread_key_t {
    while (true) switch (key_state.load(.acquire)) {
        .ready => return end_key,
        .making => std.Thread.yield() catch {},
        .none => {
            if (key_state.cmpxchgStrong(.none, .making, .acquire, .monotonic) != null) continue;
            const failed = std.c.pthread_key_create(&end_key, &onThreadEnd) != .SUCCESS;
            key_state.store(if (failed) .none else .ready, .release);
            if (failed) return null;
        },
    };
}
