//! Numbers that crossed the ABI as double, back as sizes.
const failure = @import("failure.zig");

/// Largest integer up to which every double is exact.
const exact_max = 1 << 53;

/// `value` as a size. `name` is for the sentence.
pub fn toSize(name: []const u8, value: f64) failure.Error!usize {
    if (!(value >= 0 and value <= exact_max) or value != @trunc(value)) {
        return failure.set(
            "Cannot use {d} as {s}: expected a whole number of bytes",
            .{ value, name },
        );
    }
    return @intFromFloat(value);
}
