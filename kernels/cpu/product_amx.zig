//! Products of full tiles of tokens by the processor's own tiles (AMX): one instruction sums up
//! what 16 tokens have with 16 rows in a block. What is done with these sums is product.zig's, so
//! that an output has the bits that it has with any other number of tokens.
//!
//! A block of a tile of tokens is a matrix of 16 tokens and 32 quants as it lies there; a block of
//! a panel is one of 8 times 4 codes of 16 rows once its codes are bytes with a sign.
//!
//! The order of its steps and the sizes that product_unpacked.zig has for it are estimates: nobody
//! has measured them on such a processor yet.
const std = @import("std");
const builtin = @import("builtin");
const block_of = @import("block.zig");
const dots = @import("dot.zig");
const formats = @import("format.zig");
const product = @import("product.zig");
const tiling = @import("tiles.zig");
const unpacked = @import("product_unpacked.zig");
const walk = @import("walk.zig");

const F = formats.F;
const Format = formats.Format;
const Chunk = unpacked.Chunk;
const Products = block_of.Products;
const block_len = formats.block_len;
const panel_rows = formats.panel_rows;
const tile_tokens = tiling.tile_tokens;
const token_block_bytes = unpacked.token_block_bytes;

/// Whether the processor that this module is compiled for has the instructions.
pub const is_used = builtin.cpu.arch == .x86_64 and
    std.Target.x86.featureSetHas(builtin.cpu.features, .amx_int8);

/// Puts into `to` the sums of a tile of tokens with what these blocks add to those in `from`; the
/// first ones begin.
pub fn multiplyTile(
    comptime format: Format,
    chunk: *const Chunk(format),
    blocks: [*]const u8,
    from: walk.Place,
    to: walk.Place,
    ahead: unpacked.Ahead,
) void {
    var sums: [tile_tokens]F = @splat(@splat(0));
    if (chunk.first > 0) {
        inline for (&sums, 0..) |*sum, i| sum.* = from.get(i, 0);
    }
    sumBlocks(format, chunk, blocks, &sums, ahead);
    inline for (sums, 0..) |sum, i| to.put(i, 0, sum);
}

/// A product takes long: while one is computed, the one before it is stored, and the one before
/// that, which lies in memory by now, is added.
inline fn sumBlocks(
    comptime format: Format,
    chunk: *const Chunk(format),
    blocks: [*]const u8,
    sums: *[tile_tokens]F,
    ahead: unpacked.Ahead,
) void {
    @setEvalBranchQuota(20_000);
    const per_group = comptime format.blocks();
    var stored: [2]Stored(format) = undefined;
    for (0..chunk.n + 2) |i| {
        switch (@as(u1, @truncate(i))) {
            inline else => |odd| {
                const at = blocks + i * token_block_bytes;
                if (i < chunk.n) start(format, odd, at, &chunk.codes[0][i]);
                if (i > 0 and i <= chunk.n) store(format, 1 - odd, &stored[1 - odd]);
            },
        }
        ahead.ask(format, i);
        if (i < 2) continue;
        const block = i - 2;
        const scales = &chunk.scales[0][block / per_group];
        const activations: block_of.Activations =
            .of(blocks + block * token_block_bytes, tile_tokens, 0);
        inline for (sums, 0..) |*sum, t| {
            var products: Products(format) = undefined;
            inline for (&products, stored[i % 2]) |*to, of_tokens| to.* = of_tokens[t];
            sum.* = block_of.addProducts(
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

/// The products of a block of 16 tokens.
fn Stored(comptime format: Format) type {
    return [format.parts()][tile_tokens]dots.Sums;
}

/// Codes as values that are scaled: bytes with a sign.
pub inline fn withSign(comptime format: Format, codes: dots.Codes) dots.Codes {
    return codes -% @as(dots.Codes, @splat(comptime format.offset()));
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
pub fn configure(comptime format: Format) Config {
    const config = comptime configOf(format);
    var before: Config = undefined;
    asm volatile (
        \\sttilecfg (%[before])
        \\ldtilecfg (%[config])
        :
        : [before] "r" (&before),
          [config] "r" (&config),
        : .{ .memory = true });
    return before;
}

/// Where nothing was configured, this lets the tiles go.
pub fn restore(before: *const Config) void {
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
