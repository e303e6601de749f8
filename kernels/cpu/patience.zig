//! How long a thread spins before it sleeps. Pure: no clock.
//!
//! To sleep may cost more than to wake up again: a virtual machine's processor that has nothing to
//! do is given to another machine, and comes back when that has had its slice. Where neighbours are
//! busy, threads that sleep between two tokens lose half of their processors that way. So a thread
//! spins for milliseconds where hosts and uneven work make it wait, and hardly where waits last
//! longer: there it waits for a client, or for one that another program keeps from running. A
//! thread that spins counts as one that runs, so long spins would hide a crowd (crowd.zig).
const std = @import("std");

pub const Patience = struct {
    /// How long the next wait spins at most.
    spin_ns: u64 = spin_max_ns,

    /// Tells how long a wait took, asleep or not.
    pub fn waited(self: *Patience, took_ns: u64) void {
        if (took_ns >= spin_max_ns) {
            self.spin_ns = @max(self.spin_ns / 2, spin_min_ns);
        } else if (took_ns > spin_min_ns and took_ns < short_ns) {
            self.spin_ns = spin_max_ns;
        }
    }
};

/// Covers uneven work inside a graph: a wake costs tens of microseconds.
const spin_min_ns = 100 * std.time.ns_per_us;
/// Covers most of what a host does between two tokens.
const short_ns = 500 * std.time.ns_per_us;
/// Other programs' slices are longer.
const spin_max_ns = 2 * std.time.ns_per_ms;

const testing = std.testing;

test "a thread goes on to spin long while waits are short" {
    var patience: Patience = .{};
    for (0..100) |_| {
        patience.waited(short_ns / 2);
        try testing.expectEqual(spin_max_ns, patience.spin_ns);
    }
    // A long one says little.
    patience.waited(5 * spin_max_ns);
    try testing.expectEqual(spin_max_ns / 2, patience.spin_ns);
    patience.waited(short_ns / 2);
    try testing.expectEqual(spin_max_ns, patience.spin_ns);
}

test "a thread hardly spins where waits are long, whatever those inside a graph are" {
    var patience: Patience = .{};
    for (0..10) |_| {
        patience.waited(5 * spin_max_ns);
        patience.waited(spin_min_ns / 2);
        patience.waited(2 * short_ns);
    }
    try testing.expectEqual(spin_min_ns, patience.spin_ns);
}
