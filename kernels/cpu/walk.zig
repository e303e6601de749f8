//! How a share of a product is gone through: which panels of a weight meet which tiles of tokens,
//! and where their sums go. What they give is for a kind to say, quants (product.zig) or floats
//! (floats.zig), with `panels_at_once`, `passes`, `panelsOf()`, `tileBytes()` and `sumBlocks()`.
const formats = @import("format.zig");
const streams = @import("stream.zig");
const tiling = @import("tiles.zig");
const Runs = @import("share.zig").Runs;
const Share = @import("share.zig").Share;

const F = formats.F;
const block_len = formats.block_len;
const panel_rows = formats.panel_rows;
const tile_tokens = tiling.tile_tokens;
const Panels = streams.Panels;

/// Tiles that a thread takes at a time where panels are too few to divide.
const tiles_at_once = 4;
/// Panels of a thread that are too few to divide.
const few_panels = 16;
/// Most panels of a pass.
const panels_most = 2;

/// What is multiplied with what, and where the sums go; see product.Multiply.
pub fn Work(comptime W: type) type {
    return struct {
        weight: *const W,
        panels: Panels,
        tiles: [*]const u8,
        n_tokens: usize,
        added: ?[*]const f32,
        sums: [*]f32,

        const Self = @This();

        /// The arguments of product.Multiply.
        pub fn of(
            weight: *const W,
            tiles: [*]const u8,
            n_tokens: usize,
            added: ?[*]const f32,
            sums: [*]f32,
        ) Self {
            return .{
                .weight = weight,
                .panels = .of(weight),
                .tiles = tiles,
                .n_tokens = n_tokens,
                .added = added,
                .sums = sums,
            };
        }

        pub fn counts(work: *const Self) Parts.Counts {
            return .{
                .tiles = (work.n_tokens + tile_tokens - 1) / tile_tokens,
                .panels = work.panels.n,
            };
        }

        pub fn panel(work: *const Self, p: usize) [*]align(panel_rows) const u8 {
            return @alignCast(work.panels.at(p));
        }

        /// Where the sums of a tile and a panel go.
        pub fn place(work: *const Self, t: usize, p: usize) Place {
            const at = t * tile_tokens * work.weight.n_out + p * panel_rows;
            return .{
                .sums = work.sums + at,
                .added = if (work.added) |added| added + at else null,
                .n_out = work.weight.n_out,
            };
        }
    };
}

/// Where the sums of some tokens and panels go.
pub const Place = struct {
    sums: [*]f32,
    added: ?[*]const f32,
    n_out: usize,

    /// Puts the sums of token `i` and panel `p`, added to what is there to be added.
    pub inline fn put(place: Place, i: usize, p: usize, sum: F) void {
        const at = i * place.n_out + p * panel_rows;
        (place.sums + at)[0..panel_rows].* =
            if (place.added) |added| sum + @as(F, added[at..][0..panel_rows].*) else sum;
    }

    /// What was put there.
    pub inline fn get(place: Place, i: usize, p: usize) F {
        return place.sums[i * place.n_out + p * panel_rows ..][0..panel_rows].*;
    }
};

/// Tiles and panels that a thread multiplies with each other: first and end.
pub const Part = struct {
    tiles: [2]usize,
    panels: [2]usize,
};

/// The parts of a share.
const Parts = struct {
    whole: Part,
    is_by_tile: bool,
    runs: Runs,

    /// `most` are the most panels of a part, or tiles where a part has all panels: few panels for
    /// each thread do not divide evenly, many tiles do.
    fn of(share: Share, n: Counts, most: Counts) Parts {
        const is_by_tile = n.tiles >= 4 * share.count and n.panels < few_panels * share.count;
        return .{
            .whole = .{ .tiles = .{ 0, n.tiles }, .panels = .{ 0, n.panels } },
            .is_by_tile = is_by_tile,
            .runs = if (is_by_tile)
                share.runs(n.tiles, most.tiles)
            else
                share.runs(n.panels, most.panels),
        };
    }

    const Counts = struct { tiles: usize, panels: usize };

    fn next(parts: *Parts) ?Part {
        const run = parts.runs.next() orelse return null;
        var part = parts.whole;
        if (parts.is_by_tile) part.tiles = run else part.panels = run;
        return part;
    }
};

