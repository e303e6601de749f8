//! Checks the built library as a program that opens it will find it.
//!
//!     verify LIBRARY
//!
//! It needs nothing but libc and libm, looks for them nowhere of its own, and shows nothing but
//! ggml and sluice; of the last a Mach-O file is not asked, because Zig's linker takes no list of
//! exports there. Reads the file itself; says everything that is wrong, then fails.
const std = @import("std");
const elf = std.elf;
const macho = std.macho;

const exported_prefixes = [_][]const u8{ "ggml_", "gguf_", "sluice_" };
/// What every system of the kind has: libc, libm, the loader, and on older glibc two parts of libc.
const needed_prefixes = [_][]const u8{
    "libc.", "libm.", "ld-linux-", "libpthread.so.0", "libdl.so.2",
};
const run_path_allowed = "$ORIGIN";
const macho_needed_prefix = "/usr/lib/libSystem.";

pub fn main(init: std.process.Init) !void {
    const arena = init.arena.allocator();
    const args = try init.minimal.args.toSlice(arena);
    if (args.len != 2) return error.ExpectedOneArgument;
    const bytes = try std.Io.Dir.cwd().readFileAllocOptions(
        init.io,
        args[1],
        arena,
        .limited(1 << 30),
        .of(elf.Elf64_Ehdr),
        null,
    );
    const is_macho = std.mem.startsWith(u8, bytes, &std.mem.toBytes(macho.MH_MAGIC_64));
    const n_wrong = if (is_macho) try checkMachO(bytes) else try checkElf(.{ .bytes = bytes });
    if (n_wrong == 0) return;
    std.log.err("Cannot use {s}: {d} of its properties are wrong", .{ args[1], n_wrong });
    std.process.exit(1);
}

const File = struct {
    bytes: []align(@alignOf(elf.Elf64_Ehdr)) const u8,

    fn sections(file: File) ![]const elf.Elf64_Shdr {
        const header: *const elf.Elf64_Ehdr = @ptrCast(file.bytes.ptr);
        if (file.bytes.len < @sizeOf(elf.Elf64_Ehdr)) return error.NotElf;
        if (!std.mem.startsWith(u8, file.bytes, elf.MAGIC)) return error.NotElf;
        if (file.bytes[4] != 2 or file.bytes[5] != 1) return error.NotElf64LittleEndian;
        return file.items(elf.Elf64_Shdr, header.e_shoff, header.e_shnum);
    }

    fn section(file: File, kind: elf.Word) !?*const elf.Elf64_Shdr {
        for (try file.sections()) |*found| if (found.sh_type == kind) return found;
        return null;
    }

    fn table(file: File, comptime T: type, kind: elf.Word) ![]const T {
        const found = try file.section(kind) orelse return &.{};
        return file.items(T, found.sh_offset, found.sh_size / @sizeOf(T));
    }

    fn items(file: File, comptime T: type, offset: u64, n: u64) ![]const T {
        const end = try std.math.add(u64, offset, try std.math.mul(u64, n, @sizeOf(T)));
        if (end > file.bytes.len or offset % @alignOf(T) != 0) return error.BrokenElf;
        const start: [*]const T = @ptrCast(@alignCast(file.bytes.ptr + offset));
        return start[0..n];
    }

    /// Text at `offset` of the string table that the dynamic symbols use.
    fn name(file: File, offset: u64) ![]const u8 {
        const symbols = try file.section(elf.SHT_DYNSYM) orelse return error.NoDynamicSymbols;
        const all = try file.sections();
        if (symbols.sh_link >= all.len) return error.BrokenElf;
        const strings = all[symbols.sh_link];
        const text = try file.items(u8, strings.sh_offset, strings.sh_size);
        if (offset >= text.len) return error.BrokenElf;
        return std.mem.sliceTo(text[offset..], 0);
    }
};

fn checkMachO(bytes: []const u8) !usize {
    if (bytes.len < @sizeOf(macho.mach_header_64)) return error.BrokenMachO;
    const header = std.mem.bytesToValue(macho.mach_header_64, bytes);
    var n_wrong: usize = 0;
    var commands: macho.LoadCommandIterator = try .init(&header, bytes[@sizeOf(@TypeOf(header))..]);
    while (try commands.next()) |command| switch (command.hdr.cmd) {
        .LOAD_DYLIB, .LOAD_WEAK_DYLIB, .REEXPORT_DYLIB => {
            const needed = command.getDylibPathName();
            const is_system = std.mem.startsWith(u8, needed, macho_needed_prefix);
            if (!is_system) n_wrong += wrong("needs {s}", .{needed});
        },
        .RPATH => n_wrong += wrong("looks for libraries in {s}", .{command.getRpathPathName()}),
        else => {},
    };
    return n_wrong;
}

fn checkElf(file: File) !usize {
    return try checkDynamic(file) + try checkSymbols(file);
}

/// Which libraries it needs and where it looks for them.
fn checkDynamic(file: File) !usize {
    var n_wrong: usize = 0;
    for (try file.table(elf.Elf64_Dyn, elf.SHT_DYNAMIC)) |entry| switch (entry.d_tag) {
        elf.DT_NULL => break,
        elf.DT_NEEDED => {
            const needed = try file.name(entry.d_val);
            if (!startsWithAny(needed, &needed_prefixes)) n_wrong += wrong("needs {s}", .{needed});
        },
        elf.DT_RUNPATH, elf.DT_RPATH => {
            const path = try file.name(entry.d_val);
            if (!std.mem.eql(u8, path, run_path_allowed)) {
                n_wrong += wrong("looks for libraries in {s}", .{path});
            }
        },
        elf.DT_TEXTREL => n_wrong += wrong("writes to its own code when it is loaded", .{}),
        else => {},
    };
    return n_wrong;
}

/// What it shows, and whether somebody has what it asks for.
fn checkSymbols(file: File) !usize {
    const symbols = try file.table(elf.Elf64_Sym, elf.SHT_DYNSYM);
    const versions = try file.table(elf.Versym, elf.SHT_GNU_VERSYM);
    if (symbols.len == 0) return error.NoDynamicSymbols;
    var n_wrong: usize = 0;
    for (symbols[1..], 1..) |symbol, i| {
        if (symbol.st_bind() == elf.STB_LOCAL) continue;
        const name = try file.name(symbol.st_name);
        if (symbol.st_shndx != elf.SHN_UNDEF) {
            if (!startsWithAny(name, &exported_prefixes)) n_wrong += wrong("shows {s}", .{name});
            continue;
        }
        // glibc's symbols have a version; musl has none to tell them by, but the linker looked.
        const has_version = i < versions.len and versions[i].VERSION > 1;
        if (symbol.st_bind() != elf.STB_WEAK and versions.len != 0 and !has_version) {
            n_wrong += wrong("asks for {s}, which neither libc nor libm has", .{name});
        }
    }
    return n_wrong;
}

fn startsWithAny(text: []const u8, prefixes: []const []const u8) bool {
    for (prefixes) |prefix| if (std.mem.startsWith(u8, text, prefix)) return true;
    return false;
}

fn wrong(comptime format: []const u8, args: anytype) usize {
    std.log.err("The library " ++ format, args);
    return 1;
}
