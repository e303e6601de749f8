//! Writes the TypeScript symbol table from the C headers, or fails when the written one is stale.
//!
//!     symbols LIBRARY SYMBOLS.TXT SLUICE.H GGML_INCLUDE_DIR OUTPUT
//!     symbols LIBRARY SYMBOLS.TXT SLUICE.H GGML_INCLUDE_DIR --check WRITTEN
//!
//! The headers say what a function takes, the built library that it is there and how large a block
//! of each type is. What the table cannot say (a struct by value, a callback, text) is an error.
const std = @import("std");
const declaration = @import("declaration.zig");
const Io = std.Io;

/// Longest line of the output.
const columns_max = 100;
const header_bytes_max = 4 << 20;

const Inputs = struct {
    library: std.DynLib,
    /// symbols.txt: names by header.
    names: []const u8,
    sluice_header: []const u8,
    /// Text of a ggml header.
    include: Io.Dir,
};

pub fn main(init: std.process.Init) !void {
    const arena = init.arena.allocator();
    const io = init.io;
    const args = try init.minimal.args.toSlice(arena);
    const checks = args.len == 7 and std.mem.eql(u8, args[5], "--check");
    if (args.len != 6 and !checks) return error.WrongArguments;
    const cwd = Io.Dir.cwd();
    const inputs: Inputs = .{
        .library = try .open(args[1]),
        .names = try cwd.readFileAlloc(io, args[2], arena, .limited(header_bytes_max)),
        .sluice_header = try readHeader(arena, io, cwd, args[3]),
        .include = try cwd.openDir(io, args[4], .{}),
    };
    var out: Io.Writer.Allocating = .init(arena);
    try write(arena, io, inputs, &out.writer);
    if (!checks) return cwd.writeFile(io, .{ .sub_path = args[5], .data = out.written() });
    const written = try cwd.readFileAlloc(io, args[6], arena, .limited(header_bytes_max));
    if (std.mem.eql(u8, written, out.written())) return;
    std.log.err("{s} is stale: run zig build symbols", .{args[6]});
    std.process.exit(1);
}

fn write(arena: std.mem.Allocator, io: Io, inputs: Inputs, w: *Io.Writer) !void {
    try w.writeAll(
        \\/**
        \\ * The functions, types and constants of ggml and sluice.h that TypeScript uses.
        \\ *
        \\ * Generated from the C headers: do not edit, run `zig build symbols`.
        \\ *
        \\ * @module
        \\ */
        \\import type { SymbolTable } from "../runtime/ffi.ts";
        \\
        \\
    );
    const ggml_header = try readHeader(arena, io, inputs.include, "ggml.h");
    try writeConstants(w, "SLUICE_", inputs.sluice_header, &.{ "OK", "ABORTED", "FAILED" });
    const version = try declaration.constant(inputs.sluice_header, "SLUICE_ABI_VERSION");
    try w.writeAll("/** What sluice_abi_version() must return. */\n");
    try w.print("export const ABI_VERSION = {s};\n", .{version});
    try writeConstants(w, "GGML_ROPE_TYPE_", ggml_header, &.{
        "NORMAL", "NEOX", "MROPE", "VISION", "IMROPE",
    });
    try writeConstants(w, "GGML_PREC_", ggml_header, &.{ "DEFAULT", "F32" });
    const backend_header = try readHeader(arena, io, inputs.include, "ggml-backend.h");
    try writeConstants(w, "GGML_BACKEND_BUFFER_USAGE_", backend_header, &.{
        "ANY", "WEIGHTS", "COMPUTE",
    });
    try writeTypes(arena, inputs, ggml_header, w);
    try w.writeAll("/** Every function by name, with its C declaration. */\n");
    try w.writeAll("export const symbols = {\n");
    try writeGgmlFunctions(arena, io, inputs, w);
    try writeSluiceFunctions(arena, inputs, w);
    try w.writeAll("} as const satisfies SymbolTable;\n");
}

fn readHeader(arena: std.mem.Allocator, io: Io, dir: Io.Dir, name: []const u8) ![]const u8 {
    const text = try dir.readFileAlloc(io, name, arena, .limited(header_bytes_max));
    return declaration.withoutComments(arena, text);
}

fn writeConstants(
    w: *Io.Writer,
    comptime prefix: []const u8,
    header: []const u8,
    comptime names: []const []const u8,
) !void {
    inline for (names) |name| {
        const value = try declaration.constant(header, prefix ++ name);
        try w.print("export const {s} = {s};\n", .{ prefix ++ name, value });
    }
}

