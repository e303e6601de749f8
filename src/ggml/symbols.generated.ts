/**
 * The functions, types and constants of ggml and sluice.h that TypeScript uses.
 *
 * Generated from the C headers: do not edit, run `zig build symbols`.
 *
 * @module
 */
import type { SymbolTable } from "../runtime/ffi.ts";

export const SLUICE_OK = 0;
export const SLUICE_ABORTED = 1;
export const SLUICE_FAILED = -1;
/** What sluice_abi_version() must return. */
export const ABI_VERSION = 1;
export const GGML_ROPE_TYPE_NORMAL = 0;
export const GGML_ROPE_TYPE_NEOX = 2;
export const GGML_ROPE_TYPE_MROPE = 8;
export const GGML_ROPE_TYPE_VISION = 24;
export const GGML_ROPE_TYPE_IMROPE = 40;
export const GGML_PREC_DEFAULT = 0;
export const GGML_PREC_F32 = 10;
export const GGML_BACKEND_BUFFER_USAGE_ANY = 0;
export const GGML_BACKEND_BUFFER_USAGE_WEIGHTS = 1;
export const GGML_BACKEND_BUFFER_USAGE_COMPUTE = 2;

/** Element types: ggml's number, elements of a block, bytes of a block. */
export const GGML_TYPES = {
  f32: { id: 0, blockSize: 1, typeSize: 4 },
  f16: { id: 1, blockSize: 1, typeSize: 2 },
  q4_0: { id: 2, blockSize: 32, typeSize: 18 },
  q4_1: { id: 3, blockSize: 32, typeSize: 20 },
  q5_0: { id: 6, blockSize: 32, typeSize: 22 },
  q5_1: { id: 7, blockSize: 32, typeSize: 24 },
  q8_0: { id: 8, blockSize: 32, typeSize: 34 },
  q8_1: { id: 9, blockSize: 32, typeSize: 36 },
  q2_k: { id: 10, blockSize: 256, typeSize: 84 },
  q3_k: { id: 11, blockSize: 256, typeSize: 110 },
  q4_k: { id: 12, blockSize: 256, typeSize: 144 },
  q5_k: { id: 13, blockSize: 256, typeSize: 176 },
  q6_k: { id: 14, blockSize: 256, typeSize: 210 },
  q8_k: { id: 15, blockSize: 256, typeSize: 292 },
  iq2_xxs: { id: 16, blockSize: 256, typeSize: 66 },
  iq2_xs: { id: 17, blockSize: 256, typeSize: 74 },
  iq3_xxs: { id: 18, blockSize: 256, typeSize: 98 },
  iq1_s: { id: 19, blockSize: 256, typeSize: 50 },
  iq4_nl: { id: 20, blockSize: 32, typeSize: 18 },
  iq3_s: { id: 21, blockSize: 256, typeSize: 110 },
  iq2_s: { id: 22, blockSize: 256, typeSize: 82 },
  iq4_xs: { id: 23, blockSize: 256, typeSize: 136 },
  i8: { id: 24, blockSize: 1, typeSize: 1 },
  i16: { id: 25, blockSize: 1, typeSize: 2 },
  i32: { id: 26, blockSize: 1, typeSize: 4 },
  i64: { id: 27, blockSize: 1, typeSize: 8 },
  f64: { id: 28, blockSize: 1, typeSize: 8 },
  iq1_m: { id: 29, blockSize: 256, typeSize: 56 },
  bf16: { id: 30, blockSize: 1, typeSize: 2 },
  tq1_0: { id: 34, blockSize: 256, typeSize: 54 },
  tq2_0: { id: 35, blockSize: 256, typeSize: 66 },
  mxfp4: { id: 39, blockSize: 32, typeSize: 17 },
  nvfp4: { id: 40, blockSize: 64, typeSize: 36 },
  q1_0: { id: 41, blockSize: 128, typeSize: 18 },
  q2_0: { id: 42, blockSize: 64, typeSize: 18 },
} as const;

