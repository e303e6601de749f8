/*
 * The C ABI of the sluice library beside ggml's own: the source of truth for symbols.generated.ts.
 *
 * Rules: handles are opaque, sizes cross as int32_t or double, a failing call returns a negative
 * status (or NULL) and leaves a sentence for sluice_last_error() on the calling thread, text and
 * records come back in buffers that the caller owns, no struct by value, no pointer is kept after
 * a call unless the comment says so.
 */
#ifndef SLUICE_H
#define SLUICE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SLUICE_ABI_VERSION 1

#define SLUICE_OK 0
#define SLUICE_ABORTED 1
#define SLUICE_FAILED -1

struct ggml_context;
struct ggml_tensor;
struct ggml_cgraph;
struct ggml_backend;
struct ggml_backend_buffer;
struct ggml_backend_buffer_type;
struct sluice_lock;
struct sluice_mapping;

/*
 * SLUICE_ABI_VERSION of the library. Call it before anything else: it quiets ggml's log and keeps
 * the library in the process for good, so that closing it under live threads does no harm.
 */
int32_t sluice_abi_version(void);

/*
 * Copies the text of this thread's last failure (UTF-8, no NUL), as much as fits, and returns its
 * whole length in bytes, 0 if there was none.
 */
int32_t sluice_last_error(uint8_t *buf, int32_t len);

/*
 * Writes what computes on this processor, such as "x86_64_v4+avx512_vnni" (UTF-8, no NUL), as much
 * as fits, and returns its whole length in bytes. Libraries of one version that give the same text
 * compute with the same kernels.
 */
int32_t sluice_cpu_variant(uint8_t *buf, int32_t len);
/*
 * Makes every thread use the kernels of this level (UTF-8 with a NUL) from now on; -1 where the processor cannot run
 * them. Not while something computes.
 */
int32_t sluice_use_cpu_variant(const uint8_t *name);

/* Processors that this process may run on. */
int32_t sluice_cpu_count(void);

/*
 * Lets ggml's messages of this level and above reach stderr: 1 debug, 2 info, 3 warn, 4 error,
 * 5 none. Default 4.
 */
void sluice_log_level(int32_t level);

/* ggml_init() with no_alloc; mem_size in bytes. */
struct ggml_context *sluice_context_new(double mem_size);

/*
 * Locks a file against other processes and other callers, and makes it where it is missing; path is
 * NUL-terminated. NULL, at once, where somebody holds it. The lock ends with the process.
 */
struct sluice_lock *sluice_lock_take(const uint8_t *path);
/* Lets the next one in. */
int32_t sluice_lock_release(struct sluice_lock *lock);

/*
 * Maps a file read-only and shared. path is NUL-terminated; the call fails unless the file has
 * exactly `size` bytes. A file that shrinks afterwards ends the process when its end is read.
 */
struct sluice_mapping *sluice_mapping_open(const uint8_t *path, double size);
/* Reads [offset, offset + size) into the page tables ahead of use. */
int32_t sluice_mapping_populate(struct sluice_mapping *mapping, double offset, double size);
/*
 * Drops the whole pages in [offset, offset + size) from this process; a later access reads them
 * again.
 */
int32_t sluice_mapping_discard(struct sluice_mapping *mapping, double offset, double size);
/* Unmaps the file; buffers over it must be gone. */
int32_t sluice_mapping_close(struct sluice_mapping *mapping);
/*
 * A CPU buffer over [offset, offset + size) of the mapping, which must outlive it; offset is a
 * multiple of 32. Its tensors cannot be written. Free with ggml_backend_buffer_free().
 */
struct ggml_backend_buffer *sluice_mapping_buffer(
    struct sluice_mapping *mapping, double offset, double size);
/*
 * Fills tensor through its buffer (which repacks where it does so) with n_ranges pieces of the
 * mapping, one after the other: ranges holds n_ranges pairs of byte offset and byte size. Their
 * sum must be the size of the tensor. Staged in a temporary copy only where the buffer cannot take
 * pieces.
 */
int32_t sluice_mapping_read(
    struct sluice_mapping *mapping, const double *ranges, int32_t n_ranges,
    struct ggml_tensor *tensor);

/*
 * The same for a weight that sluice_multiply() reads: its rows go into panels, on all threads. Each
 * piece must hold whole panels.
 */
int32_t sluice_mapping_pack(
    struct sluice_mapping *mapping, const double *ranges, int32_t n_ranges,
    struct ggml_tensor *weight);

