// Weights in 8 bits times inputs in 16 bits, summed as integers: AVX-512 and AVX2, with or without VNNI.
//
// Every 32 inputs of a row are rounded to integers from -32767 to 32767 with a scale of their own, finer than bfloat16.
// A sum of 32 products, at most 32 * 32767 * 127, fits into 32 bits; times both scales, it is added in float32. This takes
// half or less of the instructions of a product in float32, and weights are not multiplied with their scales first.

#pragma once

#include "formats.h"

#if defined(__AVX2__)
#define SUMS_INTEGERS

namespace {

struct InputBlock {  // 32 inputs of a row
    int16_t integers[STEP];
    float scale;
};

#if defined(__AVX512F__)
typedef __m512i Pairs;  // of 16-bit integers, one for each of W outputs; or sums of 32 bits
inline Pairs widened_pairs(const int8_t* from) { return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i*)from)); }
inline Pairs load_pairs(const int16_t* from) { return _mm512_loadu_si512(from); }
inline void store_pairs(int16_t* to, Pairs pairs) { _mm512_storeu_si512(to, pairs); }
inline Pairs repeated_pair(int32_t pair) { return _mm512_set1_epi32(pair); }
inline Pairs add_products(Pairs sums, Pairs x, Pairs y) {
#if defined(__AVX512VNNI__)
    return _mm512_dpwssd_epi32(sums, x, y);
#else
    sums = _mm512_add_epi32(sums, _mm512_madd_epi16(x, y));
    asm("" : "+v"(sums));  // or GCC adds the products as a tree, for which it needs more registers than there are
    return sums;
#endif
}
inline V to_floats(Pairs sums) { return (V)_mm512_cvtepi32_ps(sums); }
inline void store_rounded(int16_t* to, V x) {
    _mm256_storeu_si256((__m256i*)to, _mm512_cvtepi32_epi16(_mm512_cvtps_epi32((__m512)x)));
}
#else
typedef __m256i Pairs;
inline Pairs widened_pairs(const int8_t* from) { return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)from)); }
inline Pairs load_pairs(const int16_t* from) { return _mm256_loadu_si256((const __m256i*)from); }
inline void store_pairs(int16_t* to, Pairs pairs) { _mm256_storeu_si256((__m256i*)to, pairs); }
inline Pairs repeated_pair(int32_t pair) { return _mm256_set1_epi32(pair); }
inline Pairs add_products(Pairs sums, Pairs x, Pairs y) {
#if defined(__AVXVNNI__)
    return _mm256_dpwssd_avx_epi32(sums, x, y);
#else
    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(x, y));
    asm("" : "+x"(sums));  // as above
    return sums;
#endif
}
inline V to_floats(Pairs sums) { return (V)_mm256_cvtepi32_ps(sums); }
inline void store_rounded(int16_t* to, V x) {
    const __m256i integers = _mm256_cvtps_epi32((__m256)x);
    const __m128i halves = _mm_packs_epi32(_mm256_castsi256_si128(integers), _mm256_extracti128_si256(integers, 1));
    _mm_storeu_si128((__m128i*)to, halves);
}
#endif

inline V activation(const float* from) { return load(from, W); }
inline V activation(const uint16_t* from) { return load((const bf16*)from, W); }

// A row [depth] as blocks. One with a number that is not finite becomes NaN.
template <class T> void round_inputs(const T* row, int64_t depth, InputBlock* to) {
    for (int64_t k = 0; k < depth; k += STEP, to++) {
        U largest = {};
        for (int64_t i = 0; i < STEP; i += W) {
            const U magnitude = (U)activation(row + k + i) & 0x7fffffffu;  // ordered like the numbers; NaN is the largest
            largest = magnitude > largest ? magnitude : largest;
        }
        uint32_t bits = 0;
        for (int64_t i = 0; i < W; i++) bits = std::max(bits, uint32_t(largest[i]));
        float maximum;
        memcpy(&maximum, &bits, 4);
        const bool is_finite = bits < 0x7f800000u, is_tiny = maximum < 1e-30f;
        const float steps = is_finite && !is_tiny ? 32767 / maximum : 0;
        to->scale = !is_finite ? __builtin_nanf("") : is_tiny ? 0 : maximum / 32767;
        for (int64_t i = 0; i < STEP; i += W) store_rounded(to->integers + i, is_finite ? activation(row + k + i) * steps : V{});
    }
}

