//! The few ggml declarations that our own code calls, checked against ggml's headers by
//! ggml_layout.c. TypeScript builds graphs through its own table; this is not a binding.

pub const Context = opaque {};
pub const Graph = opaque {};
pub const Backend = opaque {};
pub const Buffer = opaque {};
pub const BufferType = opaque {};
pub const Device = opaque {};
pub const Registry = opaque {};

pub const Type = enum(c_int) { f32 = 0, f16 = 1, i8 = 24, i32 = 26, i64 = 27, _ };

/// ggml_custom_op_t: share `ith` of `nth` of a node.
pub const CustomOp = *const fn (*Tensor, c_int, c_int, ?*anyopaque) callconv(.c) void;
/// GGML_N_TASKS_MAX: as many as there are threads.
pub const n_tasks_max = -1;

/// struct ggml_tensor.
pub const Tensor = extern struct {
    type: Type,
    buffer: ?*Buffer,
    ne: [4]i64,
    nb: [4]usize,
    op: c_int,
    op_params: [16]i32,
    flags: i32,
    src: [10]?*Tensor,
    view_src: ?*Tensor,
    view_offs: usize,
    data: ?[*]u8,
    name: [64]u8,
    extra: ?*anyopaque,
    padding: [8]u8,
};

/// struct ggml_init_params.
pub const InitParams = extern struct {
    mem_size: usize,
    mem_buffer: ?*anyopaque,
    no_alloc: bool,
};

/// enum ggml_status.
pub const Status = enum(c_int) { alloc_failed = -2, failed = -1, success = 0, aborted = 1, _ };

/// enum ggml_log_level.
pub const LogLevel = enum(c_int) { none, debug, info, warn, err, cont, _ };
pub const LogCallback = *const fn (LogLevel, [*:0]const u8, ?*anyopaque) callconv(.c) void;
pub const ErrorCallback = *const fn ([*:0]const u8) callconv(.c) void;
pub const AbortCallback = *const fn (?*anyopaque) callconv(.c) bool;
/// ggml_backend_dev_get_extra_bufts_t: a list that ends with null.
pub const ExtraBufferTypes = *const fn (?*Device) callconv(.c) [*:null]?*BufferType;

pub extern fn ggml_init(InitParams) ?*Context;
pub extern fn ggml_free(*Context) void;
pub extern fn ggml_log_set(?LogCallback, ?*anyopaque) void;
pub extern fn ggml_set_abort_callback(?ErrorCallback) ?ErrorCallback;
pub extern fn ggml_tensor_overhead() usize;
pub extern fn ggml_nbytes(*const Tensor) usize;
pub extern fn ggml_is_contiguous(*const Tensor) bool;
pub extern fn ggml_is_transposed(*const Tensor) bool;
pub extern fn ggml_new_tensor_4d(*Context, Type, i64, i64, i64, i64) *Tensor;
pub extern fn ggml_custom_4d(
    *Context,
    Type,
    i64,
    i64,
    i64,
    i64,
    args: [*]const *Tensor,
    n_args: c_int,
    CustomOp,
    n_tasks: c_int,
    userdata: ?*anyopaque,
) *Tensor;
pub extern fn ggml_mul_mat(*Context, *Tensor, *Tensor) *Tensor;
pub extern fn ggml_backend_is_cpu(*Backend) bool;
pub extern fn ggml_backend_graph_compute(*Backend, *Graph) Status;
pub extern fn ggml_backend_cpu_set_abort_callback(*Backend, ?AbortCallback, ?*anyopaque) void;
pub extern fn ggml_backend_cpu_reg() *Registry;
pub extern fn ggml_backend_cpu_buffer_from_ptr(*anyopaque, usize) ?*Buffer;
pub extern fn ggml_backend_reg_dev_get(*Registry, usize) *Device;
pub extern fn ggml_backend_reg_get_proc_address(*Registry, [*:0]const u8) ?*anyopaque;
pub extern fn ggml_backend_dev_supports_op(*Device, *const Tensor) bool;
pub extern fn ggml_backend_buft_get_device(*BufferType) ?*Device;
pub extern fn ggml_backend_buft_alloc_buffer(*BufferType, usize) ?*Buffer;
pub extern fn ggml_backend_buffer_free(*Buffer) void;
pub extern fn ggml_backend_buffer_is_host(*Buffer) bool;
pub extern fn ggml_backend_buffer_get_base(*Buffer) ?[*]u8;
pub extern fn ggml_backend_buffer_get_size(*Buffer) usize;
pub extern fn ggml_backend_buffer_get_alignment(*Buffer) usize;
pub extern fn ggml_backend_buffer_get_alloc_size(*Buffer, *const Tensor) usize;
pub extern fn ggml_backend_tensor_alloc(*Buffer, *Tensor, *anyopaque) Status;
pub extern fn ggml_backend_tensor_set(*Tensor, *const anyopaque, usize, usize) void;
pub extern fn ggml_cpu_has_avx512_vnni() c_int;
pub extern fn ggml_cpu_has_avx512_bf16() c_int;
pub extern fn ggml_cpu_has_avx_vnni() c_int;
pub extern fn ggml_cpu_has_amx_int8() c_int;
pub extern fn ggml_cpu_has_avx512() c_int;
pub extern fn ggml_cpu_has_avx2() c_int;
pub extern fn ggml_cpu_has_dotprod() c_int;
pub extern fn ggml_cpu_has_matmul_int8() c_int;
pub extern fn ggml_cpu_has_sve() c_int;
pub extern fn ggml_cpu_has_fp16_va() c_int;