/* Changes whenever sluice_mapping_pack() puts the rows of any type elsewhere than before. */
int32_t sluice_layout_version(void);
/* 1 if a weight [n_in, n_out] of this ggml_type can lie in panels on this processor, else 0. */
int32_t sluice_packs(int32_t type, int32_t n_in, int32_t n_out);
/*
 * A graph node that puts f32 values [n_in, n_tokens] (n_in a multiple of 32) into tiles for
 * sluice_multiply(). type is GGML_TYPE_I8 for quantized weights: the values are quantized too, i8
 * [7 / 4 n_in, n_tokens]. It is GGML_TYPE_I32 for weights of F32, F16 and BF16: the values stay
 * floats, i32 [n_in, n_tokens]. NULL on failure.
 */
struct ggml_tensor *sluice_quantize(
    struct ggml_context *context, struct ggml_tensor *values, int32_t type);
/*
 * The same of values divided by the root of their row's mean square plus eps, times weight, f32
 * [n_in].
 */
struct ggml_tensor *sluice_quantize_rms_norm(
    struct ggml_context *context, struct ggml_tensor *values, struct ggml_tensor *weight,
    float eps, int32_t type);
/*
 * The same of SwiGLU: values are [2 n_in, n_tokens], and the first half of a row goes through
 * x / (1 + e^-x) and is multiplied with the second.
 */
struct ggml_tensor *sluice_quantize_swiglu(
    struct ggml_context *context, struct ggml_tensor *values, int32_t type);
/*
 * A graph node: the product of a weight [n_in, n_out] in panels with the tiles of n_tokens; f32
 * [n_out, n_tokens], NULL on failure, and for tiles of the other type. It is added to added, f32 of
 * that shape, unless that is NULL. A row has the same bits for any n_tokens and any number of
 * threads. next is the weight in panels that will be multiplied next, or NULL: its begin is asked
 * of memory when this product ends.
 */
struct ggml_tensor *sluice_multiply(
    struct ggml_context *context, struct ggml_tensor *weight, struct ggml_tensor *tiles,
    struct ggml_tensor *added, struct ggml_tensor *next);
/*
 * A graph node: rows of a weight [n_in, n_out] in panels; f32 [n_in, n_tokens], NULL on failure.
 * ids is i32 [n_tokens], each from 0 to n_out - 1.
 */
struct ggml_tensor *sluice_get_rows(
    struct ggml_context *context, struct ggml_tensor *weight, struct ggml_tensor *ids);

/*
 * A graph node with the cosines and sines of rotary embeddings as ggml_rope_ext() means them, neox
 * being 1 where value i turns with value i + n_dims / 2, else 0: f32 [2 n_dims, n_tokens], NULL on
 * failure. pos is i32 [n_tokens]; freq_factors is f32 [n_dims / 2] or NULL.
 */
struct ggml_tensor *sluice_rope_table(
    struct ggml_context *context, struct ggml_tensor *pos, struct ggml_tensor *freq_factors,
    int32_t n_dims, int32_t neox, int32_t n_ctx_orig, float freq_base, float freq_scale,
    float ext_factor, float attn_factor, float beta_fast, float beta_slow);
/*
 * A graph node that turns q by such a table, f32 [n_embd_head * n_head, n_tokens], NULL on failure,
 * and writes k, turned, and v to the cache: k_cells and v_cells are f16, f32 or q8_0
 * [n_embd_head * n_head_kv, n_cells], rows is i64 [n_tokens], the cell of each token. q, k and v
 * are f32 [n_embd_head, heads, n_tokens]; their tokens may lie apart.
 */
struct ggml_tensor *sluice_rope_cache(
    struct ggml_context *context, struct ggml_tensor *q, struct ggml_tensor *k,
    struct ggml_tensor *v, struct ggml_tensor *table, struct ggml_tensor *k_cells,
    struct ggml_tensor *v_cells, struct ggml_tensor *rows);
/*
 * Graph nodes of a mixture of experts. values are f32 [n_embd, n_tokens], router is f32 [n_embd,
 * n_expert], gate_up [n_embd, 2 n_ff, n_expert] and down [n_ff, n_embd, n_expert] lie in panels. A
 * token goes through the n_used experts whose products with the router are largest, the first of
 * equal ones: its gate_up, SwiGLU, its down. What they give is added with the soft max of those
 * products, and to added, f32 of the values' shape, unless that is NULL. f32 [n_embd, n_tokens],
 * NULL on failure. A token has the same bits in any batch and for any number of threads.
 */
