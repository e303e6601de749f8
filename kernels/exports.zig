//! Every exported function of sluice.h: converts, checks, forwards. No logic.
const std = @import("std");
const ggml = @import("ggml.zig");
const library = @import("library.zig");
const failure = @import("failure.zig");
const log = @import("log.zig");
const tensor = @import("tensor.zig");
const attention = @import("attention.zig");
const compute = @import("compute.zig");
const experts = @import("experts.zig");
const packed_weight = @import("packed.zig");
const rope = @import("rope.zig");
const row = @import("row.zig");
const Lock = @import("lock.zig").Lock;
const Mapping = @import("mapping.zig").Mapping;
const pool = @import("cpu/pool.zig");
const product = @import("cpu/product.zig");
const sampler = @import("cpu/sampler.zig");
const variant = @import("cpu/variant.zig");

/// One sentence and the end: the machinery that prints a stack trace would be half of the library.
pub const panic = std.debug.FullPanic(struct {
    fn panic(message: []const u8, _: ?usize) noreturn {
        log.lastWords(message);
        std.c.abort();
    }
}.panic);

comptime {
    _ = @import("cpu/openmp.zig");
    _ = @import("cpu/expf.zig");
}

const ok: i32 = 0;
const aborted: i32 = 1;
const failed: i32 = -1;

export fn sluice_abi_version() i32 {
    library.open();
    return 1;
}

export fn sluice_last_error(buf: ?[*]u8, len: i32) i32 {
    return copyOut(failure.get(), buf, len);
}

export fn sluice_cpu_variant(buf: ?[*]u8, len: i32) i32 {
    var text: [256]u8 = undefined;
    return copyOut(variant.describe(&text), buf, len);
}

export fn sluice_use_cpu_variant(name: ?[*:0]const u8) i32 {
    const n = given("name", name) catch return failed;
    variant.force(std.mem.span(n)) catch return failed;
    return ok;
}

export fn sluice_cpu_count() i32 {
    return @intCast(pool.cpuCount());
}

export fn sluice_log_level(level: i32) void {
    log.setLevel(level);
}

export fn sluice_context_new(mem_size: f64) ?*ggml.Context {
    return tensor.newContext(mem_size) catch null;
}

export fn sluice_lock_take(path: ?[*:0]const u8) ?*Lock {
    return Lock.take(given("path", path) catch return null) catch null;
}

export fn sluice_lock_release(lock: ?*Lock) i32 {
    const l = given("lock", lock) catch return failed;
    l.release();
    return ok;
}

export fn sluice_mapping_open(path: ?[*:0]const u8, size: f64) ?*Mapping {
    return Mapping.open(given("path", path) catch return null, size) catch null;
}

export fn sluice_mapping_populate(mapping: ?*Mapping, offset: f64, size: f64) i32 {
    const m = given("mapping", mapping) catch return failed;
    return status(m.populate(offset, size));
}

export fn sluice_mapping_discard(mapping: ?*Mapping, offset: f64, size: f64) i32 {
    const m = given("mapping", mapping) catch return failed;
    return status(m.discard(offset, size));
}

export fn sluice_mapping_close(mapping: ?*Mapping) i32 {
    const m = given("mapping", mapping) catch return failed;
    return status(m.close());
}

export fn sluice_mapping_buffer(mapping: ?*Mapping, offset: f64, size: f64) ?*ggml.Buffer {
    const m = given("mapping", mapping) catch return null;
    return m.buffer(offset, size) catch null;
}

export fn sluice_mapping_read(
    mapping: ?*Mapping,
    ranges: ?[*]const f64,
    n_ranges: i32,
    destination: ?*ggml.Tensor,
) i32 {
    return status(fill(Mapping.read, mapping, ranges, n_ranges, destination));
}

export fn sluice_mapping_pack(
    mapping: ?*Mapping,
    ranges: ?[*]const f64,
    n_ranges: i32,
    destination: ?*ggml.Tensor,
) i32 {
    return status(fill(Mapping.pack, mapping, ranges, n_ranges, destination));
}

/// Fills a tensor with pieces of a file, in one of the ways that a mapping has.
fn fill(
    comptime way: @TypeOf(Mapping.read),
    mapping: ?*Mapping,
    ranges: ?[*]const f64,
    n_ranges: i32,
    destination: ?*ggml.Tensor,
) failure.Error!void {
    const m = try given("mapping", mapping);
    const t = try given("tensor", destination);
    const n_pairs = try count("n_ranges", n_ranges);
    return way(m, try list("ranges", ranges, 2 * n_pairs), t);
}

export fn sluice_layout_version() i32 {
    return product.layout_version;
}

export fn sluice_packs(type_: i32, n_in: i32, n_out: i32) i32 {
    const in = count("n_in", n_in) catch return failed;
    const out = count("n_out", n_out) catch return failed;
    return @intFromBool(packed_weight.accepts(type_, in, out));
}

