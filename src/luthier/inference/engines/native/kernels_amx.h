// AMX in bfloat16: tiles of 16 rows and 16 columns.

#pragma once

#include "kernels_avx512.h"
#include "amx.h"

namespace {

struct QuantizedTiles : QuantizedPanel {  // rounded to bfloat16 when they are multiplied with their scales
    using Wide = Tiles;

    explicit QuantizedTiles(const void* panel) : QuantizedPanel{(const uint8_t*)panel} {}
    float at(int64_t k, int64_t n) const { return to_float(scales(k) + n) * integers(k)[tile_index(k % STEP, n, PANEL)]; }
    void widen(int64_t depth, void* to) const { widen(0, depth, (uint16_t*)to); }
    void widen(int64_t from, int64_t until, uint16_t* to) const {
        for (int64_t k = from; k < until; k += STEP)
            for (int64_t n = 0; n < PANEL; n += HALF_PANEL) {
                const Vectors tile = vectors(k, n);
                for (int64_t p = 0; p < STEP / 2; p++, to += 2 * HALF_PANEL) _mm512_storeu_si512(to, (__m512i)tile.pair(p));
            }
    }

    struct Vectors {
        const int8_t* first;
        __m512 lower_scales, upper_scales;  // of 8 outputs each, twice
        __m512bh pair(int64_t p) const {
            fetch_ahead(first + 32 * p);
            return _mm512_cvtne2ps_pbh(_mm512_mul_ps(widened(first + 32 * p + 16), upper_scales),
                                       _mm512_mul_ps(widened(first + 32 * p), lower_scales));
        }
    };
    Vectors vectors(int64_t k, int64_t n) const {
        const __m512 each = (__m512)load(scales(k) + n, W);
        const __m512i lower = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
        return {integers(k) + n / 16 * 512, _mm512_permutexvar_ps(lower, each),
                _mm512_permutexvar_ps(_mm512_add_epi32(lower, _mm512_set1_epi32(8)), each)};
    }

  private:
    static __m512 widened(const int8_t* from) {
        return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)from)));
    }
};

struct AmxBf16 : Bf16Layout {
    static constexpr int64_t GROUP = 16;
    using ThreadState = amx::TileConfig;

    template <int64_t N, class Right>
    static void multiply(const Term<T, Right>& first, const TermOfRows<T, Factors>* more, int count, int64_t rows, float* c) {
        const bool over_16 = rows > 16;
        _tile_zero(0);
        _tile_zero(1);
        if (over_16) _tile_zero(2);
        if (over_16) _tile_zero(3);
        if (over_16) add_term<N, true>(first); else add_term<N, false>(first);
        for (int index = 0; index < count; index++)
            if (over_16) add_term<N, true>(more[index]); else add_term<N, false>(more[index]);
        _tile_stored(0, c, 4 * N);
        if (N > 16) _tile_stored(1, c + 16, 4 * N);
        if (over_16) _tile_stored(2, c + 16 * N, 4 * N);
        if (over_16 && N > 16) _tile_stored(3, c + 16 * N + 16, 4 * N);
    }
    static void score(const T* queries, int64_t width, const T* keys, int64_t rows, float* scores) {
        multiply_block<false>(scores, BLOCK, queries, keys, width, rows);
    }
    static void accumulate_values(const T* probabilities, const T* values, int64_t width, int64_t rows, float* out) {
        multiply_block<true>(out, width, probabilities, values, BLOCK, rows);
    }

  private:
    // Adds a term to tiles 0 and 1, and for more than 16 rows to 2 and 3; the sum of a row is the same in both cases.
    template <int64_t N, bool OVER_16> static inline void add_term(const Term<T, Tiles>& term) {
        add_tiles<N, OVER_16>(term.left, term.stride, term.depth, term.right.data);
    }
    template <int64_t N, bool OVER_16> static inline void add_term(const Term<T, QuantizedTiles>& term) {
        // Two buffers: a tile is loaded from memory that was written a while ago, while the next one is widened.
        alignas(64) T tiles[2][STEP * PANEL];
        term.right.widen(0, STEP, tiles[0]);
        for (int64_t k = 0; k < term.depth; k += STEP) {
            const int64_t next = k + STEP;
            if (next < term.depth) term.right.widen(next, next + STEP, tiles[next / STEP % 2]);
            add_tiles<N, OVER_16>(term.left + k, term.stride, STEP, tiles[k / STEP % 2]);
        }
    }
    template <int64_t N, bool OVER_16>
    static inline void add_tiles(const T* left, int64_t stride, int64_t depth, const T* panel) {
        const T* lower = left + 16 * stride;
        for (int64_t k = 0; k < depth; k += 32, panel += 32 * N) {
            _tile_loadd(4, left + k, 2 * stride);
            if (OVER_16) _tile_loadd(5, lower + k, 2 * stride);
            if (OVER_16) _tile_stream_loadd(6, panel, 64); else _tile_loadd(6, panel, 64);
            _tile_dpbf16ps(0, 4, 6);
            if (OVER_16) _tile_dpbf16ps(2, 5, 6);
            if (N == 16) continue;
            if (OVER_16) _tile_stream_loadd(7, panel + 512, 64); else _tile_loadd(7, panel + 512, 64);
            _tile_dpbf16ps(1, 4, 7);
            if (OVER_16) _tile_dpbf16ps(3, 5, 7);
        }
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
};

}  // namespace
