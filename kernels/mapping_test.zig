//! Mapped files and tensors in them, with ggml from the built library.
const std = @import("std");
const ggml = @import("ggml.zig");
const failure = @import("failure.zig");
const tensor = @import("tensor.zig");
const Mapping = @import("mapping.zig").Mapping;
const testing = std.testing;

extern fn ggml_backend_cpu_buffer_type() *ggml.BufferType;

/// A file of `n` floats 0, 1, 2 ... in the test's own folder.
const Fixture = struct {
    folder: testing.TmpDir,
    path: [:0]const u8,
    size: f64,

    fn init(n: usize) !Fixture {
        var folder = testing.tmpDir(.{});
        const values = try testing.allocator.alloc(f32, n);
        defer testing.allocator.free(values);
        for (values, 0..) |*value, i| value.* = @floatFromInt(i);
        const bytes = std.mem.sliceAsBytes(values);
        try folder.dir.writeFile(testing.io, .{ .sub_path = "numbers", .data = bytes });
        const path = try folder.dir.realPathFileAlloc(testing.io, "numbers", testing.allocator);
        return .{ .folder = folder, .path = path, .size = @floatFromInt(bytes.len) };
    }

    fn deinit(fixture: *Fixture) void {
        testing.allocator.free(fixture.path);
        fixture.folder.cleanup();
    }
};

test "open() maps a file of the expected size only" {
    var fixture: Fixture = try .init(5000);
    defer fixture.deinit();
    try testing.expectError(error.Failed, Mapping.open(fixture.path, fixture.size + 1));
    try testing.expectError(error.Failed, Mapping.open(fixture.path, 0));
    try testing.expectError(error.Failed, Mapping.open(fixture.path, 0.5));
    try testing.expectError(error.Failed, Mapping.open("/no/such/file", 1));
    try testing.expectEqualStrings("Cannot open '/no/such/file': NOENT", failure.get());
    const mapping = try Mapping.open(fixture.path, fixture.size);
    try mapping.populate(0, fixture.size);
    try mapping.discard(0, fixture.size);
    const values = std.mem.bytesAsSlice(f32, mapping.bytes);
    for (values, 0..) |value, i| try testing.expectEqual(@as(f32, @floatFromInt(i)), value);
    try testing.expectError(error.Failed, mapping.populate(fixture.size, 1));
    try testing.expectError(error.Failed, mapping.discard(-1, 1));
    try testing.expectError(error.Failed, mapping.buffer(4, 4));
    try mapping.close();
}

test "read() joins pieces of the file and place() binds a tensor to it" {
    var fixture: Fixture = try .init(1024);
    defer fixture.deinit();
    const mapping = try Mapping.open(fixture.path, fixture.size);
    defer mapping.close() catch {};
    const context = try tensor.newContext(1 << 16);
    defer ggml.ggml_free(context);

    const joined = ggml.ggml_new_tensor_4d(context, .f32, 64, 1, 1, 1);
    try testing.expectError(error.Failed, mapping.read(&.{ 0, 256 }, joined)); // no buffer yet
    const own = ggml.ggml_backend_buft_alloc_buffer(ggml_backend_cpu_buffer_type(), 512).?;
    defer ggml.ggml_backend_buffer_free(own);
    try testing.expectError(error.Failed, tensor.place(own, joined, 4));
    try testing.expectError(error.Failed, tensor.place(own, joined, 512));
    try tensor.place(own, joined, 256);
    try testing.expectError(error.Failed, tensor.place(own, joined, 0)); // placed already
    try testing.expectError(error.Failed, mapping.read(&.{ 0, 252 }, joined));
    try mapping.read(&.{ 4000, 64, 40, 192 }, joined);
    const values: [*]const f32 = @ptrCast(@alignCast(joined.data.?));
    try testing.expectEqual(1000, values[0]);
    try testing.expectEqual(10, values[16]);
    try testing.expectEqual(57, values[63]);

    const mapped = ggml.ggml_new_tensor_4d(context, .f32, 8, 1, 1, 1);
    const over = try mapping.buffer(512, 1024);
    defer ggml.ggml_backend_buffer_free(over);
    try tensor.place(over, mapped, 64);
    const numbers: [*]const f32 = @ptrCast(@alignCast(mapped.data.?));
    try testing.expectEqual(144, numbers[0]);
    // It would write the file.
    try testing.expectError(error.Failed, mapping.read(&.{ 0, 32 }, mapped));
}

test "accepts() says which weights the CPU's own layouts take" {
    const context = try tensor.newContext(1 << 16);
    defer ggml.ggml_free(context);
    const q4_0: ggml.Type = @fromBackingInt(@intCast(2));
    var index: usize = 0;
    var n_accepting: usize = 0;
    while (tensor.extraBufferType(index)) |layout| : (index += 1) {
        const weight = ggml.ggml_new_tensor_4d(context, q4_0, 256, 256, 1, 1);
        const odd = ggml.ggml_new_tensor_4d(context, .f32, 3, 5, 1, 1);
        n_accepting += @intFromBool(try tensor.accepts(layout, weight));
        try testing.expect(!try tensor.accepts(layout, odd));
        try testing.expectEqual(null, weight.buffer);
    }
    try testing.expectEqual(null, tensor.extraBufferType(index + 5));
    if (n_accepting == 0) return error.SkipZigTest; // a processor without a layout for Q4_0
}
