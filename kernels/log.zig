//! Which of ggml's messages reach stderr.
const std = @import("std");
const ggml = @import("ggml.zig");
const Level = ggml.LogLevel;

/// A level above every message: nothing is shown.
const none: i32 = 5;

var threshold: std.atomic.Value(i32) = .init(@backingInt(Level.err));
/// A message may come in pieces; the later ones go where the first went.
threadlocal var last_shown = false;

/// Takes over ggml's log and its last words. Called once, before anything else of ggml.
pub fn install() void {
    ggml.ggml_log_set(&onMessage, null);
    _ = ggml.ggml_set_abort_callback(&onAbort);
}

/// Shows messages of `level` and above: 1 debug, 2 info, 3 warn, 4 error, 5 none.
pub fn setLevel(level: i32) void {
    threshold.store(std.math.clamp(level, @backingInt(Level.debug), none), .monotonic);
}

fn onMessage(level: Level, message: [*:0]const u8, _: ?*anyopaque) callconv(.c) void {
    if (level != .cont) last_shown = @backingInt(level) >= threshold.load(.monotonic);
    if (last_shown) write(std.mem.span(message));
}

/// ggml ends the process after this. Its own handler would attach a debugger first.
fn onAbort(message: [*:0]const u8) callconv(.c) void {
    lastWords(std.mem.span(message));
}

/// Writes a line to stderr whatever the level.
pub fn lastWords(message: []const u8) void {
    write(message);
    write("\n");
}

fn write(text: []const u8) void {
    var rest = text;
    while (rest.len != 0) {
        const n = std.c.write(std.c.STDERR_FILENO, rest.ptr, rest.len);
        if (n <= 0) return; // stderr is closed or full: nowhere to say so
        rest = rest[@intCast(n)..];
    }
}
