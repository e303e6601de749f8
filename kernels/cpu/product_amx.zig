//! Products of full tiles of tokens by the processor's own tiles (AMX): one instruction sums up
//! what 16 tokens have with 16 rows in a block. What is done with these sums is product.zig's, so
//! that an output has the bits that it has with any other number of tokens.
//!
//! A block of a tile of tokens is a matrix of 16 tokens and 32 quants as it lies there; a block of
//! a panel is one of 8 times 4 codes of 16 rows once its codes are bytes with a sign.
//!
//! Sizes of chunks and the order of loops are estimates: nobody has measured them on such a
//! processor yet.
const std = @import("std");
const builtin = @import("builtin");
const dots = @import("dot.zig");
const formats = @import("format.zig");
const product = @import("product.zig");
const tiling = @import("tiles.zig");

const F = formats.F;
const Format = formats.Format;
const Products = product.Products;
const block_len = formats.block_len;
const panel_rows = formats.panel_rows;
const tile_tokens = tiling.tile_tokens;
/// Bytes of a block of a tile of tokens.
const token_block_bytes = tile_tokens * tiling.token_bytes;

/// Whether the processor that this module is compiled for has the instructions.
pub const is_used = builtin.cpu.arch == .x86_64 and
    std.Target.x86.featureSetHas(builtin.cpu.features, .amx_int8);

/// Blocks of a panel that are unpacked at once, so that they stay in the nearest cache while tiles
/// of tokens pass; a multiple of those of a group.
const chunk_blocks = 32;
/// Tiles of tokens that pass together: so much of them stays in the next cache while panels pass.
const tiles_at_once = 16;
/// Panels that a thread takes at a time.
const panels_at_once = 8;

/// The panels and tiles of a share, as product.Multiply; all tiles are full.
pub fn multiplyTiles(
    comptime format: Format,
    weight: *const product.Weight,
    tiles: [*]const u8,
    n_tokens: usize,
    added: ?[*]const f32,
    sums: [*]f32,
    share: product.Share,
) void {
    var parts: product.Parts = .of(share, n_tokens / tile_tokens, weight.n_out / panel_rows, .{
        .tiles = tiles_at_once,
        .panels = panels_at_once,
    });
    const before = configure(comptime &configOf(format));
    defer restore(&before);
    while (parts.next()) |part| {
        var from, const end = part.tiles;
        while (from < end) : (from += tiles_at_once) {
            const some: product.Part = .{
                .tiles = .{ from, @min(from + tiles_at_once, end) },
                .panels = part.panels,
            };
            multiplyPart(format, weight, tiles, added, sums, some);
        }
    }
}

fn multiplyPart(
    comptime format: Format,
    weight: *const product.Weight,
    tiles: [*]const u8,
    added: ?[*]const f32,
    sums: [*]f32,
    part: product.Part,
) void {
    const n_blocks = weight.n_in / block_len;
    const panel_bytes = weight.panelBytes();
    const first_tile, const end_tile = part.tiles;
    var chunk: Chunk(format) = undefined;
    var first: usize = 0;
    while (first < n_blocks) : (first += chunk_blocks) {
        chunk.first = first;
        chunk.n = @min(chunk_blocks, n_blocks - first);
        for (part.panels[0]..part.panels[1]) |p| {
            const panel = weight.panels + p * panel_bytes;
            chunk.unpack(@alignCast(panel), n_blocks);
            for (first_tile..end_tile) |t| {
                const at = t * tile_tokens * weight.n_out + p * panel_rows;
                const blocks = tiles + (t * n_blocks + first) * token_block_bytes;
                // Between chunks the sums stay where they go.
                const is_last = first + chunk.n == n_blocks;
                const more = if (is_last and added != null) added.? + at else null;
                const next = if (t == first_tile) panel + panel_bytes else null;
                multiply(format, &chunk, blocks, sums + at, weight.n_out, more, next);
            }
        }
    }
}

/// Some blocks of a panel, unpacked.
fn Chunk(comptime format: Format) type {
    const per_group = format.blocks();
    return struct {
        /// The number of the first block.
        first: usize,
        n: usize,
        codes: [chunk_blocks][8]dots.Codes,
        scales: [chunk_blocks / per_group]formats.Scales(format),

        const Self = @This();

        fn unpack(chunk: *Self, panel: [*]align(panel_rows) const u8, n_blocks: usize) void {
            const code_bytes = comptime format.codeBytes() * panel_rows;
            const side_bytes = comptime formats.sideBytes(format);
            const sides = panel + n_blocks / per_group * code_bytes;
            for (chunk.codes[0..chunk.n], chunk.first..) |*to, b| {
                const group = panel + b / per_group * code_bytes;
                to.* = formats.codes(format, panel_rows, group, b % per_group);
                for (to) |*vector| vector.* = withSign(format, vector.*);
            }
            const n_groups = chunk.n / per_group;
            for (chunk.scales[0..n_groups], chunk.first / per_group..) |*to, g| {
                to.* = formats.scalesOf(format, @alignCast(sides + g * side_bytes));
            }
        }
    };
}

/// Adds to the sums of a tile of tokens what these blocks give; the first ones begin. The same
/// blocks of panel `next` are asked for meanwhile.
fn multiply(
    comptime format: Format,
    chunk: *const Chunk(format),
    blocks: [*]const u8,
    out: [*]f32,
    n_out: usize,
    added: ?[*]const f32,
    next: ?[*]const u8,
) void {
    var sums: [tile_tokens]F = @splat(@splat(0));
    if (chunk.first > 0) {
        inline for (&sums, 0..) |*sum, i| sum.* = out[i * n_out ..][0..panel_rows].*;
    }
    const ahead = if (next) |panel| panel + chunk.first * blockBytes(format) else null;
    sumBlocks(format, chunk, blocks, &sums, ahead);
    inline for (sums, 0..) |sum, i| {
        const at = i * n_out;
        (out + at)[0..panel_rows].* =
            if (added) |a| sum + @as(F, a[at..][0..panel_rows].*) else sum;
    }
}

