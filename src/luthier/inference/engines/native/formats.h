// The two number formats of `forward.cpp`, and how products, panels and the blocks of the cache are laid out in each.
//
// Floats: a panel of N columns is [depth, N]; on any processor. Halves: tiles of 32 rows and 16 columns one after the
// other, by pairs of rows, [16, 16, 2] each; on the matrix unit. What a row is multiplied to is the same bits whatever
// the number of rows.

#pragma once

#include "simd.h"

#if defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__linux__)
#define UNIT
#include "amx.h"
#endif

namespace {

constexpr int64_t ROWS_AT_ONCE = 32, COLUMNS = 32, BLOCK = 64;  // of a product; keys of a block of the cache
constexpr int64_t PART = 16;                                    // columns of an adapter's first factor at once

inline int64_t up(int64_t count, int64_t multiple = COLUMNS) { return (count + multiple - 1) / multiple * multiple; }

template <class T> struct Term {  // of a sum of products: rows on the left, [32, depth], and a panel
    const T* left;
    int64_t stride, depth;
    const T* panel;
};

struct Floats {
    using T = float;
    struct Use { Use() {} };

    static int64_t at(int64_t k, int64_t n) { return k * COLUMNS + n; }  // in a panel of 32 columns
    // Into a block of keys [KP, 64], and of values [64, KP].
    static void put_key(T* block, int64_t place, const T* key, int64_t width) {
        for (int64_t i = 0; i < width; i++) block[i * BLOCK + place] = key[i];
    }
    static void put_value(T* block, int64_t place, const T* value, int64_t width) {
        memcpy(block + place * width, value, sizeof(T) * width);
    }

    static void put(T* to, V x) { *(AnyV*)to = x; }
    static float read(T x) { return x; }
    static V exponential(V x) { return ::exponential(x); }
    static float sum(V x) { return ::sum(x); }
    static float most(V x) { return ::most(x); }

    template <int64_t N> static void multiply(const Term<T>* terms, int count, int64_t rows, float* c) {
        for (int64_t row = 0; row < rows; row += 4)
            for (int64_t n = 0; n < N; n += W) {
                V sums[4] = {};
                for (int term = 0; term < count; term++) {
                    const Term<T>& one = terms[term];
                    const T* left = one.left + row * one.stride;
                    for (int64_t k = 0; k < one.depth; k++) {
                        V right = *(const AnyV*)(one.panel + k * N + n);
                        for (int i = 0; i < 4; i++) sums[i] += left[i * one.stride + k] * right;
                    }
                }
                for (int i = 0; i < 4; i++) *(AnyV*)(c + (row + i) * N + n) = sums[i];
            }
    }
    static void scores(const T* q, int64_t width, const T* keys, int64_t rows, float* c) {
        Term<T> term = {q, width, width, keys};
        multiply<BLOCK>(&term, 1, rows, c);
    }
    static void mix(const T* shares, const T* values, int64_t width, int64_t rows, float* out) {
        for (int64_t row = 0; row < rows; row++)
            for (int64_t i = 0; i < width; i += W) {
                V sum = *(AnyV*)(out + row * width + i);
                for (int64_t k = 0; k < BLOCK; k++)
                    sum += shares[row * BLOCK + k] * *(const AnyV*)(values + k * width + i);
                *(AnyV*)(out + row * width + i) = sum;
            }
    }
};

#ifdef UNIT
struct Halves {
    using T = uint16_t;
    using Use = tiles::Use;

    static int64_t at(int64_t k, int64_t n) {
        return k / 32 * 1024 + n / 16 * 512 + k % 32 / 2 * 32 + n % 16 * 2 + k % 2;
    }
    static void put_key(T* block, int64_t place, const T* key, int64_t width) {
        for (int64_t i = 0; i < width; i += 2) memcpy(block + i * BLOCK + 2 * place, key + i, 2 * sizeof(T));
    }
    static void put_value(T* block, int64_t place, const T* value, int64_t width) {
        T* to = block + place / 2 * 2 * width + place % 2;
        for (int64_t i = 0; i < width; i++) to[2 * i] = value[i];
    }

    static void put(T* to, V x) { *(AnyS*)to = tiles::narrow(x); }
    static float read(T x) { return one((const bf16*)&x); }
    static V exponential(V x) { return tiles::exponential(x); }
    static float sum(V x) { return _mm512_reduce_add_ps((__m512)x); }
    static float most(V x) { return _mm512_reduce_max_ps((__m512)x); }

    // Into tiles 0 and 1, and for more than 16 rows 2 and 3; what is added is the same for a row whatever their number.
    template <int64_t N, bool MORE> static inline void add(const Term<T>& one) {
        const T *left = one.left, *lower = left + 16 * one.stride, *panel = one.panel;
        for (int64_t k = 0; k < one.depth; k += 32, panel += 32 * N) {
            _tile_loadd(4, left + k, 2 * one.stride);
            if (MORE) _tile_loadd(5, lower + k, 2 * one.stride);
            if (MORE) _tile_stream_loadd(6, panel, 64); else _tile_loadd(6, panel, 64);
            _tile_dpbf16ps(0, 4, 6);
            if (MORE) _tile_dpbf16ps(2, 5, 6);
            if (N == 16) continue;
            if (MORE) _tile_stream_loadd(7, panel + 512, 64); else _tile_loadd(7, panel + 512, 64);
            _tile_dpbf16ps(1, 4, 7);
            if (MORE) _tile_dpbf16ps(3, 5, 7);
        }
    }
    template <int64_t N> static void multiply(const Term<T>* terms, int count, int64_t rows, float* c) {
        const bool more = rows > 16;
        _tile_zero(0);
        _tile_zero(1);
        if (more) _tile_zero(2);
        if (more) _tile_zero(3);
        for (int term = 0; term < count; term++)
            if (more) add<N, true>(terms[term]); else add<N, false>(terms[term]);
        _tile_stored(0, c, 4 * N);
        if (N > 16) _tile_stored(1, c + 16, 4 * N);
        if (more) _tile_stored(2, c + 16 * N, 4 * N);
        if (more && N > 16) _tile_stored(3, c + 16 * N + 16, 4 * N);
    }
    // c [32, columns] (+)= a [32, depth] b, 16 rows or 32.
    template <bool ADD>
    static void block(float* c, int64_t columns, const T* a, const T* b, int64_t depth, int64_t rows) {
        if (rows > 16) return tiles::product<ADD>(c, columns, a, depth, b, columns, 32, columns, depth);
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
    static void scores(const T* q, int64_t width, const T* keys, int64_t rows, float* c) {
        block<false>(c, BLOCK, q, keys, width, rows);
    }
    static void mix(const T* shares, const T* values, int64_t width, int64_t rows, float* out) {
        block<true>(out, width, shares, values, BLOCK, rows);
    }
};
#endif

}  // namespace
