// Sums in float32, on any CPU: AVX-512, AVX2 with FMA, SSE2 or NEON, as the compiler is told.
//
// Weights are float32, or bfloat16 or 8 bits, which are widened in registers; the sums are those of the widened weights.
// On x86-64 from AVX2 on, 8 bits are multiplied by `kernels_int16.h`.

#pragma once

#include "kernels_int16.h"

namespace {

struct FloatRows {  // [depth, columns]
    const float* data;
    int64_t columns;

    struct Vectors {  // W columns of 32 rows
        const float* first;
        int64_t columns;
        void pair(int64_t p, V& even, V& odd) const {
            even = *(const UnalignedV*)(first + 2 * p * columns), odd = *(const UnalignedV*)(first + (2 * p + 1) * columns);
        }
    };
    Vectors vectors(int64_t k, int64_t n) const { return {data + k * columns + n, columns}; }
};

// Panels of weights. `Element`: of the embeddings that go with them. `Wide`: the panel that they are widened to, once for
// all rows, where there are many.
struct FloatPanel : FloatRows {
    using Element = float;
    using Wide = FloatPanel;
    explicit FloatPanel(const void* panel) : FloatRows{(const float*)panel, PANEL} {}
    static int64_t bytes(int64_t depth) { return 4 * depth * PANEL; }
    float at(int64_t k, int64_t n) const { return data[k * PANEL + n]; }
};

// Inputs `from` to `until` of a panel as float32 [inputs, 32].
template <class Panel> void widen_inputs(const Panel& panel, int64_t from, int64_t until, float* to) {
    for (int64_t k = from; k < until; k += STEP, to += STEP * PANEL)
        for (int64_t n = 0; n < PANEL; n += W) {
            const auto columns = panel.vectors(k, n);
            for (int64_t p = 0; p < STEP / 2; p++) {
                V even, odd;
                columns.pair(p, even, odd);
                float* pair = to + 2 * p * PANEL + n;
                *(UnalignedV*)pair = even, *(UnalignedV*)(pair + PANEL) = odd;
            }
        }
}

struct WidenedPanel {  // bfloat16
    using Element = bf16;
    using Wide = FloatPanel;
    const bf16* data;

    explicit WidenedPanel(const void* panel) : data((const bf16*)panel) {}
    static int64_t bytes(int64_t depth) { return 2 * depth * PANEL; }
    float at(int64_t k, int64_t n) const { return to_float(data + tile_index(k, n, PANEL)); }
    void widen(int64_t depth, void* to) const { widen_inputs(*this, 0, depth, (float*)to); }

    struct Vectors {
        const bf16* first;
        void pair(int64_t p, V& even, V& odd) const {
            fetch_ahead(first + 32 * p);
            const U both = *(const UnalignedU*)(first + 32 * p);
            even = (V)(both << 16), odd = (V)(both & 0xffff0000u);
        }
    };
    Vectors vectors(int64_t k, int64_t n) const { return {data + tile_index(k, n, PANEL)}; }
};

#ifndef SUMS_INTEGERS
struct WidenedBytes : QuantizedPanel {  // 8 bits
    using Wide = FloatPanel;

    explicit WidenedBytes(const void* panel) : QuantizedPanel{(const uint8_t*)panel} {}
    float at(int64_t k, int64_t n) const { return to_float(scales(k) + n) * integers(k)[k % STEP * PANEL + n]; }
    void widen(int64_t depth, void* to) const { widen_inputs(*this, 0, depth, (float*)to); }

    struct Vectors {
        const int8_t* first;
        V scales;
        void pair(int64_t p, V& even, V& odd) const {
            fetch_ahead(first + 2 * p * PANEL);
            even = scales * widened(first + 2 * p * PANEL), odd = scales * widened(first + (2 * p + 1) * PANEL);
        }
    };
    Vectors vectors(int64_t k, int64_t n) const { return {integers(k) + n, load(scales(k) + n, W)}; }

  private:
    static V widened(const int8_t* from) {
        typedef int8_t Bytes __attribute__((vector_size(W)));
        Bytes bytes;
        memcpy(&bytes, from, W);
        return __builtin_convertvector(bytes, V);
    }
};
#endif

struct Float32 {
    using T = float;
    static constexpr int64_t GROUP = 1;
    struct ThreadState { ThreadState() {} };
    using Panel = FloatPanel;
    static FloatRows factors(const T* panel, int64_t columns) { return {panel, columns}; }
    using Factors = FloatRows;

    // Into a block of keys [P, 64], and of values [64, P]; P: the padded head width.
    static void store_key(T* block, int64_t position, const T* key, int64_t width) {
        for (int64_t i = 0; i < width; i++) block[i * BLOCK + position] = key[i];
    }
    static void store_value(T* block, int64_t position, const T* value, int64_t width) {
        memcpy(block + position * width, value, sizeof(T) * width);
    }

    static void store(T* to, V x) { *(UnalignedV*)to = x; }
    static V vexp(V x) { return ::vexp(x); }
    static V sigmoid(V x) { return ::sigmoid(x); }

