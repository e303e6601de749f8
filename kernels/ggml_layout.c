/* Fails to compile when a record of ggml.zig no longer is what ggml's headers say. */
#include "ggml.h"
#include "ggml-cpu.h"
#include "ggml-backend.h"

#include <stddef.h>

#define AT(member, offset) \
    _Static_assert(offsetof(struct ggml_tensor, member) == (offset), "ggml.zig: Tensor." #member)

AT(type, 0);
AT(buffer, 8);
AT(ne, 16);
AT(nb, 48);
AT(op, 80);
AT(op_params, 84);
AT(flags, 148);
AT(src, 152);
AT(view_src, 232);
AT(view_offs, 240);
AT(data, 248);
AT(name, 256);
AT(extra, 320);
_Static_assert(sizeof(struct ggml_tensor) == 336, "ggml.zig: Tensor");
_Static_assert(sizeof(struct ggml_init_params) == 24, "ggml.zig: InitParams");
_Static_assert(sizeof(enum ggml_type) == 4 && GGML_TYPE_F32 == 0 && GGML_TYPE_F16 == 1 && GGML_TYPE_I8 == 24 && GGML_TYPE_I32 == 26, "ggml.zig: Type");
_Static_assert(GGML_TYPE_Q4_0 == 2 && GGML_TYPE_Q4_1 == 3 && GGML_TYPE_Q5_0 == 6 && GGML_TYPE_Q5_1 == 7 && GGML_TYPE_Q8_0 == 8, "format.zig: Format");
_Static_assert(GGML_TYPE_Q2_K == 10 && GGML_TYPE_Q3_K == 11 && GGML_TYPE_Q4_K == 12 && GGML_TYPE_Q5_K == 13 && GGML_TYPE_Q6_K == 14, "format.zig: Format");
_Static_assert(GGML_TYPE_IQ4_NL == 20 && GGML_TYPE_IQ4_XS == 23 && GGML_TYPE_TQ1_0 == 34 && GGML_TYPE_TQ2_0 == 35 && GGML_TYPE_MXFP4 == 39, "format.zig: Format");
_Static_assert(GGML_N_TASKS_MAX == -1, "ggml.zig: n_tasks_max");
_Static_assert(GGML_STATUS_ALLOC_FAILED == -2 && GGML_STATUS_ABORTED == 1, "ggml.zig: Status");
_Static_assert(GGML_LOG_LEVEL_DEBUG == 1 && GGML_LOG_LEVEL_CONT == 5, "ggml.zig: LogLevel");

/* Signatures: a declaration that disagrees with the header is an error here. */
typedef ggml_backend_buffer_type_t * extra_buffer_types(ggml_backend_dev_t);
_Static_assert(_Generic((ggml_backend_dev_get_extra_bufts_t)0, extra_buffer_types *: 1, default: 0),
    "ggml.zig: ExtraBufferTypes");
_Static_assert(_Generic(ggml_backend_tensor_set,
    void (*)(struct ggml_tensor *, const void *, size_t, size_t): 1, default: 0),
    "ggml.zig: ggml_backend_tensor_set");
_Static_assert(_Generic(ggml_backend_tensor_alloc,
    enum ggml_status (*)(ggml_backend_buffer_t, struct ggml_tensor *, void *): 1, default: 0),
    "ggml.zig: ggml_backend_tensor_alloc");
_Static_assert(_Generic(ggml_backend_cpu_set_abort_callback,
    void (*)(ggml_backend_t, ggml_abort_callback, void *): 1, default: 0),
    "ggml.zig: ggml_backend_cpu_set_abort_callback");