export fn sluice_quantize(
    context: ?*ggml.Context,
    values: ?*ggml.Tensor,
    type_: i32,
) ?*ggml.Tensor {
    const c = given("context", context) catch return null;
    const v = given("values", values) catch return null;
    return packed_weight.quantize(c, v, .nothing, @fromBackingInt(type_)) catch null;
}

export fn sluice_quantize_rms_norm(
    context: ?*ggml.Context,
    values: ?*ggml.Tensor,
    weight: ?*ggml.Tensor,
    eps: f32,
    type_: i32,
) ?*ggml.Tensor {
    const c = given("context", context) catch return null;
    const v = given("values", values) catch return null;
    const w = given("weight", weight) catch return null;
    const norm: packed_weight.First = .{ .rms_norm = .{ .weight = w, .eps = eps } };
    return packed_weight.quantize(c, v, norm, @fromBackingInt(type_)) catch null;
}

export fn sluice_quantize_swiglu(
    context: ?*ggml.Context,
    values: ?*ggml.Tensor,
    type_: i32,
) ?*ggml.Tensor {
    const c = given("context", context) catch return null;
    const v = given("values", values) catch return null;
    return packed_weight.quantize(c, v, .swiglu, @fromBackingInt(type_)) catch null;
}

export fn sluice_multiply(
    context: ?*ggml.Context,
    weight: ?*ggml.Tensor,
    tiles: ?*ggml.Tensor,
    added: ?*ggml.Tensor,
    next: ?*ggml.Tensor,
) ?*ggml.Tensor {
    const c = given("context", context) catch return null;
    const w = given("weight", weight) catch return null;
    const t = given("tiles", tiles) catch return null;
    return packed_weight.multiply(c, w, t, added, next) catch null;
}

export fn sluice_get_rows(
    context: ?*ggml.Context,
    weight: ?*ggml.Tensor,
    ids: ?*ggml.Tensor,
) ?*ggml.Tensor {
    const c = given("context", context) catch return null;
    const w = given("weight", weight) catch return null;
    const i = given("ids", ids) catch return null;
    return packed_weight.getRows(c, w, i) catch null;
}

export fn sluice_rope_table(
    context: ?*ggml.Context,
    pos: ?*ggml.Tensor,
    freq_factors: ?*ggml.Tensor,
    n_dims: i32,
    neox: i32,
    n_ctx_orig: i32,
    freq_base: f32,
    freq_scale: f32,
    ext_factor: f32,
    attn_factor: f32,
    beta_fast: f32,
    beta_slow: f32,
) ?*ggml.Tensor {
    const c = given("context", context) catch return null;
    const p = given("pos", pos) catch return null;
    return rope.table(c, p, freq_factors, .{
        .n_dims = n_dims,
        .pairs = if (neox == 0) .neighbours else .halves,
        .n_ctx_orig = n_ctx_orig,
        .freq_base = freq_base,
        .freq_scale = freq_scale,
        .ext_factor = ext_factor,
        .attn_factor = attn_factor,
        .beta_fast = beta_fast,
        .beta_slow = beta_slow,
    }) catch null;
}

export fn sluice_rope_cache(
    context: ?*ggml.Context,
    q: ?*ggml.Tensor,
    k: ?*ggml.Tensor,
    v: ?*ggml.Tensor,
    table: ?*ggml.Tensor,
    k_cells: ?*ggml.Tensor,
    v_cells: ?*ggml.Tensor,
    rows: ?*ggml.Tensor,
) ?*ggml.Tensor {
    const c = given("context", context) catch return null;
    return rope.rotate(c, .{
        .q = given("q", q) catch return null,
        .k = given("k", k) catch return null,
        .v = given("v", v) catch return null,
        .table = given("table", table) catch return null,
        .k_cells = given("k_cells", k_cells) catch return null,
        .v_cells = given("v_cells", v_cells) catch return null,
        .rows = given("rows", rows) catch return null,
    }) catch null;
}

export fn sluice_experts(
    context: ?*ggml.Context,
    values: ?*ggml.Tensor,
    router: ?*ggml.Tensor,
    gate_up: ?*ggml.Tensor,
    down: ?*ggml.Tensor,
    n_used: i32,
    added: ?*ggml.Tensor,
) ?*ggml.Tensor {
    const c = given("context", context) catch return null;
    return experts.node(c, .{
        .values = given("values", values) catch return null,
        .router = given("router", router) catch return null,
        .gate_up = given("gate_up", gate_up) catch return null,
        .down = given("down", down) catch return null,
        .n_used = count("n_used", n_used) catch return null,
        .added = added,
    }) catch null;
}

export fn sluice_attends(type_: i32, n_embd_head: i32) i32 {
    const n = count("n_embd_head", n_embd_head) catch return failed;
    return @intFromBool(attention.accepts(type_, n));
}

