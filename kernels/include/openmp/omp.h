/* All of OpenMP's header that ggml-cpu.c uses. kernels/cpu/openmp.zig defines the functions. */
int omp_get_num_threads(void);
int omp_get_thread_num(void);
