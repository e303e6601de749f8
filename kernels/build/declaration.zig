//! Reads function declarations and constants out of C headers, as far as the symbol table needs
//! them: every type that it does not know is an error, never a guess. Headers come without their
//! comments, see withoutComments().
const std = @import("std");

/// A type of src/runtime/ffi.ts.
pub const Type = enum { void, bool, i32, u32, i64, f32, f64, pointer, buffer };

pub const Function = struct {
    name: []const u8,
    /// The declaration on one line.
    text: []const u8,
    args: []const Type,
    returns: Type,
};

pub const Error = error{
    NotDeclared,
    NotAFunction,
    StructByValueOrCallback,
    UnknownType,
    TextReturned,
    OutOfMemory,
};

const Scalar = struct { name: []const u8, type: Type };
const scalars = [_]Scalar{
    .{ .name = "int", .type = .i32 },      .{ .name = "int32_t", .type = .i32 },
    .{ .name = "uint32_t", .type = .u32 }, .{ .name = "int64_t", .type = .i64 },
    .{ .name = "size_t", .type = .i64 },   .{ .name = "float", .type = .f32 },
    .{ .name = "double", .type = .f64 },   .{ .name = "bool", .type = .bool },
    .{ .name = "void", .type = .void },    .{ .name = "uint8_t", .type = .i32 },
};
/// Memory that a caller passes as a typed array.
const buffer_targets = [_][]const u8{
    "void", "char", "uint8_t", "int", "int32_t", "float", "double",
};
/// `typedef struct X * X_t`.
const handles = [_][]const u8{
    "ggml_gallocr_t",        "ggml_backend_t",
    "ggml_backend_buffer_t", "ggml_backend_buffer_type_t",
};

/// The declaration of `name` in `header`.
pub fn find(arena: std.mem.Allocator, header: []const u8, name: []const u8) Error!Function {
    var from: usize = 0;
    while (std.mem.findPos(u8, header, from, name)) |at| {
        from = at + name.len;
        if (at != 0 and isNameByte(header[at - 1])) continue;
        const rest = std.mem.trimStart(u8, header[from..], " \t");
        if (rest.len == 0 or rest[0] != '(') continue;
        const line_start = if (std.mem.findScalarLast(u8, header[0..at], '\n')) |i| i + 1 else 0;
        const before = header[line_start..at];
        const end = std.mem.findScalarPos(u8, header, from, ';') orelse return error.NotAFunction;
        return parse(arena, name, before, header[from..end]);
    }
    return error.NotDeclared;
}

fn parse(
    arena: std.mem.Allocator,
    name: []const u8,
    before: []const u8,
    after: []const u8,
) Error!Function {
    const returned = std.mem.trim(u8, withoutMacro(before), " \t");
    const open = std.mem.findScalar(u8, after, '(').?;
    const close = std.mem.findScalarLast(u8, after, ')') orelse return error.NotAFunction;
    const parameters = after[open + 1 .. close];
    if (std.mem.findScalar(u8, parameters, '(') != null) return error.StructByValueOrCallback;
    var args: std.ArrayList(Type) = .empty;
    var list = std.mem.splitScalar(u8, parameters, ',');
    while (list.next()) |parameter| {
        const text = std.mem.trim(u8, parameter, " \t\n\r");
        if (std.mem.eql(u8, text, "void") or text.len == 0) continue;
        try args.append(arena, try typeOf(withoutName(text)));
    }
    const returns = try typeOf(returned);
    const result: Type = switch (returns) {
        .buffer => if (std.mem.find(u8, returned, "char") != null)
            return error.TextReturned
        else
            .pointer,
        else => returns,
    };
    const text = try std.fmt.allocPrint(arena, "{s} {s}({s})", .{ returned, name, parameters });
    return .{
        .name = name,
        .text = try onOneLine(arena, text),
        .args = args.items,
        .returns = result,
    };
}

