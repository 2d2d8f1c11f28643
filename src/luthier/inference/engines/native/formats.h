// What the kernels of all tiers share: sizes, the terms of a product, and the layout of weights in panels of 32 outputs.
//
// A format, one struct in a header for each tier, has the dtype `T` of activations, KV blocks and LoRA factors, the
// layout of these, and the products: `multiply`, `score` and `accumulate_values`. `forward.cpp` knows no tier.
// `GROUP`: rows that a product computes together in any case.
//   kernels_float32.h  Float32: any CPU; AVX-512, AVX2, SSE2 or NEON, whichever it is compiled for
//   kernels_avx512.h   Avx512Bf16: AVX-512 with bfloat16
//   kernels_amx.h      AmxBf16: AMX
//   kernels_int16.h    weights in 8 bits from AVX2 on, with activations in either dtype, but not on AMX in bfloat16
// Batch invariance: the product of a row has the same bits whatever the number of rows, since the order of its sum
// never depends on it.

#pragma once

#include "simd.h"
#include <type_traits>

#define INLINED inline __attribute__((always_inline))  // so that sums stay in registers

namespace {

// Rows and columns of a product that are computed together; tokens of a KV block; columns of a half panel, as of LoRA's A.
constexpr int64_t ROWS = 32, PANEL = 32, BLOCK = 64, HALF_PANEL = 16;
constexpr int64_t STEP = 32;  // inputs of all products come in multiples of it
// Inputs of a product that all rows are multiplied with before the next, so that their weights stay in the L1 cache.
constexpr int64_t CACHED_DEPTH = 128;

inline int64_t round_up(int64_t count, int64_t multiple = PANEL) { return (count + multiple - 1) / multiple * multiple; }

// Of a sum of products: the left rows [32, depth] times `right`, in a layout of the format.
template <class T, class Right> struct Term {
    const T* left;
    int64_t stride, depth;
    Right right;
};

// A term of the rows `from` to `to` alone; in the others its left rows are zero.
template <class T, class Right> struct TermOfRows : Term<T, Right> {
    int64_t from, to;
};

// c [rows, N] += terms of some of the rows; F: a format whose GROUP is 1.
template <class F, int64_t N, class T, class Factors>
void add_terms(const TermOfRows<T, Factors>* terms, int count, float* c) {
    for (const auto* term = terms; term < terms + count; term++) {
        const Term<T, Factors> own = {term->left + term->from * term->stride, term->stride, term->depth, term->right};
        F::template sum_term<true>(own, term->to - term->from, c + term->from * N, N);
    }
}

// Calls f(R, first row) for groups of R = MOST, MOST / 2, ... 1 rows, R being a constant.
template <int MOST, class Function> inline void for_row_groups(int64_t row, int64_t rows, Function f) {
    for (; rows - row >= MOST; row += MOST) f(std::integral_constant<int, MOST>{}, row);
    if constexpr (MOST > 1) for_row_groups<MOST / 2>(row, rows, f);
}

// A panel of weights in 8 bits: for every 32 inputs the scales of its 32 outputs in bfloat16, then [32, 32] integers in the
// order of the format's own panels.
struct QuantizedPanel {
    using Element = bf16;
    static constexpr int64_t BLOCK_BYTES = 2 * PANEL + STEP * PANEL;
    const uint8_t* data;

    static int64_t bytes(int64_t depth) { return depth / STEP * BLOCK_BYTES; }
    const bf16* scales(int64_t k) const { return (const bf16*)(data + k / STEP * BLOCK_BYTES); }
    const int8_t* integers(int64_t k) const { return (const int8_t*)(scales(k) + PANEL); }
};

// Fetches weights that will be read after those at `from`: panels lie in the order in which products read them. Harmless
// beyond the last.
inline void fetch_ahead(const void* from) { __builtin_prefetch((const char*)from + 4096); }

// Of a bf16 panel of `columns` outputs: for every 32 inputs tiles of 16 outputs, inputs in pairs, [16, 16, 2].
inline int64_t tile_index(int64_t k, int64_t n, int64_t columns) {
    return k / 32 * 32 * columns + n / 16 * 512 + k % 32 / 2 * 32 + n % 16 * 2 + k % 2;
}

}  // namespace