export fn sluice_attention(
    context: ?*ggml.Context,
    q: ?*ggml.Tensor,
    k: ?*ggml.Tensor,
    v: ?*ggml.Tensor,
    blocks: ?*ggml.Tensor,
    n_seen: ?*ggml.Tensor,
    scale: f32,
) ?*ggml.Tensor {
    const c = given("context", context) catch return null;
    return attention.node(c, .{
        .q = given("q", q) catch return null,
        .k = given("k", k) catch return null,
        .v = given("v", v) catch return null,
        .blocks = given("blocks", blocks) catch return null,
        .n_seen = given("n_seen", n_seen) catch return null,
        .scale = scale,
    }) catch null;
}

export fn sluice_tensor_place(buffer: ?*ggml.Buffer, placed: ?*ggml.Tensor, offset: f64) i32 {
    const b = given("buffer", buffer) catch return failed;
    const t = given("tensor", placed) catch return failed;
    return status(tensor.place(b, t, offset));
}

export fn sluice_buffer_use_large_pages(buffer: ?*ggml.Buffer) i32 {
    tensor.useLargePages(given("buffer", buffer) catch return failed);
    return ok;
}

export fn sluice_extra_buffer_type(index: i32) ?*ggml.BufferType {
    return tensor.extraBufferType(count("index", index) catch return null);
}

export fn sluice_buffer_type_accepts(type_: ?*ggml.BufferType, weight: ?*ggml.Tensor) i32 {
    const b = given("type", type_) catch return failed;
    const w = given("weight", weight) catch return failed;
    return @intFromBool(tensor.accepts(b, w) catch return failed);
}

export fn sluice_graph_compute(
    backend: ?*ggml.Backend,
    graph: ?*ggml.Graph,
    cancelled: ?[*]const i32,
    members: ?[*]const i32,
    n_members: i32,
) i32 {
    const b = given("backend", backend) catch return failed;
    const g = given("graph", graph) catch return failed;
    const n = count("n_members", n_members) catch return failed;
    const m = list("members", members, n) catch return failed;
    _ = list("cancelled", cancelled, n) catch return failed;
    const finished = compute.compute(b, g, .{ .cancelled = cancelled, .members = m }) catch
        return failed;
    return if (finished) ok else aborted;
}

export fn sluice_sample(
    logits: ?*ggml.Tensor,
    row_index: i32,
    params: ?[*]const f64,
    history: ?[*]const i32,
    n_history: i32,
) i32 {
    const values = row.of(logits, row_index) catch return failed;
    const p = row.params(params) catch return failed;
    const n = count("n_history", n_history) catch return failed;
    const h = list("history", history, n) catch return failed;
    return @intCast(sampler.sample(&variant.kernels().logits, values, p, h) catch return failed);
}

export fn sluice_sample_candidates(
    logits: ?[*]const f32,
    n_vocab: i32,
    params: ?[*]const f64,
    history: ?[*]const i32,
    n_history: i32,
    ids: ?[*]i32,
    probabilities: ?[*]f32,
    max: i32,
) i32 {
    const n_values = count("n_vocab", n_vocab) catch return failed;
    const values = list("logits", logits, n_values) catch return failed;
    const p = row.params(params) catch return failed;
    const n = count("n_history", n_history) catch return failed;
    const h = list("history", history, n) catch return failed;
    const room = count("max", max) catch return failed;
    const out_ids = list("ids", ids, room) catch return failed;
    const out = list("probabilities", probabilities, room) catch return failed;
    const left = sampler.candidates(
        &variant.kernels().logits,
        values,
        p,
        h,
        out_ids,
        out,
    ) catch return failed;
    return @intCast(left);
}

export fn sluice_argmax(logits: ?*ggml.Tensor, row_index: i32) i32 {
    const values = row.of(logits, row_index) catch return failed;
    return row.argmax(values) catch failed;
}

export fn sluice_pool_threads() i32 {
    return @intCast(pool.workerCount());
}

export fn sluice_pool_shutdown() i32 {
    return @intCast(pool.shutdown());
}

fn status(result: failure.Error!void) i32 {
    result catch return failed;
    return ok;
}

/// An argument that must not be null.
fn given(comptime name: []const u8, value: anytype) failure.Error!std.meta.Child(@TypeOf(value)) {
    return value orelse failure.set("Cannot use " ++ name ++ ": it is null", .{});
}

fn count(comptime name: []const u8, value: i32) failure.Error!usize {
    if (value < 0) {
        return failure.set("Cannot use {d} as " ++ name ++ ": expected 0 or more", .{value});
    }
    return @intCast(value);
}

/// `n` items that the caller owns. Null is fine for none.
fn list(
    comptime name: []const u8,
    items: anytype,
    n: usize,
) failure.Error!@TypeOf(@as(std.meta.Child(@TypeOf(items)), undefined)[0..n]) {
    if (n == 0) return &.{};
    return (try given(name, items))[0..n];
}

/// As much of `text` as fits; returns its whole length.
fn copyOut(text: []const u8, buf: ?[*]u8, len: i32) i32 {
    const room: usize = @intCast(@max(0, len));
    const n = @min(room, text.len);
    if (buf) |bytes| @memcpy(bytes[0..n], text[0..n]);
    return @intCast(text.len);
}