// Panels for `multiply_integers`, both in the order of bfloat16 panels.
struct WidePairs {  // in 16 bits
    static constexpr int64_t BLOCK_BYTES = 2 * PANEL + 2 * STEP * PANEL;
    const uint8_t* data;

    explicit WidePairs(const void* panel) : data((const uint8_t*)panel) {}
    static int64_t bytes(int64_t depth) { return depth / STEP * BLOCK_BYTES; }
    const uint8_t* block(int64_t index) const { return data + index * BLOCK_BYTES; }
    static Pairs pairs(const uint8_t* block, int64_t p, int64_t n) {
        return load_pairs((const int16_t*)(block + 2 * PANEL) + tile_index(2 * p, n, PANEL));
    }
};

struct BytePairs : QuantizedPanel {  // in 8 bits
    using Wide = WidePairs;

    explicit BytePairs(const void* panel) : QuantizedPanel{(const uint8_t*)panel} {}
    float at(int64_t k, int64_t n) const { return to_float(scales(k) + n) * integers(k)[tile_index(k % STEP, n, PANEL)]; }
    const uint8_t* block(int64_t index) const { return data + index * BLOCK_BYTES; }
    static Pairs pairs(const uint8_t* block, int64_t p, int64_t n) {
        const int8_t* from = (const int8_t*)block + 2 * PANEL + tile_index(2 * p, n, PANEL);
        fetch_ahead(from);
        return widened_pairs(from);
    }
    void widen(int64_t depth, void* to) const {
        uint8_t* wide = (uint8_t*)to;
        for (int64_t index = 0; index < depth / STEP; index++, wide += WidePairs::BLOCK_BYTES) {
            memcpy(wide, block(index), 2 * PANEL);
            for (int64_t p = 0; p < STEP / 2; p++)
                for (int64_t n = 0; n < PANEL; n += W)
                    store_pairs((int16_t*)(wide + 2 * PANEL) + tile_index(2 * p, n, PANEL), pairs(block(index), p, n));
        }
    }
};

// Adds the products of R rows with the blocks `from` to `until` to c [R, 32].
template <int R, class Panel>
void add_blocks(const Term<InputBlock, Panel>& term, int64_t row, int64_t from, int64_t until, float* c) {
    constexpr int VECS = REGISTER_VECS;
    for (int64_t index = from; index < until; index++) {
        const uint8_t* block = term.right.block(index);
        const InputBlock* left = term.left + row * term.stride + index;
        for (int64_t n = 0; n < PANEL; n += VECS * W) {
            Pairs sums[R][VECS] = {};
#pragma GCC unroll 16
            for (int64_t p = 0; p < STEP / 2; p++) {
                Pairs weights[VECS];
                for (int v = 0; v < VECS; v++) weights[v] = Panel::pairs(block, p, n + v * W);
                for (int r = 0; r < R; r++) {
                    int32_t pair;
                    memcpy(&pair, left[r * term.stride].integers + 2 * p, 4);
                    const Pairs inputs = repeated_pair(pair);
                    for (int v = 0; v < VECS; v++) sums[r][v] = add_products(sums[r][v], weights[v], inputs);
                }
            }
            for (int v = 0; v < VECS; v++) {
                const V scales = load((const bf16*)block + n + v * W, W);
                for (int r = 0; r < R; r++)
                    *(UnalignedV*)(c + r * PANEL + n + v * W) += to_floats(sums[r][v]) * (scales * left[r * term.stride].scale);
            }
        }
    }
}

// c [rows, 32] = the left rows times a panel.
template <class Panel> void multiply_integers(const Term<InputBlock, Panel>& term, int64_t rows, float* c) {
    for (int64_t i = 0; i < rows * PANEL; i += W) *(UnalignedV*)(c + i) = V{};
    for (int64_t from = 0; from < term.depth; from += CACHED_DEPTH)
        for_row_groups<REGISTER_ROWS>(0, rows, [&](auto group, int64_t row) {
            const int64_t until = min64(term.depth, from + CACHED_DEPTH);
            add_blocks<group>(term, row, from / STEP, until / STEP, c + row * PANEL);
        });
}

}  // namespace

#endif
