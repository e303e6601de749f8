//! The sentence behind a failed call, kept for the thread that made it.
const std = @import("std");

threadlocal var text: [512]u8 = undefined;
threadlocal var length: usize = 0;

/// What every fallible function of the library returns; the sentence is already kept.
pub const Error = error{Failed};

/// Keeps one sentence: what failed, the value, what was expected. Cut where the buffer ends.
pub fn set(comptime format: []const u8, args: anytype) Error {
    var writer: std.Io.Writer = .fixed(&text);
    writer.print(format, args) catch {}; // full: the sentence is cut
    length = writer.end;
    return error.Failed;
}

/// The last sentence of this thread, empty if there was none.
pub fn get() []const u8 {
    return text[0..length];
}
