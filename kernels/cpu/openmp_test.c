/* Parallel regions as clang compiles them: each function returns how many things went wrong. */
#include <omp.h>
#include <stdatomic.h>

/* A region that captures n variables, for the sizes that clang can ask for. */
int captures_none(int n_threads) {
    static _Atomic int visits;
    visits = 0;
    #pragma omp parallel num_threads(n_threads)
    visits++;
    return visits != n_threads;
}

int captures_eight(int n_threads) {
    int a = 1, b = 2, c = 4, d = 8, e = 16, f = 32, g = 64;
    _Atomic int sum = 0;
    #pragma omp parallel num_threads(n_threads)
    sum += a + b + c + d + e + f + g;
    return sum != 127 * n_threads;
}

/* What ggml's graph does: one thread tells the team its size, then all meet between nodes. */
int single_and_barrier(int n_threads, int n_phases) {
    int team = 0, total = 0;
    int written[4] = { 0 };
    _Atomic int wrong = 0;
    #pragma omp parallel num_threads(n_threads)
    {
        #pragma omp single
        {
            team = omp_get_num_threads();
            total++;
        }
        const int own = omp_get_thread_num();
        if (team != n_threads || total != 1 || own < 0 || own >= team) wrong++;
        for (int phase = 1; phase <= n_phases; phase++) {
            written[own] = phase;
            #pragma omp barrier
            for (int other = 0; other < team; other++) wrong += written[other] != phase;
            #pragma omp barrier
        }
    }
    return wrong;
}

/* A region without num_threads, and one inside another, run on one thread. */
int serial_regions(void) {
    _Atomic int wrong = 0, visits = 0;
    #pragma omp parallel
    wrong += omp_get_num_threads() != 1;
    #pragma omp parallel num_threads(3)
    {
        #pragma omp parallel num_threads(2)
        {
            wrong += omp_get_num_threads() != 1 || omp_get_thread_num() != 0;
            visits++;
        }
        wrong += omp_get_num_threads() != 3;
    }
    return wrong + (visits != 3);
}
