//! In which order a thread reads the panels of weights, and what it asks for ahead of that.
//!
//! Memory gives more to a thread that reads in two places at once: a quarter more on Zen 3. So
//! products of one token, which wait for memory, have a panel of each half of a weight side by
//! side. At the end of its share a thread asks for what it begins the next product with, whatever
//! is computed between the two.
const std = @import("std");
const dots = @import("dot.zig");
const panel_rows = @import("format.zig").panel_rows;
const Share = @import("share.zig").Share;

/// Where products of one token read a weight. With AVX-512 nobody has measured more than one place.
pub const places = if (dots.has_avx2 and !dots.has_vnni) 2 else 1;

/// How far ahead of its use a weight is asked for, in all places together: the processor's own way
/// stops at pages.
const ahead_bytes = 24 << 10;

/// What a processor reads of memory at a time, on most.
pub const line_bytes = 64;

/// Asks for bytes that will be read soon; `locality` as @prefetch has it.
pub inline fn ask(from: [*]const u8, comptime bytes: usize, comptime locality: u2) void {
    inline for (0..(bytes + line_bytes - 1) / line_bytes) |line| {
        @prefetch(from + line_bytes * line, .{ .locality = locality });
    }
}

/// The panels of a weight.
pub const Panels = extern struct {
    first: [*]const u8,
    /// Bytes of a panel.
    bytes: usize,
    n: usize,

    /// Those of a weight of a kind that has them.
    pub fn of(weight: anytype) Panels {
        const n = weight.n_out / panel_rows;
        return .{ .first = weight.panels, .bytes = weight.panelBytes(), .n = n };
    }

    /// How many lie in the first place; the last one may have fewer.
    pub fn perPlace(panels: Panels) usize {
        return (panels.n + places - 1) / places;
    }

    /// Where panel `p` begins; also behind the last one, for what is asked for ahead.
    pub fn at(panels: Panels, p: usize) [*]const u8 {
        return panels.first + p * panels.bytes;
    }

    fn address(panels: Panels, p: usize) usize {
        return @intFromPtr(panels.at(p));
    }
};

/// Panels one after another.
pub const Row = struct {
    /// Bytes from a panel to the one that is multiplied together with it.
    apart: usize,
    comptime ahead_bytes: usize = ahead_bytes,

    /// Bytes from a panel to the one that comes after it, `n` being multiplied together.
    pub inline fn step(_: Row, panel_bytes: usize, n: usize) usize {
        return n * panel_bytes;
    }

    /// What to ask for in panel `p` of those that are multiplied together, the first being read
    /// at `here`.
    pub inline fn ahead(row: Row, here: [*]const u8, comptime p: usize) [*]const u8 {
        return here + row.ahead_bytes + p * row.apart;
    }
};

/// A share of the panels, those of each place side by side, and behind them the same share of what
/// is multiplied next. As Row.
pub const Stream = struct {
    apart: usize,
    comptime ahead_bytes: usize = ahead_bytes / places,
    /// Where the share ends in the first place.
    end: usize,
    /// Bytes from there to where the next begins, in each place.
    jumps: [places]usize,

    pub fn of(panels: Panels, next: ?*const Panels, share: Share) Stream {
        const n = panels.perPlace();
        const apart = n * panels.bytes;
        const end = panels.address(share.of(n)[1]);
        var jumps: [places]usize = undefined;
        for (&jumps, 0..) |*jump, at| jump.* = if (next) |then| jump: {
            const n_then = then.perPlace();
            break :jump then.address(share.of(n_then)[0] + at * n_then) -% end;
        } else at * apart;
        return .{ .apart = apart, .end = end, .jumps = jumps };
    }

    pub inline fn step(_: Stream, panel_bytes: usize, _: usize) usize {
        return panel_bytes;
    }

    pub inline fn ahead(stream: Stream, here: [*]const u8, comptime p: usize) [*]const u8 {
        const address = @intFromPtr(here) + stream.ahead_bytes;
        const own = address + p * stream.apart;
        return @ptrFromInt(if (address < stream.end) own else address +% stream.jumps[p]);
    }
};

const testing = std.testing;

/// Panels that nobody reads.
fn imagined(address: usize, bytes: usize, n: usize) Panels {
    return .{ .first = @ptrFromInt(address), .bytes = bytes, .n = n };
}

test "perPlace() leaves no panel out" {
    for ([_]usize{ 1, 2, 3, 48, 51 }) |n| {
        const per_place = imagined(1 << 20, 64, n).perPlace();
        try testing.expect(places * per_place >= n);
        try testing.expect((places - 1) * per_place <= n);
    }
}

test "Stream.ahead() asks for a share of what is next as if it lay behind the own one" {
    const panels = imagined(1 << 30, 6 << 10, 51);
    const next = imagined(1 << 40, 15 << 10, 36);
    const count = 3;
    for (0..count) |index| {
        const share: Share = .{ .index = index, .count = count };
        const stream: Stream = .of(panels, &next, share);
        const first, const end = share.of(panels.perPlace());
        const next_first = share.of(next.perPlace())[0];
        inline for (0..places) |at| {
            const begin = panels.address(first + at * panels.perPlace());
            const bytes = (end - first) * panels.bytes;
            const next_begin = next.address(next_first + at * next.perPlace());
            for (0..bytes) |i| {
                const here = panels.first + first * panels.bytes + i;
                const wanted = i + ahead_bytes / places;
                const expected =
                    if (wanted < bytes) begin + wanted else next_begin + (wanted - bytes);
                try testing.expectEqual(expected, @intFromPtr(stream.ahead(here, at)));
            }
        }
    }
}

test "Stream.ahead() goes straight on where nothing is known to be next" {
    const panels = imagined(1 << 30, 6 << 10, 51);
    const stream: Stream = .of(panels, null, .{ .index = 0, .count = 1 });
    for ([_]usize{ 0, 6 << 10, 150 << 10 }) |i| inline for (0..places) |at| {
        const begin = panels.address(at * panels.perPlace());
        const expected = begin + i + ahead_bytes / places;
        try testing.expectEqual(expected, @intFromPtr(stream.ahead(panels.first + i, at)));
    };
}
