// AVX-512 with bfloat16: products of pairs, summed in float32.

#pragma once

#include "avx512.h"
#include "formats.h"

namespace {

struct PairRows {  // [depth / 2, columns, 2]
    const uint16_t* data;
    int64_t columns;

    struct Vectors {  // 16 columns of 32 rows
        const uint16_t* first;
        int64_t columns;
        __m512bh pair(int64_t p) const { return (__m512bh)_mm512_loadu_si512(first + 2 * p * columns); }
    };
    Vectors vectors(int64_t k, int64_t n) const { return {data + k * columns + 2 * n, columns}; }
};

struct Tiles {  // of weights or LoRA factors
    using Element = bf16;
    using Wide = Tiles;
    const uint16_t* data;
    int64_t columns;

    Tiles() = default;
    Tiles(const uint16_t* data, int64_t columns) : data(data), columns(columns) {}
    explicit Tiles(const void* panel) : Tiles((const uint16_t*)panel, PANEL) {}
    static int64_t bytes(int64_t depth) { return 2 * depth * PANEL; }
    float at(int64_t k, int64_t n) const { return to_float((const bf16*)data + tile_index(k, n, PANEL)); }

    struct Vectors {
        const uint16_t* first;
        __m512bh pair(int64_t p) const {
            fetch_ahead(first + 32 * p);
            return (__m512bh)_mm512_loadu_si512(first + 32 * p);
        }
    };
    Vectors vectors(int64_t k, int64_t n) const { return {data + tile_index(k, n, columns)}; }
};

struct Bf16Layout {  // of all formats whose activations are bfloat16
    using T = uint16_t;
    using Panel = Tiles;
    using Factors = Tiles;
    static Tiles factors(const T* panel, int64_t columns) { return {panel, columns}; }

    static void store_key(T* block, int64_t position, const T* key, int64_t width) {
        for (int64_t i = 0; i < width; i += 2) memcpy(block + i * BLOCK + 2 * position, key + i, 2 * sizeof(T));
    }
    static void store_value(T* block, int64_t position, const T* value, int64_t width) {
        T* to = block + position / 2 * 2 * width + position % 2;
        for (int64_t i = 0; i < width; i++) to[2 * i] = value[i];
    }

    static void store(T* to, V x) { *(UnalignedS*)to = round_to_bf16(x); }
    static V vexp(V x) { return avx512::vexp(x); }
    static V sigmoid(V x) { return avx512::sigmoid(x); }
};

struct Avx512Bf16 : Bf16Layout {
    static constexpr int64_t GROUP = 1;
    struct ThreadState { ThreadState() {} };

    template <int64_t N, class Right>
    static void multiply(const Term<T, Right>& first, const TermOfRows<T, Factors>* more, int count, int64_t rows, float* c) {
        sum_term<false>(first, rows, c, N);
        add_terms<Avx512Bf16, N>(more, count, c);
    }
    static void score(const T* queries, int64_t width, const T* keys, int64_t rows, float* scores) {
        sum_term<false>(Term<T, PairRows>{queries, width, width, {keys, BLOCK}}, rows, scores, BLOCK);
    }
    static void accumulate_values(const T* probabilities, const T* values, int64_t width, int64_t rows, float* out) {
        sum_term<true>(Term<T, PairRows>{probabilities, BLOCK, BLOCK, {values, width}}, rows, out, width);
    }

    // c [rows, columns] = the term, or += with ADD.
    template <bool ADD, class Right>
    static void sum_term(const Term<T, Right>& term, int64_t rows, float* c, int64_t columns) {
        for_row_groups<8>(0, rows, [&](auto group, int64_t row) {
            constexpr int R = group;
            int64_t n = 0;
            for (; n + 32 <= columns; n += 32) sum_block<ADD, R, 2>(term, row, c, columns, n);
            for (; n < columns; n += 16) sum_block<ADD, R, 1>(term, row, c, columns, n);
        });
    }

  private:
    template <bool ADD, int R, int VECS, class Right>
    INLINED static void sum_block(const Term<T, Right>& term, int64_t row, float* c, int64_t columns, int64_t n) {
        __m512 sums[R][VECS] = {};
        if (ADD)
            for (int r = 0; r < R; r++)
                for (int v = 0; v < VECS; v++) sums[r][v] = _mm512_loadu_ps(c + (row + r) * columns + n + v * W);
        add_term<R, VECS>(sums, term, row, n);
        for (int r = 0; r < R; r++)
            for (int v = 0; v < VECS; v++) _mm512_storeu_ps(c + (row + r) * columns + n + v * W, sums[r][v]);
    }

    template <int R, int VECS, class Right>
    INLINED static void add_term(__m512 (&sums)[R][VECS], const Term<T, Right>& term, int64_t row, int64_t n) {
        const T* left = term.left + row * term.stride;
        for (int64_t k = 0; k < term.depth; k += STEP, left += STEP) {
            decltype(term.right.vectors(k, n)) right[VECS];
            for (int v = 0; v < VECS; v++) right[v] = term.right.vectors(k, n + v * W);
            for (int64_t p = 0; p < STEP / 2; p++) {
                __m512bh weights[VECS];
                for (int v = 0; v < VECS; v++) weights[v] = right[v].pair(p);
                for (int r = 0; r < R; r++) {
                    int32_t pair;
                    memcpy(&pair, left + r * term.stride + 2 * p, 4);
                    for (int v = 0; v < VECS; v++)
                        sums[r][v] = _mm512_dpbf16_ps(sums[r][v], weights[v], (__m512bh)_mm512_set1_epi32(pair));
                }
            }
        }
    }
};

}  // namespace
