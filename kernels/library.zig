//! The library as a loaded file: once used, it stays in the process.
//!
//! Its workers and its thread-local destructors would run into unmapped memory if a runtime closed
//! it, as Deno does at exit. Called before anything of that kind exists.
const std = @import("std");
const log = @import("log.zig");

const DlInfo = extern struct {
    file_name: ?[*:0]const u8,
    file_base: ?*anyopaque,
    symbol_name: ?[*:0]const u8,
    symbol_address: ?*anyopaque,
};
extern "c" fn dladdr(address: *const anyopaque, info: *DlInfo) c_int;

var retained: std.atomic.Value(bool) = .init(false);

/// Takes a reference to the library that is never given back. Does nothing in a static program.
pub fn retain() void {
    if (retained.swap(true, .monotonic)) return;
    var info: DlInfo = undefined;
    if (dladdr(&retained, &info) == 0) return;
    const file_name = info.file_name orelse return;
    // NOLOAD: only ever this library, never another file of its name; NODELETE: for good.
    _ = std.c.dlopen(file_name, .{ .NOW = true, .NOLOAD = true, .NODELETE = true });
}

/// Makes the library ready; sluice_abi_version() calls it, and every later call does nothing.
pub fn open() void {
    if (opened.swap(true, .monotonic)) return;
    retain();
    log.install();
}
var opened: std.atomic.Value(bool) = .init(false);