    // c [rows, N] = the sum of the terms.
    template <int64_t N, class Right>
    static void multiply(const Term<T, Right>& first, const TermOfRows<T, Factors>* more, int count, int64_t rows, float* c) {
        sum_term<false>(first, rows, c, N);
        add_terms<Float32, N>(more, count, c);
    }
    static void score(const T* queries, int64_t width, const T* keys, int64_t rows, float* scores) {
        sum_term<false>(Term<T, FloatRows>{queries, width, width, {keys, BLOCK}}, rows, scores, BLOCK);
    }
    static void accumulate_values(const T* probabilities, const T* values, int64_t width, int64_t rows, float* out) {
        sum_term<true>(Term<T, FloatRows>{probabilities, BLOCK, BLOCK, {values, width}}, rows, out, width);
    }

    // c [rows, columns] = the term, or += with ADD.
    template <bool ADD, class Right>
    static void sum_term(const Term<T, Right>& term, int64_t rows, float* c, int64_t columns) {
        constexpr bool IS_WIDE = std::is_base_of_v<FloatRows, Right>;
        if (rows <= REGISTER_ROWS) return sum_rows<ADD>(term, rows, c, columns);
        alignas(64) float widened[IS_WIDE ? 1 : CACHED_DEPTH * PANEL];
        for (int64_t from = 0; from < term.depth; from += CACHED_DEPTH) {
            const int64_t depth = min64(CACHED_DEPTH, term.depth - from);
            Term<T, FloatRows> part = {term.left + from, term.stride, depth, {widened, PANEL}};
            if constexpr (IS_WIDE) part.right = {term.right.data + from * term.right.columns, term.right.columns};
            else widen_inputs(term.right, from, from + depth, widened);
            if (ADD || from) sum_rows<true>(part, rows, c, columns);
            else sum_rows<false>(part, rows, c, columns);
        }
    }

  private:
    template <bool ADD, class Right>
    static void sum_rows(const Term<T, Right>& term, int64_t rows, float* c, int64_t columns) {
        auto sum = [&](auto group, int64_t row) {
            constexpr int R = group, SUMS = REGISTER_ROWS * REGISTER_VECS;
            constexpr int VECS = R > REGISTER_ROWS ? REGISTER_VECS : std::min<int>(SUMS / R, PANEL / W);
            int64_t n = 0;
            for (; n + VECS * W <= columns; n += VECS * W) sum_block<ADD, R, VECS>(term, row, c, columns, n);
            if constexpr (VECS > 2)
                for (; n + 2 * W <= columns; n += 2 * W) sum_block<ADD, R, 2>(term, row, c, columns, n);
            for (; n < columns; n += W) sum_block<ADD, R, 1>(term, row, c, columns, n);
        };
        int64_t row = 0;
        if constexpr (W == 8)  // groups of 6 fill 16 registers; the last 8 rows are 4 and 4 rather than 6 and 2
            for (; rows - row >= 6 && rows - row != 8; row += 6) sum(std::integral_constant<int, 6>{}, row);
        for_row_groups<REGISTER_ROWS>(row, rows, sum);
    }

    template <bool ADD, int R, int VECS, class Right>
    INLINED static void sum_block(const Term<T, Right>& term, int64_t row, float* c, int64_t columns, int64_t n) {
        V sums[R][VECS] = {};
        if (ADD)
            for (int r = 0; r < R; r++)
                for (int v = 0; v < VECS; v++) sums[r][v] = *(UnalignedV*)(c + (row + r) * columns + n + v * W);
        add_term<R, VECS>(sums, term, row, n);
        for (int r = 0; r < R; r++)
            for (int v = 0; v < VECS; v++) *(UnalignedV*)(c + (row + r) * columns + n + v * W) = sums[r][v];
    }

    template <int R, int VECS>
    INLINED static void add_term(V (&sums)[R][VECS], const Term<T, FloatRows>& term, int64_t row, int64_t n) {
        const float* right = term.right.data + n;
        const T* left[R];
        for (int r = 0; r < R; r++) left[r] = term.left + (row + r) * term.stride;
#pragma GCC unroll 4
        for (int64_t k = 0; k < term.depth; k++, right += term.right.columns) {
            V columns[VECS];
            for (int v = 0; v < VECS; v++) columns[v] = *(const UnalignedV*)(right + v * W);
            for (int r = 0; r < R; r++)
                for (int v = 0; v < VECS; v++) sums[r][v] += left[r][k] * columns[v];
        }
    }

    template <int R, int VECS, class Right>
    INLINED static void add_term(V (&sums)[R][VECS], const Term<T, Right>& term, int64_t row, int64_t n) {
        const T* left = term.left + row * term.stride;
        for (int64_t k = 0; k < term.depth; k += STEP, left += STEP) {
            decltype(term.right.vectors(k, n)) right[VECS];
            for (int v = 0; v < VECS; v++) right[v] = term.right.vectors(k, n + v * W);
            for (int64_t p = 0; p < STEP / 2; p++) {
                V even[VECS], odd[VECS];
                for (int v = 0; v < VECS; v++) right[v].pair(p, even[v], odd[v]);
                for (int r = 0; r < R; r++)
                    for (int v = 0; v < VECS; v++) sums[r][v] += left[r * term.stride + 2 * p] * even[v];
                for (int r = 0; r < R; r++)
                    for (int v = 0; v < VECS; v++) sums[r][v] += left[r * term.stride + 2 * p + 1] * odd[v];
            }
        }
    }
};

}  // namespace
