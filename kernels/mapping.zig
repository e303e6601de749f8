//! A model file in memory: mapped read-only and shared, so its pages are the page cache's own.
const std = @import("std");
const builtin = @import("builtin");
const ggml = @import("ggml.zig");
const failure = @import("failure.zig");
const number = @import("number.zig");
const packed_weight = @import("packed.zig");
const c = std.c;

/// Alignment that ggml asks of a buffer's first byte.
const buffer_alignment = 32;
const page_size = std.heap.page_size_min;

pub const Mapping = struct {
    bytes: []align(page_size) u8,

    /// Maps the file if it has exactly `size_` bytes.
    pub fn open(path: [*:0]const u8, size_: f64) failure.Error!*Mapping {
        const size = try number.toSize("the size of a file", size_);
        if (size == 0) return failure.set("Cannot map '{s}': an empty file has no pages", .{path});
        const file = c.open(path, .{ .ACCMODE = .RDONLY, .CLOEXEC = true });
        if (file < 0) return failure.set("Cannot open '{s}': {t}", .{ path, errno() });
        defer _ = c.close(file);
        const found = c.lseek(file, 0, c.SEEK.END);
        if (found != size) {
            return failure.set(
                "Cannot map '{s}': it has {d} bytes, expected {d}",
                .{ path, found, size },
            );
        }
        const address = c.mmap(null, size, .{ .READ = true }, .{ .TYPE = .SHARED }, file, 0);
        if (address == c.MAP_FAILED) {
            return failure.set("Cannot map '{s}': {t}", .{ path, errno() });
        }
        const mapping = std.heap.c_allocator.create(Mapping) catch {
            _ = c.munmap(@ptrCast(@alignCast(address)), size);
            return failure.set("Cannot map '{s}': out of memory", .{path});
        };
        const start: [*]align(page_size) u8 = @ptrCast(@alignCast(address));
        mapping.* = .{ .bytes = start[0..size] };
        return mapping;
    }

    pub fn close(mapping: *Mapping) failure.Error!void {
        if (c.munmap(mapping.bytes.ptr, mapping.bytes.len) != 0) {
            return failure.set("Cannot unmap the file: {t}", .{errno()});
        }
        std.heap.c_allocator.destroy(mapping);
    }

    /// Reads [offset, offset + size) into the page tables.
    pub fn populate(mapping: *const Mapping, offset: f64, size: f64) failure.Error!void {
        const part = try mapping.slice(offset, size);
        if (part.len == 0) return;
        const first = std.mem.alignBackward(usize, @intFromPtr(part.ptr), page_size);
        const length = @intFromPtr(part.ptr) + part.len - first;
        if (builtin.os.tag == .linux) {
            // One call, no fault per page; from Linux 5.14 on.
            const populate_read = 22;
            if (c.madvise(@ptrFromInt(first), length, populate_read) == 0) return;
        }
        _ = c.madvise(@ptrFromInt(first), length, c.MADV.WILLNEED);
        var at: usize = 0;
        while (at < part.len) : (at += page_size) std.mem.doNotOptimizeAway(part[at]);
    }

    /// Lets the whole pages of [offset, offset + size) go; a later access reads them again.
    pub fn discard(mapping: *const Mapping, offset: f64, size: f64) failure.Error!void {
        const part = try mapping.slice(offset, size);
        const page = std.heap.pageSize();
        const first = std.mem.alignForward(usize, @intFromPtr(part.ptr), page);
        const end = std.mem.alignBackward(usize, @intFromPtr(part.ptr) + part.len, page);
        if (first >= end) return;
        if (c.madvise(@ptrFromInt(first), end - first, c.MADV.DONTNEED) != 0) {
            return failure.set("Cannot drop {d} bytes of the file: {t}", .{ end - first, errno() });
        }
    }

    /// A CPU buffer over [offset, offset + size).
    pub fn buffer(mapping: *const Mapping, offset: f64, size: f64) failure.Error!*ggml.Buffer {
        const part = try mapping.slice(offset, size);
        if (@intFromPtr(part.ptr) % buffer_alignment != 0) {
            return failure.set(
                "Cannot make a buffer at byte {d} of the file: expected a multiple of {d}",
                .{ offset, buffer_alignment },
            );
        }
        return ggml.ggml_backend_cpu_buffer_from_ptr(part.ptr, part.len) orelse
            failure.set("Cannot make a buffer of {d} bytes: out of memory", .{part.len});
    }

    /// Fills `tensor` with pieces of the file, `ranges` being pairs of offset and size.
    pub fn read(
        mapping: *const Mapping,
        ranges: []const f64,
        tensor: *ggml.Tensor,
    ) failure.Error!void {
        const size = try mapping.checkFill(ranges, tensor);
        const destination = tensor.buffer.?;
        // A layout of its own converts whole tensors only.
        const takes_pieces = ggml.ggml_backend_buffer_is_host(destination);
        if (ranges.len > 2 and !takes_pieces) return mapping.readStaged(ranges, tensor, size);
        var at: usize = 0;
        for (0..ranges.len / 2) |i| {
            const part = try mapping.slice(ranges[2 * i], ranges[2 * i + 1]);
            ggml.ggml_backend_tensor_set(tensor, part.ptr, at, part.len);
            at += part.len;
        }
    }

    /// The same for a weight in panels; each piece is a whole number of them.
    pub fn pack(
        mapping: *const Mapping,
        ranges: []const f64,
        weight: *ggml.Tensor,
    ) failure.Error!void {
        _ = try mapping.checkFill(ranges, weight);
        if (!ggml.ggml_backend_buffer_is_host(weight.buffer.?)) {
            return failure.set("Cannot pack a weight that is not in host memory", .{});
        }
        var at: usize = 0;
        for (0..ranges.len / 2) |i| {
            const part = try mapping.slice(ranges[2 * i], ranges[2 * i + 1]);
            try packed_weight.fill(weight, at, part);
            at += part.len;
        }
    }

    /// The size of a tensor that these pieces of the file may fill.
    fn checkFill(
        mapping: *const Mapping,
        ranges: []const f64,
        tensor: *ggml.Tensor,
    ) failure.Error!usize {
        if (tensor.buffer == null) {
            return failure.set("Cannot fill a tensor that has no buffer: place it first", .{});
        }
        const data = tensor.data orelse
            return failure.set("Cannot fill a tensor that has no data: place it first", .{});
        const into_mapping = @intFromPtr(data) -% @intFromPtr(mapping.bytes.ptr);
        if (into_mapping < mapping.bytes.len) {
            return failure.set("Cannot fill a tensor that lies in the file itself", .{});
        }
        const size = ggml.ggml_nbytes(tensor);
        var sum: usize = 0;
        for (0..ranges.len / 2) |i| {
            sum += (try mapping.slice(ranges[2 * i], ranges[2 * i + 1])).len;
        }
        if (sum == size) return size;
        return failure.set("Cannot fill a tensor of {d} bytes with {d}", .{ size, sum });
    }

    fn readStaged(
        mapping: *const Mapping,
        ranges: []const f64,
        tensor: *ggml.Tensor,
        size: usize,
    ) failure.Error!void {
        const staged = std.heap.c_allocator.alloc(u8, size) catch
            return failure.set("Cannot stage a tensor of {d} bytes: out of memory", .{size});
        defer std.heap.c_allocator.free(staged);
        var at: usize = 0;
        for (0..ranges.len / 2) |i| {
            const part = try mapping.slice(ranges[2 * i], ranges[2 * i + 1]);
            @memcpy(staged[at..][0..part.len], part);
            at += part.len;
        }
        ggml.ggml_backend_tensor_set(tensor, staged.ptr, 0, size);
    }

    fn slice(mapping: *const Mapping, offset_: f64, size_: f64) failure.Error![]u8 {
        const offset = try number.toSize("an offset in a file", offset_);
        const size = try number.toSize("a size in a file", size_);
        const length = mapping.bytes.len;
        if (offset > length or size > length - offset) {
            return failure.set(
                "Cannot use bytes {d} to {d} of the file: it has {d}",
                .{ offset, offset + size, length },
            );
        }
        return mapping.bytes[offset..][0..size];
    }
};

fn errno() c.E {
    return @fromBackingInt(@intCast(c._errno().*));
}
