//! Where sums have to fit a machine's registers, the order in which they are computed.

/// Keeps the compiler from computing what follows before this vector, of which x86-64 can hold one
/// in a register.
pub inline fn keep(vector: anytype) void {
    var kept = vector.*;
    asm volatile (""
        : [kept] "+x" (kept),
    );
    vector.* = kept;
}
