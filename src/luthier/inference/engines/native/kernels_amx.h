// AMX in bfloat16: tiles of 16 rows and 16 columns.
//
// A few rows are multiplied by vectors instead, without storing widened weights for a tile of which most rows are empty.
// Their sums have the bits of TDPBF16PS (Intel's manual): of 32 inputs the even and the odd ones are summed apart, by
// fused multiply-add in float32 with denormals as zeros; then both sums are added, and that to the sum so far.

#pragma once

#include "kernels_avx512.h"
#include "amx.h"

namespace {

template <int R> using RowSums = __m512[R][2];  // of R rows and 16 outputs, in any two vectors that fold to them

// Adds 32 inputs of R rows, as float32 in pairs [R, 16, 2], times a half panel in bfloat16.
template <int R> inline void add_pairs(RowSums<R>& sums, const float* rows, const Tiles::Vectors& tile) {
    for (int64_t p = 0; p < STEP / 2; p++) {
        const __m512i pair = (__m512i)tile.pair(p);
        const __m512 even = (__m512)_mm512_slli_epi32(pair, 16);
        const __m512 odd = (__m512)_mm512_and_si512(pair, _mm512_set1_epi32(0xffff0000));
        for (int r = 0; r < R; r++) {
            sums[r][0] = _mm512_fmadd_ps(_mm512_set1_ps(rows[r * STEP + 2 * p]), even, sums[r][0]);
            sums[r][1] = _mm512_fmadd_ps(_mm512_set1_ps(rows[r * STEP + 2 * p + 1]), odd, sums[r][1]);
        }
    }
}
inline __m512 folded(const __m512 (&sums)[2], const Tiles::Vectors&) { return _mm512_add_ps(sums[0], sums[1]); }

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
        // The same numbers as float32: the even and the odd weight of 8 outputs by turns. A product of 24 bits less what
        // it has beyond the upper 8 (Dekker, 1971); to add 0 keeps the compiler from fusing the last two steps.
        static __m512 rounded(const int8_t* from, __m512 scales) {
            const __m512 integers = widened(from), wide_scales = _mm512_mul_ps(scales, _mm512_set1_ps(65537));
            const __m512 wide = _mm512_fmadd_ps(integers, wide_scales, _mm512_setzero_ps());
            return _mm512_sub_ps(wide, _mm512_fnmadd_ps(integers, scales, wide));
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

template <int R> inline void add_pairs(RowSums<R>& sums, const float* rows, const QuantizedTiles::Vectors& tile) {
    for (int64_t p = 0; p < STEP / 2; p++) {
        fetch_ahead(tile.first + 32 * p);
        const __m512 lower = tile.rounded(tile.first + 32 * p, tile.lower_scales);
        const __m512 upper = tile.rounded(tile.first + 32 * p + 16, tile.upper_scales);
        for (int r = 0; r < R; r++) {
            const __m512 pair = (__m512)_mm512_broadcastq_epi64(_mm_loadl_epi64((const __m128i*)(rows + r * STEP + 2 * p)));
            sums[r][0] = _mm512_fmadd_ps(pair, lower, sums[r][0]);
            sums[r][1] = _mm512_fmadd_ps(pair, upper, sums[r][1]);
        }
    }
}
inline __m512 folded(const __m512 (&sums)[2], const QuantizedTiles::Vectors&) {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    return _mm512_add_ps(_mm512_permutex2var_ps(sums[0], even, sums[1]), _mm512_permutex2var_ps(sums[0], odd, sums[1]));
}

struct AmxBf16 : Bf16Layout {
    static constexpr int64_t GROUP = 16;
    struct ThreadState : amx::TileConfig {  // and denormals are zeros, as for AMX itself
        const unsigned previous = _mm_getcsr();
        ThreadState() { _mm_setcsr(previous | 0x8040); }
        ~ThreadState() { _mm_setcsr(previous); }
    };

    template <int64_t N, class Right>
    static void multiply(const Term<T, Right>& first, const TermOfRows<T, Factors>* more, int count, int64_t rows, float* c) {
        if (rows == 1) return multiply_few<1, N>(first, more, count, c);
        if (rows == 2) return multiply_few<2, N>(first, more, count, c);
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
    template <int R, int64_t N, class Right>
    static void multiply_few(const Term<T, Right>& first, const TermOfRows<T, Factors>* more, int count, float* c) {
        __m512 sums[R][N / 16] = {};
        add_term_of_few(sums, first);
        for (int index = 0; index < count; index++) add_term_of_few(sums, more[index]);
        for (int r = 0; r < R; r++)
            for (int64_t n = 0; n < N; n += 16) _mm512_storeu_ps(c + r * N + n, sums[r][n / 16]);
    }
    template <int R, size_t VECS, class Right>
    INLINED static void add_term_of_few(__m512 (&sums)[R][VECS], const Term<T, Right>& term) {
        alignas(64) float rows[R * STEP];
        for (int64_t k = 0; k < term.depth; k += STEP) {
            for (int r = 0; r < R; r++)
                for (int64_t i = 0; i < STEP; i += W)
                    *(V*)(rows + r * STEP + i) = load((const bf16*)term.left + r * term.stride + k + i, W);
            for (size_t v = 0; v < VECS; v++) {
                RowSums<R> of_step = {};
                const auto tile = term.right.vectors(k, v * W);
                add_pairs<R>(of_step, rows, tile);
                for (int r = 0; r < R; r++) sums[r][v] = _mm512_add_ps(sums[r][v], folded(of_step[r], tile));
            }
        }
    }
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