/** Every function by name, with its C declaration. */
export const symbols = {
  // void ggml_free(struct ggml_context * ctx)
  ggml_free: { args: ["pointer"], returns: "void" },
  // void ggml_reset(struct ggml_context * ctx)
  ggml_reset: { args: ["pointer"], returns: "void" },
  // size_t ggml_used_mem(const struct ggml_context * ctx)
  ggml_used_mem: { args: ["pointer"], returns: "i64" },
  // size_t ggml_tensor_overhead(void)
  ggml_tensor_overhead: { args: [], returns: "i64" },
  // size_t ggml_graph_overhead_custom(size_t size, bool grads)
  ggml_graph_overhead_custom: { args: ["i64", "bool"], returns: "i64" },
  // struct ggml_tensor * ggml_new_tensor_1d(struct ggml_context * ctx, enum ggml_type type, int64_t
  //   ne0)
  ggml_new_tensor_1d: { args: ["pointer", "i32", "i64"], returns: "pointer" },
  // struct ggml_tensor * ggml_new_tensor_2d(struct ggml_context * ctx, enum ggml_type type, int64_t
  //   ne0, int64_t ne1)
  ggml_new_tensor_2d: { args: ["pointer", "i32", "i64", "i64"], returns: "pointer" },
  // struct ggml_tensor * ggml_new_tensor_3d(struct ggml_context * ctx, enum ggml_type type, int64_t
  //   ne0, int64_t ne1, int64_t ne2)
  ggml_new_tensor_3d: { args: ["pointer", "i32", "i64", "i64", "i64"], returns: "pointer" },
  // struct ggml_tensor * ggml_new_tensor_4d(struct ggml_context * ctx, enum ggml_type type, int64_t
  //   ne0, int64_t ne1, int64_t ne2, int64_t ne3)
  ggml_new_tensor_4d: { args: ["pointer", "i32", "i64", "i64", "i64", "i64"], returns: "pointer" },
  // size_t ggml_nbytes(const struct ggml_tensor * tensor)
  ggml_nbytes: { args: ["pointer"], returns: "i64" },
  // int64_t ggml_nelements(const struct ggml_tensor * tensor)
  ggml_nelements: { args: ["pointer"], returns: "i64" },
  // struct ggml_tensor * ggml_set_name(struct ggml_tensor * tensor, const char * name)
  ggml_set_name: { args: ["pointer", "buffer"], returns: "pointer" },
  // void ggml_set_input(struct ggml_tensor * tensor)
  ggml_set_input: { args: ["pointer"], returns: "void" },
  // void ggml_set_output(struct ggml_tensor * tensor)
  ggml_set_output: { args: ["pointer"], returns: "void" },
  // void * ggml_get_data(const struct ggml_tensor * tensor)
  ggml_get_data: { args: ["pointer"], returns: "pointer" },
  // struct ggml_tensor * ggml_get_rows(struct ggml_context * ctx, struct ggml_tensor * a, struct
  //   ggml_tensor * b)
  ggml_get_rows: { args: ["pointer", "pointer", "pointer"], returns: "pointer" },
  // struct ggml_tensor * ggml_set_rows(struct ggml_context * ctx, struct ggml_tensor * a, struct
  //   ggml_tensor * b, struct ggml_tensor * c)
  ggml_set_rows: { args: ["pointer", "pointer", "pointer", "pointer"], returns: "pointer" },
  // struct ggml_tensor * ggml_mul_mat(struct ggml_context * ctx, struct ggml_tensor * a, struct
  //   ggml_tensor * b)
  ggml_mul_mat: { args: ["pointer", "pointer", "pointer"], returns: "pointer" },
  // struct ggml_tensor * ggml_mul_mat_id(struct ggml_context * ctx, struct ggml_tensor * as, struct
  //   ggml_tensor * b, struct ggml_tensor * ids)
  ggml_mul_mat_id: { args: ["pointer", "pointer", "pointer", "pointer"], returns: "pointer" },
  // struct ggml_tensor * ggml_mul(struct ggml_context * ctx, struct ggml_tensor * a, struct
  //   ggml_tensor * b)
  ggml_mul: { args: ["pointer", "pointer", "pointer"], returns: "pointer" },
  // struct ggml_tensor * ggml_add(struct ggml_context * ctx, struct ggml_tensor * a, struct
  //   ggml_tensor * b)
  ggml_add: { args: ["pointer", "pointer", "pointer"], returns: "pointer" },
  // struct ggml_tensor * ggml_add_id(struct ggml_context * ctx, struct ggml_tensor * a, struct
  //   ggml_tensor * b, struct ggml_tensor * ids)
  ggml_add_id: { args: ["pointer", "pointer", "pointer", "pointer"], returns: "pointer" },
  // struct ggml_tensor * ggml_argsort_top_k(struct ggml_context * ctx, struct ggml_tensor * a, int
  //   k)
  ggml_argsort_top_k: { args: ["pointer", "pointer", "i32"], returns: "pointer" },
  // struct ggml_tensor * ggml_scale(struct ggml_context * ctx, struct ggml_tensor * a, float s)
  ggml_scale: { args: ["pointer", "pointer", "f32"], returns: "pointer" },
  // struct ggml_tensor * ggml_swiglu(struct ggml_context * ctx, struct ggml_tensor * a)
  ggml_swiglu: { args: ["pointer", "pointer"], returns: "pointer" },
  // struct ggml_tensor * ggml_swiglu_split(struct ggml_context * ctx, struct ggml_tensor * a,
  //   struct ggml_tensor * b)
  ggml_swiglu_split: { args: ["pointer", "pointer", "pointer"], returns: "pointer" },
  // struct ggml_tensor * ggml_geglu_split(struct ggml_context * ctx, struct ggml_tensor * a, struct
  //   ggml_tensor * b)
  ggml_geglu_split: { args: ["pointer", "pointer", "pointer"], returns: "pointer" },
  // struct ggml_tensor * ggml_silu(struct ggml_context * ctx, struct ggml_tensor * a)
  ggml_silu: { args: ["pointer", "pointer"], returns: "pointer" },
  // struct ggml_tensor * ggml_gelu(struct ggml_context * ctx, struct ggml_tensor * a)
  ggml_gelu: { args: ["pointer", "pointer"], returns: "pointer" },
  // struct ggml_tensor * ggml_rms_norm(struct ggml_context * ctx, struct ggml_tensor * a, float
  //   eps)
  ggml_rms_norm: { args: ["pointer", "pointer", "f32"], returns: "pointer" },
  // struct ggml_tensor * ggml_norm(struct ggml_context * ctx, struct ggml_tensor * a, float eps)
  ggml_norm: { args: ["pointer", "pointer", "f32"], returns: "pointer" },
  // struct ggml_tensor * ggml_rope_ext(struct ggml_context * ctx, struct ggml_tensor * a, struct
  //   ggml_tensor * b, struct ggml_tensor * c, int n_dims, int mode, int n_ctx_orig, float
  //   freq_base, float freq_scale, float ext_factor, float attn_factor, float beta_fast, float
  //   beta_slow)
  ggml_rope_ext: {
    args: [
      "pointer",
      "pointer",
      "pointer",
      "pointer",
      "i32",
      "i32",
      "i32",
      "f32",
      "f32",
      "f32",
      "f32",
      "f32",
      "f32",
    ],
    returns: "pointer",
  },
  // struct ggml_tensor * ggml_reshape_2d(struct ggml_context * ctx, struct ggml_tensor * a, int64_t
  //   ne0, int64_t ne1)
  ggml_reshape_2d: { args: ["pointer", "pointer", "i64", "i64"], returns: "pointer" },
  // struct ggml_tensor * ggml_reshape_3d(struct ggml_context * ctx, struct ggml_tensor * a, int64_t
  //   ne0, int64_t ne1, int64_t ne2)
  ggml_reshape_3d: { args: ["pointer", "pointer", "i64", "i64", "i64"], returns: "pointer" },
  // struct ggml_tensor * ggml_reshape_4d(struct ggml_context * ctx, struct ggml_tensor * a, int64_t
  //   ne0, int64_t ne1, int64_t ne2, int64_t ne3)
  ggml_reshape_4d: { args: ["pointer", "pointer", "i64", "i64", "i64", "i64"], returns: "pointer" },
  // struct ggml_tensor * ggml_view_1d(struct ggml_context * ctx, struct ggml_tensor * a, int64_t
  //   ne0, size_t offset)
  ggml_view_1d: { args: ["pointer", "pointer", "i64", "i64"], returns: "pointer" },
  // struct ggml_tensor * ggml_view_2d(struct ggml_context * ctx, struct ggml_tensor * a, int64_t
  //   ne0, int64_t ne1, size_t nb1, size_t offset)
  ggml_view_2d: { args: ["pointer", "pointer", "i64", "i64", "i64", "i64"], returns: "pointer" },
  // struct ggml_tensor * ggml_view_3d(struct ggml_context * ctx, struct ggml_tensor * a, int64_t
  //   ne0, int64_t ne1, int64_t ne2, size_t nb1, size_t nb2, size_t offset)
  ggml_view_3d: {
    args: ["pointer", "pointer", "i64", "i64", "i64", "i64", "i64", "i64"],
    returns: "pointer",
  },
  // struct ggml_tensor * ggml_view_4d(struct ggml_context * ctx, struct ggml_tensor * a, int64_t
  //   ne0, int64_t ne1, int64_t ne2, int64_t ne3, size_t nb1, size_t nb2, size_t nb3, size_t
  //   offset)
  ggml_view_4d: {
    args: ["pointer", "pointer", "i64", "i64", "i64", "i64", "i64", "i64", "i64", "i64"],
    returns: "pointer",
  },
  // struct ggml_tensor * ggml_permute(struct ggml_context * ctx, struct ggml_tensor * a, int axis0,
  //   int axis1, int axis2, int axis3)
  ggml_permute: { args: ["pointer", "pointer", "i32", "i32", "i32", "i32"], returns: "pointer" },
  // struct ggml_tensor * ggml_transpose(struct ggml_context * ctx, struct ggml_tensor * a)
  ggml_transpose: { args: ["pointer", "pointer"], returns: "pointer" },
  // struct ggml_tensor * ggml_cont(struct ggml_context * ctx, struct ggml_tensor * a)
  ggml_cont: { args: ["pointer", "pointer"], returns: "pointer" },
  // struct ggml_tensor * ggml_cont_2d(struct ggml_context * ctx, struct ggml_tensor * a, int64_t
  //   ne0, int64_t ne1)
  ggml_cont_2d: { args: ["pointer", "pointer", "i64", "i64"], returns: "pointer" },
  // struct ggml_tensor * ggml_cpy(struct ggml_context * ctx, struct ggml_tensor * a, struct
  //   ggml_tensor * b)
  ggml_cpy: { args: ["pointer", "pointer", "pointer"], returns: "pointer" },
  // struct ggml_tensor * ggml_concat(struct ggml_context * ctx, struct ggml_tensor * a, struct
  //   ggml_tensor * b, int dim)
  ggml_concat: { args: ["pointer", "pointer", "pointer", "i32"], returns: "pointer" },
  // struct ggml_tensor * ggml_flash_attn_ext(struct ggml_context * ctx, struct ggml_tensor * q,
  //   struct ggml_tensor * k, struct ggml_tensor * v, struct ggml_tensor * mask, float scale, float
  //   max_bias, float logit_softcap)
  ggml_flash_attn_ext: {
    args: ["pointer", "pointer", "pointer", "pointer", "pointer", "f32", "f32", "f32"],
    returns: "pointer",
  },
  // struct ggml_tensor * ggml_soft_max_ext(struct ggml_context * ctx, struct ggml_tensor * a,
  //   struct ggml_tensor * mask, float scale, float max_bias)
  ggml_soft_max_ext: { args: ["pointer", "pointer", "pointer", "f32", "f32"], returns: "pointer" },
  // bool ggml_prec_set_acc(struct ggml_tensor * a, enum ggml_prec prec)
  ggml_prec_set_acc: { args: ["pointer", "i32"], returns: "bool" },
  // struct ggml_cgraph * ggml_new_graph_custom(struct ggml_context * ctx, size_t size, bool grads)
  ggml_new_graph_custom: { args: ["pointer", "i64", "bool"], returns: "pointer" },
  // void ggml_build_forward_expand(struct ggml_cgraph * cgraph, struct ggml_tensor * tensor)
  ggml_build_forward_expand: { args: ["pointer", "pointer"], returns: "void" },
  // int ggml_graph_n_nodes(struct ggml_cgraph * cgraph)
  ggml_graph_n_nodes: { args: ["pointer"], returns: "i32" },
  // ggml_gallocr_t ggml_gallocr_new(ggml_backend_buffer_type_t buft)
  ggml_gallocr_new: { args: ["pointer"], returns: "pointer" },
  // void ggml_gallocr_free(ggml_gallocr_t galloc)
  ggml_gallocr_free: { args: ["pointer"], returns: "void" },
  // bool ggml_gallocr_reserve(ggml_gallocr_t galloc, struct ggml_cgraph * graph)
  ggml_gallocr_reserve: { args: ["pointer", "pointer"], returns: "bool" },
  // bool ggml_gallocr_alloc_graph(ggml_gallocr_t galloc, struct ggml_cgraph * graph)
  ggml_gallocr_alloc_graph: { args: ["pointer", "pointer"], returns: "bool" },
  // size_t ggml_gallocr_get_buffer_size(ggml_gallocr_t galloc, int buffer_id)
  ggml_gallocr_get_buffer_size: { args: ["pointer", "i32"], returns: "i64" },
  // struct ggml_backend_buffer * ggml_backend_alloc_ctx_tensors_from_buft(struct ggml_context *
  //   ctx, ggml_backend_buffer_type_t buft)
  ggml_backend_alloc_ctx_tensors_from_buft: { args: ["pointer", "pointer"], returns: "pointer" },
  // void ggml_backend_free(ggml_backend_t backend)
  ggml_backend_free: { args: ["pointer"], returns: "void" },
  // ggml_backend_buffer_type_t ggml_backend_cpu_buffer_type(void)
  ggml_backend_cpu_buffer_type: { args: [], returns: "pointer" },
  // ggml_backend_buffer_t ggml_backend_buft_alloc_buffer(ggml_backend_buffer_type_t buft, size_t
  //   size)
  ggml_backend_buft_alloc_buffer: { args: ["pointer", "i64"], returns: "pointer" },
  // size_t ggml_backend_buft_get_alloc_size(ggml_backend_buffer_type_t buft, const struct
  //   ggml_tensor * tensor)
  ggml_backend_buft_get_alloc_size: { args: ["pointer", "pointer"], returns: "i64" },
  // size_t ggml_backend_buft_get_alignment(ggml_backend_buffer_type_t buft)
  ggml_backend_buft_get_alignment: { args: ["pointer"], returns: "i64" },
  // void ggml_backend_buffer_free(ggml_backend_buffer_t buffer)
  ggml_backend_buffer_free: { args: ["pointer"], returns: "void" },
  // size_t ggml_backend_buffer_get_size(ggml_backend_buffer_t buffer)
  ggml_backend_buffer_get_size: { args: ["pointer"], returns: "i64" },
  // void ggml_backend_buffer_clear(ggml_backend_buffer_t buffer, uint8_t value)
  ggml_backend_buffer_clear: { args: ["pointer", "i32"], returns: "void" },
  // void ggml_backend_buffer_set_usage(ggml_backend_buffer_t buffer, enum ggml_backend_buffer_usage
  //   usage)
  ggml_backend_buffer_set_usage: { args: ["pointer", "i32"], returns: "void" },
  // void ggml_backend_tensor_set(struct ggml_tensor * tensor, const void * data, size_t offset,
  //   size_t size)
  ggml_backend_tensor_set: { args: ["pointer", "buffer", "i64", "i64"], returns: "void" },
  // void ggml_backend_tensor_get(const struct ggml_tensor * tensor, void * data, size_t offset,
  //   size_t size)
  ggml_backend_tensor_get: { args: ["pointer", "buffer", "i64", "i64"], returns: "void" },
  // void ggml_backend_tensor_memset(struct ggml_tensor * tensor, uint8_t value, size_t offset,
  //   size_t size)
  ggml_backend_tensor_memset: { args: ["pointer", "i32", "i64", "i64"], returns: "void" },
  // ggml_backend_t ggml_backend_cpu_init(void)
  ggml_backend_cpu_init: { args: [], returns: "pointer" },
  // void ggml_backend_cpu_set_n_threads(ggml_backend_t backend_cpu, int n_threads)
  ggml_backend_cpu_set_n_threads: { args: ["pointer", "i32"], returns: "void" },
  // int32_t sluice_abi_version(void)
  sluice_abi_version: { args: [], returns: "i32" },
  // int32_t sluice_last_error(uint8_t *buf, int32_t len)
  sluice_last_error: { args: ["buffer", "i32"], returns: "i32" },
  // int32_t sluice_cpu_variant(uint8_t *buf, int32_t len)
  sluice_cpu_variant: { args: ["buffer", "i32"], returns: "i32" },
  // int32_t sluice_use_cpu_variant(const uint8_t *name)
  sluice_use_cpu_variant: { args: ["buffer"], returns: "i32" },
  // int32_t sluice_cpu_count(void)
  sluice_cpu_count: { args: [], returns: "i32" },
  // void sluice_log_level(int32_t level)
  sluice_log_level: { args: ["i32"], returns: "void" },
  // struct ggml_context * sluice_context_new(double mem_size)
  sluice_context_new: { args: ["f64"], returns: "pointer" },
  // struct sluice_lock * sluice_lock_take(const uint8_t *path)
  sluice_lock_take: { args: ["buffer"], returns: "pointer" },
  // int32_t sluice_lock_release(struct sluice_lock *lock)
  sluice_lock_release: { args: ["pointer"], returns: "i32" },
  // struct sluice_mapping * sluice_mapping_open(const uint8_t *path, double size)
  sluice_mapping_open: { args: ["buffer", "f64"], returns: "pointer" },
  // int32_t sluice_mapping_populate(struct sluice_mapping *mapping, double offset, double size)
  sluice_mapping_populate: { args: ["pointer", "f64", "f64"], returns: "i32" },
  // int32_t sluice_mapping_discard(struct sluice_mapping *mapping, double offset, double size)
  sluice_mapping_discard: { args: ["pointer", "f64", "f64"], returns: "i32" },
  // int32_t sluice_mapping_close(struct sluice_mapping *mapping)
  sluice_mapping_close: { args: ["pointer"], returns: "i32" },
  // struct ggml_backend_buffer * sluice_mapping_buffer(struct sluice_mapping *mapping, double
  //   offset, double size)
  sluice_mapping_buffer: { args: ["pointer", "f64", "f64"], returns: "pointer" },
  // int32_t sluice_mapping_read(struct sluice_mapping *mapping, const double *ranges, int32_t
  //   n_ranges, struct ggml_tensor *tensor)
  sluice_mapping_read: { args: ["pointer", "buffer", "i32", "pointer"], returns: "i32" },
  // int32_t sluice_mapping_pack(struct sluice_mapping *mapping, const double *ranges, int32_t
  //   n_ranges, struct ggml_tensor *weight)
  sluice_mapping_pack: { args: ["pointer", "buffer", "i32", "pointer"], returns: "i32" },
  // int32_t sluice_layout_version(void)
  sluice_layout_version: { args: [], returns: "i32" },
  // int32_t sluice_packs(int32_t type, int32_t n_in, int32_t n_out)
  sluice_packs: { args: ["i32", "i32", "i32"], returns: "i32" },
  // struct ggml_tensor * sluice_quantize(struct ggml_context *context, struct ggml_tensor *values,
  //   int32_t type)
  sluice_quantize: { args: ["pointer", "pointer", "i32"], returns: "pointer" },
  // struct ggml_tensor * sluice_quantize_rms_norm(struct ggml_context *context, struct ggml_tensor
  //   *values, struct ggml_tensor *weight, float eps, int32_t type)
  sluice_quantize_rms_norm: {
    args: ["pointer", "pointer", "pointer", "f32", "i32"],
    returns: "pointer",
  },
  // struct ggml_tensor * sluice_quantize_swiglu(struct ggml_context *context, struct ggml_tensor
  //   *values, int32_t type)
  sluice_quantize_swiglu: { args: ["pointer", "pointer", "i32"], returns: "pointer" },
  // struct ggml_tensor * sluice_multiply(struct ggml_context *context, struct ggml_tensor *weight,
  //   struct ggml_tensor *tiles, struct ggml_tensor *added, struct ggml_tensor *next)
  sluice_multiply: {
    args: ["pointer", "pointer", "pointer", "pointer", "pointer"],
    returns: "pointer",
  },
  // struct ggml_tensor * sluice_get_rows(struct ggml_context *context, struct ggml_tensor *weight,
  //   struct ggml_tensor *ids)
  sluice_get_rows: { args: ["pointer", "pointer", "pointer"], returns: "pointer" },
  // struct ggml_tensor * sluice_rope_table(struct ggml_context *context, struct ggml_tensor *pos,
  //   struct ggml_tensor *freq_factors, int32_t n_dims, int32_t neox, int32_t n_ctx_orig, float
  //   freq_base, float freq_scale, float ext_factor, float attn_factor, float beta_fast, float
  //   beta_slow)
  sluice_rope_table: {
    args: [
      "pointer",
      "pointer",
      "pointer",
      "i32",
      "i32",
      "i32",
      "f32",
      "f32",
      "f32",
      "f32",
      "f32",
      "f32",
    ],
    returns: "pointer",
  },
  // struct ggml_tensor * sluice_rope_cache(struct ggml_context *context, struct ggml_tensor *q,
  //   struct ggml_tensor *k, struct ggml_tensor *v, struct ggml_tensor *table, struct ggml_tensor
  //   *k_cells, struct ggml_tensor *v_cells, struct ggml_tensor *rows)
  sluice_rope_cache: {
    args: ["pointer", "pointer", "pointer", "pointer", "pointer", "pointer", "pointer", "pointer"],
    returns: "pointer",
  },
  // struct ggml_tensor * sluice_experts(struct ggml_context *context, struct ggml_tensor *values,
  //   struct ggml_tensor *router, struct ggml_tensor *gate_up, struct ggml_tensor *down, int32_t
  //   n_used, struct ggml_tensor *added)
  sluice_experts: {
    args: ["pointer", "pointer", "pointer", "pointer", "pointer", "i32", "pointer"],
    returns: "pointer",
  },
  // int32_t sluice_attends(int32_t type, int32_t n_embd_head)
  sluice_attends: { args: ["i32", "i32"], returns: "i32" },
  // struct ggml_tensor * sluice_attention(struct ggml_context *context, struct ggml_tensor *q,
  //   struct ggml_tensor *k, struct ggml_tensor *v, struct ggml_tensor *blocks, struct ggml_tensor
  //   *n_seen, float scale)
  sluice_attention: {
    args: ["pointer", "pointer", "pointer", "pointer", "pointer", "pointer", "f32"],
    returns: "pointer",
  },
  // int32_t sluice_tensor_place(struct ggml_backend_buffer *buffer, struct ggml_tensor *tensor,
  //   double offset)
  sluice_tensor_place: { args: ["pointer", "pointer", "f64"], returns: "i32" },
  // int32_t sluice_buffer_use_large_pages(struct ggml_backend_buffer *buffer)
  sluice_buffer_use_large_pages: { args: ["pointer"], returns: "i32" },
  // struct ggml_backend_buffer_type * sluice_extra_buffer_type(int32_t index)
  sluice_extra_buffer_type: { args: ["i32"], returns: "pointer" },
  // int32_t sluice_buffer_type_accepts(struct ggml_backend_buffer_type *type, struct ggml_tensor
  //   *weight)
  sluice_buffer_type_accepts: { args: ["pointer", "pointer"], returns: "i32" },
  // int32_t sluice_graph_compute(struct ggml_backend *backend, struct ggml_cgraph *graph, const
  //   int32_t *cancelled, const int32_t *members, int32_t n_members)
  sluice_graph_compute: { args: ["pointer", "pointer", "buffer", "buffer", "i32"], returns: "i32" },
  // int32_t sluice_sample(struct ggml_tensor *logits, int32_t row, const double *params, const
  //   int32_t *history, int32_t n_history)
  sluice_sample: { args: ["pointer", "i32", "buffer", "buffer", "i32"], returns: "i32" },
  // int32_t sluice_sample_candidates(const float *logits, int32_t n_vocab, const double *params,
  //   const int32_t *history, int32_t n_history, int32_t *ids, float *probabilities, int32_t max)
  sluice_sample_candidates: {
    args: ["buffer", "i32", "buffer", "buffer", "i32", "buffer", "buffer", "i32"],
    returns: "i32",
  },
  // int32_t sluice_argmax(struct ggml_tensor *logits, int32_t row)
  sluice_argmax: { args: ["pointer", "i32"], returns: "i32" },
  // int32_t sluice_pool_threads(void)
  sluice_pool_threads: { args: [], returns: "i32" },
  // int32_t sluice_pool_shutdown(void)
  sluice_pool_shutdown: { args: [], returns: "i32" },
} as const satisfies SymbolTable;
