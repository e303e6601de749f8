//! How long a thread spins before it sleeps. Pure: no clock.
//!
//! To sleep costs more than to wake up again: a virtual machine's processor that has nothing to do
//! is given to another machine, and comes back when that has had its slice. A thread that sleeps
//! between two tokens loses most of its processor to neighbours that way. So it spins for
//! milliseconds where that is enough, and hardly where it has not been: then it waits for a client,
//! or for a thread that another program keeps from running.
const std = @import("std");

pub const Patience = struct {
    /// How long the next wait spins at most.
    spin_ns: u64 = spin_max_ns,

    /// Tells how long a wait took, asleep or not.
    pub fn waited(self: *Patience, took_ns: u64) void {
        if (took_ns >= spin_max_ns) {
            self.spin_ns = @max(self.spin_ns / 2, spin_min_ns);
        } else if (took_ns > spin_min_ns) {
            self.spin_ns = spin_max_ns;
        }
    }
};

/// Covers uneven work inside a graph: a wake costs tens of microseconds.
const spin_min_ns = 100 * std.time.ns_per_us;
/// Covers what a host does between two tokens. Other programs' slices are longer, and so is what a
/// client takes to ask again.
const spin_max_ns = 2 * std.time.ns_per_ms;

const testing = std.testing;

test "a thread goes on to spin long while waits are short enough" {
    var patience: Patience = .{};
    for (0..100) |_| {
        patience.waited(spin_max_ns / 8);
        try testing.expectEqual(spin_max_ns, patience.spin_ns);
    }
    // One that was longer says little.
    patience.waited(5 * spin_max_ns);
    try testing.expectEqual(spin_max_ns / 2, patience.spin_ns);
    patience.waited(spin_max_ns / 8);
    try testing.expectEqual(spin_max_ns, patience.spin_ns);
}

test "a thread hardly spins where waits are long, and short ones inside a graph say nothing" {
    var patience: Patience = .{};
    for (0..10) |_| {
        patience.waited(5 * spin_max_ns);
        patience.waited(spin_min_ns / 2);
    }
    try testing.expectEqual(spin_min_ns, patience.spin_ns);
}