/// The panels and tiles of a share.
pub fn multiplyTiles(
    comptime kind: type,
    comptime format: anytype,
    work: anytype,
    share: Share,
) void {
    if (work.n_tokens == 1) return multiplyToken(kind, format, work, share);
    const n_at_once = @max(1, kind.panels_at_once / work.panels.bytes);
    const most: Parts.Counts = .{ .tiles = tiles_at_once, .panels = n_at_once };
    var parts: Parts = .of(share, work.counts(), most);
    while (parts.next()) |part| {
        var from, const end = part.panels;
        while (from < end) : (from += n_at_once) {
            multiplyPart(kind, format, work, .{
                .tiles = part.tiles,
                .panels = .{ from, @min(from + n_at_once, end) },
            });
        }
    }
}

/// The panels of a share with one token, those of each place side by side.
fn multiplyToken(
    comptime kind: type,
    comptime format: anytype,
    work: anytype,
    share: Share,
) void {
    const panels = work.panels;
    const n = panels.perPlace();
    const stream: streams.Stream = .of(panels, work.weight.next, share);
    var runs = share.runs(n, @max(1, kind.panels_at_once / streams.places / panels.bytes));
    while (runs.next()) |run| for (run[0]..run[1]) |p| {
        // The last panel may be alone.
        if (streams.places == 1 or p + n < panels.n)
            multiplyBeside(kind, format, work, streams.places, stream, p, n)
        else
            multiplyBeside(kind, format, work, 1, stream, p, n);
    };
}

/// `count` panels from `p` on, `apart` of each other, with one token.
inline fn multiplyBeside(
    comptime kind: type,
    comptime format: anytype,
    work: anytype,
    comptime count: usize,
    stream: streams.Stream,
    p: usize,
    apart: usize,
) void {
    const n_blocks = work.weight.n_in / block_len;
    const place = work.place(0, p);
    const sums =
        kind.sumBlocks(format, 1, count, work.panel(p), stream, n_blocks, work.tiles, 1, 0);
    inline for (sums[0], 0..) |own, at| place.put(0, at * apart, @bitCast(own));
}

/// The tiles and panels of a part.
pub fn multiplyPart(
    comptime kind: type,
    comptime format: anytype,
    work: anytype,
    part: Part,
) void {
    const n_in = work.weight.n_in;
    const tile_bytes = kind.tileBytes(n_in, tile_tokens);
    for (part.tiles[0]..part.tiles[1]) |t| {
        const n: usize = @min(tile_tokens, work.n_tokens - t * tile_tokens);
        const tile = work.tiles + t * tile_bytes;
        var p, const end = part.panels;
        while (p < end) : (p += panels_most) {
            const panels: [2]usize = .{ p, @min(end, p + panels_most) };
            multiplyTile(kind, format, work, panels, tile, n, work.place(t, p));
        }
    }
}

/// Some panels with the `n` tokens of a tile, as many at a time as there are registers for.
fn multiplyTile(
    comptime kind: type,
    comptime format: anytype,
    work: anytype,
    panels: [2]usize,
    tile: [*]const u8,
    n: usize,
    place: Place,
) void {
    @setEvalBranchQuota(20_000);
    const n_blocks = work.weight.n_in / block_len;
    const row: streams.Row = .{ .apart = work.panels.bytes };
    var done: usize = 0;
    inline for (kind.passes) |pass| {
        while (n - done >= pass) : (done += pass) {
            const first, const end = panels;
            var p = first;
            inline for (.{ panels_most, 1 }) |count| {
                if (comptime count > kind.panelsOf(format, pass)) continue;
                while (end - p >= count) : (p += count) {
                    const from = work.panel(p);
                    const sums =
                        kind.sumBlocks(format, pass, count, from, row, n_blocks, tile, n, done);
                    inline for (sums, 0..) |own, i| inline for (own, 0..) |some, q| {
                        place.put(done + i, p - first + q, @bitCast(some));
                    };
                }
            }
        }
    }
}