/// The table's type for a C type without a name.
fn typeOf(text: []const u8) Error!Type {
    var words: [8][]const u8 = undefined;
    var n: usize = 0;
    var stars: usize = 0;
    var tokens = std.mem.tokenizeAny(u8, text, " \t\n\r");
    while (tokens.next()) |token| {
        const word = std.mem.trim(u8, token, "*");
        stars += token.len - word.len;
        if (word.len == 0 or std.mem.eql(u8, word, "const")) continue;
        if (n == words.len) return error.UnknownType;
        words[n] = word;
        n += 1;
    }
    if (n == 2 and std.mem.eql(u8, words[0], "enum")) return if (stars == 0) .i32 else .buffer;
    if (n == 2 and std.mem.eql(u8, words[0], "struct")) {
        return if (stars == 1) .pointer else error.StructByValueOrCallback;
    }
    if (n != 1) return error.UnknownType;
    if (stars == 1) return if (isOneOf(words[0], &buffer_targets)) .buffer else error.UnknownType;
    if (stars != 0) return error.UnknownType;
    if (isOneOf(words[0], &handles)) return .pointer;
    for (scalars) |scalar| if (std.mem.eql(u8, scalar.name, words[0])) return scalar.type;
    return error.UnknownType;
}

fn isOneOf(word: []const u8, list: []const []const u8) bool {
    for (list) |item| if (std.mem.eql(u8, item, word)) return true;
    return false;
}

/// A parameter without its name: all but the last word, unless a star or nothing is left of it.
fn withoutName(parameter: []const u8) []const u8 {
    var end = parameter.len;
    while (end > 0 and isNameByte(parameter[end - 1])) end -= 1;
    const type_ = std.mem.trim(u8, parameter[0..end], " \t\n\r");
    return if (type_.len == 0) parameter else type_;
}

fn withoutMacro(text: []const u8) []const u8 {
    for ([_][]const u8{ "GGML_API", "GGML_BACKEND_API" }) |macro| {
        if (std.mem.find(u8, text, macro)) |at| return text[at + macro.len ..];
    }
    return text;
}

/// The header without its comments.
pub fn withoutComments(arena: std.mem.Allocator, text: []const u8) Error![]const u8 {
    var out: std.ArrayList(u8) = .empty;
    var rest = text;
    while (rest.len != 0) {
        if (std.mem.startsWith(u8, rest, "//")) {
            rest = rest[std.mem.findScalar(u8, rest, '\n') orelse rest.len ..];
        } else if (std.mem.startsWith(u8, rest, "/*")) {
            const end = std.mem.find(u8, rest, "*/") orelse return error.NotAFunction;
            rest = rest[end + 2 ..];
        } else {
            try out.append(arena, rest[0]);
            rest = rest[1..];
        }
    }
    return out.items;
}

fn onOneLine(arena: std.mem.Allocator, text: []const u8) Error![]const u8 {
    var out: std.ArrayList(u8) = .empty;
    var words = std.mem.tokenizeAny(u8, text, " \t\n\r");
    while (words.next()) |word| {
        if (out.items.len != 0 and out.getLast() != '(') try out.append(arena, ' ');
        try out.appendSlice(arena, word);
    }
    return out.items;
}

fn isNameByte(byte: u8) bool {
    return std.ascii.isAlphanumeric(byte) or byte == '_';
}

/// Value of `#define NAME value` or of the enum member `NAME = value`.
pub fn constant(header: []const u8, name: []const u8) Error![]const u8 {
    var from: usize = 0;
    while (std.mem.findPos(u8, header, from, name)) |at| {
        from = at + name.len;
        if (at == 0 or isNameByte(header[at - 1]) or isNameByte(header[from])) continue;
        const rest = std.mem.trimStart(u8, header[from..], " \t=");
        var end: usize = 0;
        while (end < rest.len and (std.ascii.isDigit(rest[end]) or rest[end] == '-')) end += 1;
        if (end != 0) return rest[0..end];
    }
    return error.NotDeclared;
}

pub const Member = struct { name: []const u8, value: []const u8 };

/// Members `PREFIX<NAME> = value` of an enum, in order.
pub fn members(header: []const u8, comptime start: []const u8, prefix: []const u8) Members {
    const at = (std.mem.find(u8, header, start) orelse return .{ .rest = "", .prefix = prefix });
    const body = header[at + start.len ..];
    const end = std.mem.findScalar(u8, body, '}') orelse body.len;
    return .{ .rest = body[0..end], .prefix = prefix };
}

