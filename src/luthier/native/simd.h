// SIMD vectors of float32, loaded from and stored to the two dtypes of the kernels: float32 and bfloat16.
//
// Written with the vector extensions of GCC and Clang, so that the same source compiles to AVX-512, AVX2, SSE or NEON.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <omp.h>
#include <vector>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

// W: float32 lanes of a vector. REGISTER_ROWS x REGISTER_VECS: the block of a matrix product that fits into registers.
#if defined(__AVX512F__)
constexpr int W = 16, REGISTER_ROWS = 8, REGISTER_VECS = 2;
#elif defined(__AVX__)
constexpr int W = 8, REGISTER_ROWS = 4, REGISTER_VECS = 2;
#else
constexpr int W = 4, REGISTER_ROWS = 8, REGISTER_VECS = 2;
#endif

typedef float V __attribute__((vector_size(4 * W)));
typedef uint32_t U __attribute__((vector_size(4 * W)));
typedef uint16_t S __attribute__((vector_size(2 * W)));
typedef float UnalignedV __attribute__((vector_size(4 * W), aligned(4), may_alias));
typedef uint32_t UnalignedU __attribute__((vector_size(4 * W), aligned(4), may_alias));
typedef uint16_t UnalignedS __attribute__((vector_size(2 * W), aligned(2), may_alias));
struct bf16 { uint16_t bits; };

static inline V broadcast(float x) { return x - V{}; }

// 16 bits to 32, and back, in one instruction: GCC builds a __builtin_convertvector of whole registers from halves.
static inline U widened(S bits) {
#if defined(__AVX512F__)
    return (U)_mm512_cvtepu16_epi32((__m256i)bits);
#elif defined(__AVX2__)
    return (U)_mm256_cvtepu16_epi32((__m128i)bits);
#else
    return __builtin_convertvector(bits, U);
#endif
}
static inline S narrowed(U bits) {  // the lower halves
#if defined(__AVX512F__)
    return (S)_mm512_cvtepi32_epi16((__m512i)bits);
#else
    return __builtin_convertvector(bits, S);
#endif
}

// The first `count` elements, at most W; the other lanes are zero.
static inline V load(const float* from, int64_t count) {
    if (count >= W) return *(const UnalignedV*)from;
    V x = {};
    memcpy(&x, from, 4 * count);
    return x;
}

static inline V load(const bf16* from, int64_t count) {
    S bits = {};
    if (count >= W) bits = *(const UnalignedS*)from; else memcpy(&bits, from, 2 * count);
    return (V)(widened(bits) << 16);
}

static inline void store(float* to, V x, int64_t count) {
    if (count >= W) *(UnalignedV*)to = x; else memcpy(to, &x, 4 * count);
}

static inline S round_to_bf16(V x) {  // to the nearest, ties to even; NaN stays NaN
#if defined(__AVX512BF16__)
    return (S)_mm512_cvtneps_pbh((__m512)x);  // numbers below 2^-126 become 0
#else
    U bits = (U)x;
    bits = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return narrowed(x == x ? bits : 0x7fc0 - U{});
#endif
}

static inline void store(bf16* to, V x, int64_t count) {
    S bits = round_to_bf16(x);
    if (count >= W) *(UnalignedS*)to = bits; else memcpy(to, &bits, 2 * count);
}

// x rounded to the dtype of the pointer, and back to float32.
static inline V rounded_like(V x, const float*) { return x; }
static inline V rounded_like(V x, const bf16*) { return (V)(widened(round_to_bf16(x)) << 16); }

static inline float to_float(const float* x) { return *x; }
static inline float to_float(const bf16* x) {
    uint32_t bits = (uint32_t)x->bits << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

// Halves are added, or compared, until one lane is left.
static inline float reduce_sum(V x) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps((__m512)x);
#else
    for (int width = W / 2; width; width /= 2)
        for (int i = 0; i < width; i++) x[i] += x[i + width];
    return x[0];
#endif
}

static inline float reduce_max(V x) {
#if defined(__AVX512F__)
    return _mm512_reduce_max_ps((__m512)x);
#else
    for (int width = W / 2; width; width /= 2)
        for (int i = 0; i < width; i++) x[i] = x[i] > x[i + width] ? x[i] : x[i + width];
    return x[0];
#endif
}

// Whether any lane is greater.
static inline bool any_greater(V x, V y) {
#if defined(__AVX512F__)
    return _mm512_cmp_ps_mask((__m512)x, (__m512)y, _CMP_GT_OQ);
#elif defined(__AVX__)
    return _mm256_movemask_ps((__m256)(x > y));
#else
    return reduce_max(x - y) > 0;
#endif
}

static inline V vmax(V x, V y) { return x > y ? x : y; }

// exp with a relative error of 2e-7 (Cephes, expf); 0 below e^-60, which is negligible beside 1.
static inline V vexp(V argument) {
    V x = argument < broadcast(-60.0f) ? broadcast(-60.0f) : argument;
    x = x > broadcast(88.0f) ? broadcast(88.0f) : x;
    V shifted = x * 1.44269504f + 12582912.0f;  // + 1.5 * 2^23: the lowest bits hold the rounded integer
    V integer = shifted - 12582912.0f;
    V r = x - integer * 0.693359375f + integer * 2.12194440e-4f;
    V p = broadcast(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    p *= (V)((((U)shifted - 0x4b400000u) + 127u) << 23);
    return argument < broadcast(-60.0f) ? V{} : p;
}

static inline V sigmoid(V x) { return 1 / (1 + vexp(-x)); }

// tanh with an absolute error of 2e-7.
static inline V vtanh(V x) { return 1 - 2 / (vexp(2 * x) + 1); }

static inline int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }

// Uninitialised, aligned to 64 bytes, in whole pages.
static float* alloc_floats(int64_t count) { return (float*)aligned_alloc(64, (4 * count + 4095) / 4096 * 4096); }
