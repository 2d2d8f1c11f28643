// The two dtypes of `forward.cpp`, and the memory layout of products, panels and KV blocks in each.
//
// Float32: a panel of N columns is [depth, N]; runs on any CPU. Bfloat16: tiles of 32 rows and 16 columns one after the
// other, in pairs of rows, [16, 16, 2] each; runs on AMX. Batch invariance: the product of a row has the same bits
// whatever the number of rows, since the order of its sum never depends on it.

#pragma once

#include "simd.h"

#if defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__linux__)
#define HAS_AMX
#include "amx.h"
#endif

namespace {

// Rows and columns of a product that are computed together; tokens of a KV block; columns of a half panel, as of LoRA's A.
constexpr int64_t ROWS = 32, PANEL = 32, BLOCK = 64, HALF_PANEL = 16;

inline int64_t round_up(int64_t count, int64_t multiple = PANEL) { return (count + multiple - 1) / multiple * multiple; }

template <class T> struct Term {  // of a sum of products: the left rows [32, depth] times a panel
    const T* left;
    int64_t stride, depth;
    const T* panel;
};

struct Float32 {
    using T = float;
    struct TileConfig { TileConfig() {} };

    static int64_t panel_index(int64_t k, int64_t n) { return k * PANEL + n; }
    // Into a block of keys [P, 64], and of values [64, P]; P: the padded head width.
    static void store_key(T* block, int64_t position, const T* key, int64_t width) {
        for (int64_t i = 0; i < width; i++) block[i * BLOCK + position] = key[i];
    }
    static void store_value(T* block, int64_t position, const T* value, int64_t width) {
        memcpy(block + position * width, value, sizeof(T) * width);
    }

    static void store(T* to, V x) { *(UnalignedV*)to = x; }
    static float to_float(T x) { return x; }
    static V vexp(V x) { return ::vexp(x); }
    static float reduce_sum(V x) { return ::reduce_sum(x); }
    static float reduce_max(V x) { return ::reduce_max(x); }

    // c [rows, N] = the sum of the terms; computes whole groups of 4 rows.
    template <int64_t N> static void multiply(const Term<T>* terms, int count, int64_t rows, float* c) {
        for (int64_t row = 0; row < rows; row += 4)
            for (int64_t n = 0; n < N; n += W) {
                V sums[4] = {};
                for (int index = 0; index < count; index++) {
                    const Term<T>& term = terms[index];
                    const T* left = term.left + row * term.stride;
                    for (int64_t k = 0; k < term.depth; k++) {
                        V right = *(const UnalignedV*)(term.panel + k * N + n);
                        for (int i = 0; i < 4; i++) sums[i] += left[i * term.stride + k] * right;
                    }
                }
                for (int i = 0; i < 4; i++) *(UnalignedV*)(c + (row + i) * N + n) = sums[i];
            }
    }
    static void score(const T* queries, int64_t width, const T* keys, int64_t rows, float* scores) {
        Term<T> term = {queries, width, width, keys};
        multiply<BLOCK>(&term, 1, rows, scores);
    }
    static void accumulate_values(const T* probabilities, const T* values, int64_t width, int64_t rows, float* out) {
        for (int64_t row = 0; row < rows; row++)
            for (int64_t i = 0; i < width; i += W) {
                V sum = *(UnalignedV*)(out + row * width + i);
                for (int64_t k = 0; k < BLOCK; k++)
                    sum += probabilities[row * BLOCK + k] * *(const UnalignedV*)(values + k * width + i);
                *(UnalignedV*)(out + row * width + i) = sum;
            }
    }
};

#ifdef HAS_AMX
struct Bfloat16 {
    using T = uint16_t;
    using TileConfig = amx::TileConfig;

    static int64_t panel_index(int64_t k, int64_t n) {
        return k / 32 * 1024 + n / 16 * 512 + k % 32 / 2 * 32 + n % 16 * 2 + k % 2;
    }
    static void store_key(T* block, int64_t position, const T* key, int64_t width) {
        for (int64_t i = 0; i < width; i += 2) memcpy(block + i * BLOCK + 2 * position, key + i, 2 * sizeof(T));
    }
    static void store_value(T* block, int64_t position, const T* value, int64_t width) {
        T* to = block + position / 2 * 2 * width + position % 2;
        for (int64_t i = 0; i < width; i++) to[2 * i] = value[i];
    }

