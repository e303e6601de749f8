//! Sleep on a 32-bit word until somebody changes it: Linux futex, macOS __ulock. The only file that
//! names either. Both may return early, so every caller loops over its own condition.
const std = @import("std");
const builtin = @import("builtin");

pub const Word = std.atomic.Value(u32);

/// Sleeps while `word` holds `value`; returns at once when it does not.
pub fn wait(word: *const Word, value: u32) void {
    switch (builtin.os.tag) {
        .linux => _ = std.os.linux.futex_4arg(
            &word.raw,
            .{ .cmd = .WAIT, .private = true },
            value,
            null,
        ),
        .macos => _ = __ulock_wait(compare_and_wait | no_errno, &word.raw, value, 0),
        else => @compileError("futex.zig knows Linux and macOS only"),
    }
}

/// Wakes every thread that sleeps on `word`.
pub fn wakeAll(word: *const Word) void {
    switch (builtin.os.tag) {
        .linux => _ = std.os.linux.futex_3arg(
            &word.raw,
            .{ .cmd = .WAKE, .private = true },
            std.math.maxInt(i32),
        ),
        .macos => _ = __ulock_wake(compare_and_wait | wake_all | no_errno, &word.raw, 0),
        else => @compileError("futex.zig knows Linux and macOS only"),
    }
}

// Private but stable calls of macOS that libc++ and Rust build on too; timeout 0 is none.
extern "c" fn __ulock_wait(op: u32, address: *const anyopaque, value: u64, timeout_us: u32) c_int;
extern "c" fn __ulock_wake(op: u32, address: *const anyopaque, value: u64) c_int;
const compare_and_wait: u32 = 1;
const wake_all: u32 = 0x100;
const no_errno: u32 = 0x01000000;