/// One row for each member of enum ggml_type that the library still knows.
fn writeTypes(
    arena: std.mem.Allocator,
    inputs: Inputs,
    header: []const u8,
    w: *Io.Writer,
) !void {
    var library = inputs.library;
    const Size = *const fn (c_int) callconv(.c) usize;
    const BlockSize = *const fn (c_int) callconv(.c) i64;
    const typeSize = library.lookup(Size, "ggml_type_size") orelse return error.NoTypeSize;
    const blockSize = library.lookup(BlockSize, "ggml_blck_size") orelse return error.NoBlockSize;
    try w.writeAll(
        \\
        \\/** Element types: ggml's number, elements of a block, bytes of a block. */
        \\export const GGML_TYPES = {
        \\
    );
    var members = declaration.members(header, "enum ggml_type {", "GGML_TYPE_");
    while (try members.next()) |member| {
        if (std.mem.eql(u8, member.name, "COUNT")) continue;
        const id = try std.fmt.parseInt(c_int, member.value, 10);
        const name = try std.ascii.allocLowerString(arena, member.name);
        try w.print("  {s}: {{ id: {d}, blockSize: {d}, typeSize: {d} }},\n", .{
            name, id, blockSize(id), typeSize(id),
        });
    }
    try w.writeAll("} as const;\n\n");
}

fn writeGgmlFunctions(arena: std.mem.Allocator, io: Io, inputs: Inputs, w: *Io.Writer) !void {
    var header: ?[]const u8 = null;
    var lines = std.mem.tokenizeScalar(u8, inputs.names, '\n');
    while (lines.next()) |line| {
        const name = std.mem.trim(u8, line, " \r");
        if (name.len == 0 or name[0] == '#') continue;
        if (std.mem.endsWith(u8, name, ".h")) {
            header = try readHeader(arena, io, inputs.include, name);
            continue;
        }
        const text = header orelse return error.NameBeforeHeader;
        try writeFunction(arena, inputs, try lookUp(arena, text, name), w);
    }
}

fn writeSluiceFunctions(arena: std.mem.Allocator, inputs: Inputs, w: *Io.Writer) !void {
    var names = declaration.functionNames(inputs.sluice_header, "sluice_");
    while (names.next()) |name| {
        try writeFunction(arena, inputs, try lookUp(arena, inputs.sluice_header, name), w);
    }
}

fn lookUp(arena: std.mem.Allocator, header: []const u8, name: []const u8) !declaration.Function {
    return declaration.find(arena, header, name) catch |err| {
        std.log.err("Cannot put {s} into the table: {t}", .{ name, err });
        return err;
    };
}

fn writeFunction(
    arena: std.mem.Allocator,
    inputs: Inputs,
    function: declaration.Function,
    w: *Io.Writer,
) !void {
    var library = inputs.library;
    const name_z = try arena.dupeSentinel(u8, function.name, 0);
    if (library.lookup(*anyopaque, name_z) == null) {
        std.log.err("Cannot put {s} into the table: the library does not export it", .{name_z});
        return error.NotExported;
    }
    try writeComment(function.text, w);
    var args: Io.Writer.Allocating = .init(arena);
    for (function.args, 0..) |arg, i| {
        try args.writer.print("{s}\"{t}\"", .{ if (i == 0) "" else ", ", arg });
    }
    const list = args.written();
    const one_line = "  : { args: [], returns: \"\" },".len + function.name.len + list.len +
        @tagName(function.returns).len;
    if (one_line <= columns_max) {
        try w.print("  {s}: {{ args: [{s}], returns: \"{t}\" }},\n", .{
            function.name, list, function.returns,
        });
        return;
    }
    try w.print("  {s}: {{\n", .{function.name});
    if ("    args: [],".len + list.len <= columns_max) {
        try w.print("    args: [{s}],\n", .{list});
    } else {
        try w.writeAll("    args: [\n");
        for (function.args) |arg| try w.print("      \"{t}\",\n", .{arg});
        try w.writeAll("    ],\n");
    }
    try w.print("    returns: \"{t}\",\n  }},\n", .{function.returns});
}

/// A declaration as a comment, broken between words.
fn writeComment(text: []const u8, w: *Io.Writer) !void {
    var words = std.mem.tokenizeScalar(u8, text, ' ');
    var column: usize = 0;
    while (words.next()) |word| {
        if (column == 0 or column + 1 + word.len > columns_max) {
            if (column != 0) try w.writeAll("\n");
            const start = if (column == 0) "  // " else "  //   ";
            try w.print("{s}{s}", .{ start, word });
            column = start.len + word.len;
        } else {
            try w.print(" {s}", .{word});
            column += 1 + word.len;
        }
    }
    try w.writeAll("\n");
}
