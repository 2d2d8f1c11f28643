// How fast a format multiplies on this CPU: rows times a panel of weights, both in the cache.

#pragma once

#include "formats.h"
#include <ctime>

namespace {

// CPU seconds of some products, at the best of several tries.
template <class F, class Panel> double product_seconds() {
    using T = typename F::T;
    constexpr int64_t DEPTH = 576, PRODUCTS = 20, TRIES = 8;
    typename F::ThreadState state;
    T* left = (T*)alloc_floats(ROWS * DEPTH);
    float *panel = alloc_floats(PANEL * DEPTH), *c = alloc_floats(ROWS * PANEL);
    memset(left, 0, sizeof(T) * ROWS * DEPTH), memset(panel, 0, 4 * PANEL * DEPTH);
    double best = 1;
    for (int64_t attempt = 0; attempt < TRIES; attempt++) {
        timespec started, ended;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &started);
        for (int64_t product = 0; product < PRODUCTS; product++) {
            F::template multiply<PANEL>(Term<T, Panel>{left, DEPTH, DEPTH, Panel((const void*)panel)}, nullptr, 0, ROWS, c);
            asm volatile("" : : "r"(c) : "memory");  // each of them counts
        }
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ended);
        best = std::min(best, ended.tv_sec - started.tv_sec + 1e-9 * (ended.tv_nsec - started.tv_nsec));
    }
    free(left), free(panel), free(c);
    return best;
}

}  // namespace