/// A product takes long: while one is computed, the one before it is stored, and the one before
/// that, which lies in memory by now, is added.
inline fn sumBlocks(
    comptime format: Format,
    chunk: *const Chunk(format),
    blocks: [*]const u8,
    sums: *[tile_tokens]F,
    ahead: ?[*]const u8,
) void {
    @setEvalBranchQuota(20_000);
    const block_bytes = comptime blockBytes(format);
    const per_group = comptime format.blocks();
    var stored: [2]Stored(format) = undefined;
    for (0..chunk.n + 2) |i| {
        switch (@as(u1, @truncate(i))) {
            inline else => |odd| {
                const at = blocks + i * token_block_bytes;
                if (i < chunk.n) start(format, odd, at, &chunk.codes[i]);
                if (i > 0 and i <= chunk.n) store(format, 1 - odd, &stored[1 - odd]);
            },
        }
        if (ahead) |codes| inline for (0..(block_bytes + 63) / 64) |line| {
            const at = codes + i * block_bytes + 64 * line;
            @prefetch(at, .{ .locality = 2 });
        };
        if (i < 2) continue;
        const block = i - 2;
        const scales = &chunk.scales[block / per_group];
        const activations: product.Activations =
            .of(blocks + block * token_block_bytes, tile_tokens, 0);
        inline for (sums, 0..) |*sum, t| {
            var products: Products(format) = undefined;
            inline for (&products, stored[i % 2]) |*to, of_tokens| to.* = of_tokens[t];
            sum.* = product.addProducts(
                format,
                0,
                sum.*,
                products,
                scales,
                block % per_group,
                0,
                activations,
                t,
            );
        }
    }
}

/// Bytes that the codes of a block take on average: groups share some.
fn blockBytes(comptime format: Format) usize {
    return format.codeBytes() * panel_rows / format.blocks();
}

/// The products of a block of 16 tokens.
fn Stored(comptime format: Format) type {
    return [format.parts()][tile_tokens]dots.Sums;
}

/// Codes as values that are scaled: bytes with a sign.
inline fn withSign(comptime format: Format, codes: dots.Codes) dots.Codes {
    const offset = if (format == .q4_0) 8 else if (format.isByte()) formats.byte_offset else 0;
    return codes -% @as(dots.Codes, @splat(offset));
}

const Config = [64]u8;

/// Tiles 0 to 3 are for sums, 4 and 5 for tokens, 6 and 7 for weights.
fn configOf(comptime format: Format) Config {
    const n_parts = format.parts();
    var config: Config = @splat(0);
    config[0] = 1;
    for (0..8) |tile| {
        const rows, const bytes = if (tile < 4)
            .{ tile_tokens, 4 * panel_rows }
        else if (tile < 6)
            .{ tile_tokens, block_len / n_parts }
        else
            .{ 8 / n_parts, 4 * panel_rows };
        config[48 + tile] = rows;
        config[16 + 2 * tile] = bytes;
    }
    return config;
}

/// Gives what was configured before: ggml configures the tiles of a thread once, for good.
fn configure(config: *const Config) Config {
    var before: Config = undefined;
    asm volatile (
        \\sttilecfg (%[before])
        \\ldtilecfg (%[config])
        :
        : [before] "r" (&before),
          [config] "r" (config),
        : .{ .memory = true });
    return before;
}

/// Where nothing was configured, this lets the tiles go.
fn restore(before: *const Config) void {
    asm volatile ("ldtilecfg (%[before])"
        :
        : [before] "r" (before),
        : .{ .memory = true });
}

/// Multiplies a block of tokens and one of weights, into the tiles of every other block.
inline fn start(
    comptime format: Format,
    comptime odd: usize,
    tokens: [*]const u8,
    codes: *const [8]dots.Codes,
) void {
    const n_parts = comptime format.parts();
    inline for (0..n_parts) |part| {
        const text = comptime blk: {
            const sums = odd * n_parts + part;
            const unlike = if (n_parts == 2) part else odd;
            break :blk std.fmt.comptimePrint(
                \\tilezero %%tmm{0d}
                \\tileloadd (%[tokens],%[row],1), %%tmm{1d}
                \\tileloadd (%[codes],%[vector],1), %%tmm{2d}
                \\tdpbssd %%tmm{2d}, %%tmm{1d}, %%tmm{0d}
            , .{ sums, 4 + unlike, 6 + unlike });
        };
        asm volatile (text
            :
            : [tokens] "r" (tokens + part * block_len / n_parts),
              [row] "r" (@as(usize, block_len)),
              [codes] "r" (codes[part * 8 / n_parts ..].ptr),
              [vector] "r" (@as(usize, @sizeOf(dots.Codes))),
            : .{ .memory = true });
    }
}

inline fn store(comptime format: Format, comptime odd: usize, to: *Stored(format)) void {
    inline for (to, 0..) |*of_tokens, part| {
        const tile = odd * to.len + part;
        asm volatile (std.fmt.comptimePrint("tilestored %%tmm{d}, (%[to],%[row],1)", .{tile})
            :
            : [to] "r" (of_tokens),
              [row] "r" (@as(usize, @sizeOf(dots.Sums))),
            : .{ .memory = true });
    }
}