struct ggml_tensor *sluice_experts(
    struct ggml_context *context, struct ggml_tensor *values, struct ggml_tensor *router,
    struct ggml_tensor *gate_up, struct ggml_tensor *down, int32_t n_used,
    struct ggml_tensor *added);

/* 1 if sluice_attention() takes heads of this size in cells of this ggml_type, else 0. */
int32_t sluice_attends(int32_t type, int32_t n_embd_head);
/*
 * Graph nodes that attend over a cache. q is f32 [n_embd_head, n_head, n_tokens], as many tokens of
 * each sequence, one sequence behind another; k and v are f16, f32 or q8_0 [n_embd_head *
 * n_head_kv, cells], in blocks of 64 cells; blocks is i32 [n_blocks, n_seqs], the blocks that hold
 * each sequence, in order; n_seen is i32 [n_tokens], how many cells of its sequence a token sees,
 * from the first on, ascending within a sequence. f32 [n_embd_head * n_head, n_tokens], NULL on
 * failure. A token has the same bits in any batch, for any number of threads, and wherever its
 * blocks lie.
 */
struct ggml_tensor *sluice_attention(
    struct ggml_context *context, struct ggml_tensor *q, struct ggml_tensor *k,
    struct ggml_tensor *v, struct ggml_tensor *blocks, struct ggml_tensor *n_seen, float scale);

/*
 * Binds a tensor without data to byte `offset` of the buffer. Fails when it does not fit or is
 * misaligned.
 */
int32_t sluice_tensor_place(
    struct ggml_backend_buffer *buffer, struct ggml_tensor *tensor, double offset);

/*
 * Asks for large pages under a buffer in host memory, before anything is written to it. A hint:
 * where the system has none, nothing changes.
 */
int32_t sluice_buffer_use_large_pages(struct ggml_backend_buffer *buffer);

/* The CPU's own weight layouts in order of preference (AMX, repack); NULL past the last. */
struct ggml_backend_buffer_type *sluice_extra_buffer_type(int32_t index);
/*
 * 1 if mul_mat(weight, f32 activations) runs on a weight of this shape and type in a buffer of
 * that type, else 0. The weight must not be placed yet.
 */
int32_t sluice_buffer_type_accepts(
    struct ggml_backend_buffer_type *type, struct ggml_tensor *weight);

/*
 * ggml_backend_graph_compute() that stops early, between nodes, once cancelled[members[i]] is
 * non-zero for every i < n_members (never for n_members 0). Other threads may write `cancelled`
 * during the call; both are read during the call only. A backend computes one graph at a time.
 * Returns SLUICE_OK, SLUICE_ABORTED or SLUICE_FAILED.
 */
int32_t sluice_graph_compute(
    struct ggml_backend *backend, struct ggml_cgraph *graph, const int32_t *cancelled,
    const int32_t *members, int32_t n_members);

/*
 * Draws a token from row `row` of logits (f32 [n_vocab, n_rows], contiguous, in host memory). The
 * row is not changed. params is a record of 8 numbers: temperature, top_k, top_p, min_p,
 * repeat_penalty, seed (u32), position, reserved 0; the steps run in the order repeat_penalty,
 * top_k, top_p, min_p, temperature. Off are: temperature 0 or less (then the most likely token),
 * top_k 0 or less, top_p 1 or more, min_p 0 or less, repeat_penalty 1. history holds the ids that
 * the penalty looks at, each counted once. The draw depends on (seed, position) and the row alone.
 * A logit of -inf or NaN is never drawn; a row of nothing else fails.
 * Returns the id, or a negative status.
 */
int32_t sluice_sample(
    struct ggml_tensor *logits, int32_t row, const double *params, const int32_t *history,
    int32_t n_history);
/*
 * What the chain of sluice_sample() leaves of `n_vocab` logits: ids and probabilities, most likely
 * first and equal ones by id, at most `max` of each. Returns how many candidates are left. For
 * tests and for logprobs.
 */
int32_t sluice_sample_candidates(
    const float *logits, int32_t n_vocab, const double *params, const int32_t *history,
    int32_t n_history, int32_t *ids, float *probabilities, int32_t max);
/*
 * The index of the largest value of row `row`; the lowest index of equals. NaN is never chosen; a
 * negative status if there is nothing else.
 */
int32_t sluice_argmax(struct ggml_tensor *logits, int32_t row);

/* Worker threads that the pool holds now. */
int32_t sluice_pool_threads(void);
/*
 * Ends all idle workers; returns how many teams were in use and are left alone. The pool starts
 * again when needed.
 */
int32_t sluice_pool_shutdown(void);

#ifdef __cplusplus
}
#endif

#endif
