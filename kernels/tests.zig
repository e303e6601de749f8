//! Every Zig test of the kernels. Those that run ggml take it from the built library.

test {
    _ = @import("cpu/exponential.zig");
    _ = @import("cpu/expf.zig");
    _ = @import("cpu/philox.zig");
    _ = @import("cpu/variant_test.zig");
    _ = @import("cpu/logits_test.zig");
    _ = @import("cpu/sampler_test.zig");
    _ = @import("cpu/product_test.zig");
    _ = @import("cpu/ternary.zig");
    _ = @import("cpu/floats_test.zig");
    _ = @import("cpu/cell_test.zig");
    _ = @import("cpu/attention_test.zig");
    _ = @import("cpu/angle.zig");
    _ = @import("cpu/across.zig");
    _ = @import("cpu/rope_test.zig");
    _ = @import("rope_test.zig");
    _ = @import("cpu/experts_test.zig");
    _ = @import("packed_test.zig");
    _ = @import("experts_test.zig");
    _ = @import("cpu/scratch.zig");
    _ = @import("cpu/share.zig");
    _ = @import("cpu/stream.zig");
    _ = @import("cpu/crowd.zig");
    _ = @import("cpu/patience.zig");
    _ = @import("cpu/pool_test.zig");
    _ = @import("cpu/openmp_test.zig");
    _ = @import("failure.zig");
    _ = @import("number.zig");
    _ = @import("lock.zig");
    _ = @import("mapping_test.zig");
    _ = @import("compute_test.zig");
    if (@import("builtin").cpu.arch == .x86_64) {
        _ = @import("cpu/amx_emulator_test.zig");
        _ = @import("cpu/product_amx_test.zig");
        // Elsewhere it is ggml without optimization, emulated, that takes minutes.
        _ = @import("accuracy_test.zig");
    }
}
