//! Which variants there are, against what a register of the processor says.
const std = @import("std");
const builtin = @import("builtin");
const variant = @import("variant.zig");

test "runnable() has dotprod where ID_AA64ISAR0_EL1 says so (needs Linux on aarch64)" {
    if (builtin.cpu.arch != .aarch64 or builtin.os.tag != .linux) return error.SkipZigTest;
    // Linux reads it for programs; bits 44 to 47 are about sdot and udot.
    const register = asm volatile ("mrs %[to], ID_AA64ISAR0_EL1"
        : [to] "=r" (-> u64),
    );
    const n_variants: usize = if (register >> 44 & 15 == 0) 1 else 2;
    try std.testing.expectEqual(n_variants, variant.runnable().len);
}