    static void store(T* to, V x) { *(UnalignedS*)to = amx::to_bf16(x); }
    static float to_float(T x) { return ::to_float((const bf16*)&x); }
    static V vexp(V x) { return amx::vexp(x); }
    static float reduce_sum(V x) { return _mm512_reduce_add_ps((__m512)x); }
    static float reduce_max(V x) { return _mm512_reduce_max_ps((__m512)x); }

    // Adds a term to tiles 0 and 1, and for more than 16 rows to 2 and 3; the sum of a row is the same in both cases.
    template <int64_t N, bool OVER_16> static inline void add_term(const Term<T>& term) {
        const T *left = term.left, *lower = left + 16 * term.stride, *panel = term.panel;
        for (int64_t k = 0; k < term.depth; k += 32, panel += 32 * N) {
            _tile_loadd(4, left + k, 2 * term.stride);
            if (OVER_16) _tile_loadd(5, lower + k, 2 * term.stride);
            if (OVER_16) _tile_stream_loadd(6, panel, 64); else _tile_loadd(6, panel, 64);
            _tile_dpbf16ps(0, 4, 6);
            if (OVER_16) _tile_dpbf16ps(2, 5, 6);
            if (N == 16) continue;
            if (OVER_16) _tile_stream_loadd(7, panel + 512, 64); else _tile_loadd(7, panel + 512, 64);
            _tile_dpbf16ps(1, 4, 7);
            if (OVER_16) _tile_dpbf16ps(3, 5, 7);
        }
    }
    template <int64_t N> static void multiply(const Term<T>* terms, int count, int64_t rows, float* c) {
        const bool over_16 = rows > 16;
        _tile_zero(0);
        _tile_zero(1);
        if (over_16) _tile_zero(2);
        if (over_16) _tile_zero(3);
        for (int index = 0; index < count; index++)
            if (over_16) add_term<N, true>(terms[index]); else add_term<N, false>(terms[index]);
        _tile_stored(0, c, 4 * N);
        if (N > 16) _tile_stored(1, c + 16, 4 * N);
        if (over_16) _tile_stored(2, c + 16 * N, 4 * N);
        if (over_16 && N > 16) _tile_stored(3, c + 16 * N + 16, 4 * N);
    }
    // c [32, columns] (+)= a [32, depth] b, for 16 rows or 32.
    template <bool ADD>
    static void multiply_block(float* c, int64_t columns, const T* a, const T* b, int64_t depth, int64_t rows) {
        if (rows > 16) return amx::matmul<ADD>(c, columns, a, depth, b, columns, 32, columns, depth);
        for (int64_t n = 0; n < columns; n += 32) {
            if (ADD) _tile_loadd(0, c + n, 4 * columns); else _tile_zero(0);
            if (ADD) _tile_loadd(1, c + n + 16, 4 * columns); else _tile_zero(1);
            for (int64_t k = 0; k < depth; k += 32) {
                _tile_loadd(4, a + k, 2 * depth);
                _tile_loadd(6, b + k * columns + 2 * n, 4 * columns);
                _tile_dpbf16ps(0, 4, 6);
                _tile_loadd(7, b + k * columns + 2 * n + 32, 4 * columns);
                _tile_dpbf16ps(1, 4, 7);
            }
            _tile_stored(0, c + n, 4 * columns);
            _tile_stored(1, c + n + 16, 4 * columns);
        }
    }
    static void score(const T* queries, int64_t width, const T* keys, int64_t rows, float* scores) {
        multiply_block<false>(scores, BLOCK, queries, keys, width, rows);
    }
    static void accumulate_values(const T* probabilities, const T* values, int64_t width, int64_t rows, float* out) {
        multiply_block<true>(out, width, probabilities, values, BLOCK, rows);
    }
};
#endif

}  // namespace