pub const Members = struct {
    rest: []const u8,
    prefix: []const u8,

    pub fn next(self: *Members) Error!?Member {
        while (self.rest.len != 0) {
            const end = std.mem.findScalar(u8, self.rest, '\n') orelse self.rest.len;
            const line = std.mem.trim(u8, self.rest[0..end], " \t\r");
            self.rest = self.rest[@min(end + 1, self.rest.len)..];
            if (!std.mem.startsWith(u8, line, self.prefix)) continue;
            const equals = std.mem.findScalar(u8, line, '=') orelse return error.UnknownType;
            const comma = std.mem.findScalar(u8, line, ',') orelse line.len;
            return .{
                .name = std.mem.trim(u8, line[self.prefix.len..equals], " "),
                .value = std.mem.trim(u8, line[equals + 1 .. comma], " "),
            };
        }
        return null;
    }
};

/// Names of the functions that a header declares at the start of a line.
pub fn functionNames(header: []const u8, prefix: []const u8) FunctionNames {
    return .{ .lines = std.mem.splitScalar(u8, header, '\n'), .prefix = prefix };
}

pub const FunctionNames = struct {
    lines: std.mem.SplitIterator(u8, .scalar),
    prefix: []const u8,

    pub fn next(self: *FunctionNames) ?[]const u8 {
        while (self.lines.next()) |line| {
            if (line.len == 0 or !isNameByte(line[0])) continue;
            const open = std.mem.findScalar(u8, line, '(') orelse continue;
            var start = open;
            while (start > 0 and isNameByte(line[start - 1])) start -= 1;
            if (std.mem.startsWith(u8, line[start..open], self.prefix)) return line[start..open];
        }
        return null;
    }
};

const testing = std.testing;

test "withoutComments() leaves the code" {
    var arena: std.heap.ArenaAllocator = .init(testing.allocator);
    defer arena.deinit();
    const header = "int f(int a, // first, f(\n int b /* second */);/* g(); */\n";
    const bare = try withoutComments(arena.allocator(), header);
    try testing.expectEqualStrings("int f(int a, \n int b );\n", bare);
}

fn expectFunction(header: []const u8, name: []const u8, returns: Type, args: []const Type) !void {
    var arena: std.heap.ArenaAllocator = .init(testing.allocator);
    defer arena.deinit();
    const found = try find(arena.allocator(), header, name);
    try testing.expectEqual(returns, found.returns);
    try testing.expectEqualSlices(Type, args, found.args);
}

test "find() maps structs, memory, sizes and enums" {
    const header =
        \\    GGML_API struct ggml_tensor * ggml_f(
        \\            struct ggml_context * ctx,
        \\            const void          * data,
        \\            size_t                n,
        \\            enum ggml_type        type,
        \\            float                 eps);
        \\    GGML_API bool ggml_g (ggml_backend_t backend, int);
        \\    GGML_API void * ggml_h(void);
    ;
    try expectFunction(header, "ggml_f", .pointer, &.{ .pointer, .buffer, .i64, .i32, .f32 });
    try expectFunction(header, "ggml_g", .bool, &.{ .pointer, .i32 });
    try expectFunction(header, "ggml_h", .pointer, &.{});
}

test "find() refuses what the table cannot say" {
    var arena: std.heap.ArenaAllocator = .init(testing.allocator);
    defer arena.deinit();
    const a = arena.allocator();
    const header =
        \\ struct ggml_context * by_value(struct ggml_init_params params);
        \\ void callback(void (*f)(int));
        \\ const char * text(int i);
        \\ void unknown(wchar_t c);
    ;
    try testing.expectError(error.StructByValueOrCallback, find(a, header, "by_value"));
    try testing.expectError(error.StructByValueOrCallback, find(a, header, "callback"));
    try testing.expectError(error.TextReturned, find(a, header, "text"));
    try testing.expectError(error.UnknownType, find(a, header, "unknown"));
    try testing.expectError(error.NotDeclared, find(a, header, "missing"));
}

test "constant() reads macros and enum members" {
    const header = "#define A_B 24 // note\nenum { A_C = -2, A = 7 };\n";
    try testing.expectEqualStrings("24", try constant(header, "A_B"));
    try testing.expectEqualStrings("-2", try constant(header, "A_C"));
    try testing.expectEqualStrings("7", try constant(header, "A"));
}
