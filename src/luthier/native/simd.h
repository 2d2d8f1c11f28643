// Vectors of floats, and the two number formats that they are read from and written to: float32 and bfloat16.
//
// Written with the vector types of GCC and Clang, so it knows no processor by name.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <omp.h>
#include <vector>

#if defined(__AVX512F__)
constexpr int W = 16, ROWS = 8, VECS = 2;  // floats of a vector; the block of a product that stays in registers
#elif defined(__AVX__)
constexpr int W = 8, ROWS = 4, VECS = 2;
#else
constexpr int W = 4, ROWS = 8, VECS = 2;
#endif

typedef float V __attribute__((vector_size(4 * W)));
typedef uint32_t U __attribute__((vector_size(4 * W)));
typedef int32_t I __attribute__((vector_size(4 * W)));
typedef uint16_t S __attribute__((vector_size(2 * W)));
typedef float AnyV __attribute__((vector_size(4 * W), aligned(4), may_alias));     // the same anywhere in memory
typedef uint16_t AnyS __attribute__((vector_size(2 * W), aligned(2), may_alias));
struct bf16 { uint16_t bits; };

static inline V all(float x) { return x - V{}; }

static inline V load(const float* from, int64_t count) {
    if (count >= W) return *(const AnyV*)from;
    V x = {};
    memcpy(&x, from, 4 * count);
    return x;
}

static inline V load(const bf16* from, int64_t count) {
    S bits = {};
    if (count >= W) bits = *(const AnyS*)from; else memcpy(&bits, from, 2 * count);
    return (V)(__builtin_convertvector(bits, U) << 16);
}

static inline void store(float* to, V x, int64_t count) {
    if (count >= W) *(AnyV*)to = x; else memcpy(to, &x, 4 * count);
}

static inline S rounded(V x, const bf16*) {  // to the nearest, ties to even; not a number stays that
    U bits = (U)x;
    bits = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return __builtin_convertvector(x == x ? bits : 0x7fc0 - U{}, S);
}

static inline void store(bf16* to, V x, int64_t count) {
    S bits = rounded(x, to);
    if (count >= W) *(AnyS*)to = bits; else memcpy(to, &bits, 2 * count);
}

static inline V as_kept(V x, const float*) { return x; }
static inline V as_kept(V x, const bf16* like) { return (V)(__builtin_convertvector(rounded(x, like), U) << 16); }

static inline float one(const float* x) { return *x; }
static inline float one(const bf16* x) {
    uint32_t bits = (uint32_t)x->bits << 16;
    float made;
    memcpy(&made, &bits, 4);
    return made;
}

static inline float sum(V x) {
    float total = 0;
    for (int i = 0; i < W; i++) total += x[i];
    return total;
}

static inline float most(V x) {
    float top = x[0];
    for (int i = 1; i < W; i++) top = x[i] > top ? x[i] : top;
    return top;
}

static inline V larger(V x, V y) { return x > y ? x : y; }

static inline V exponential(V given) {  // to 2e-7 relative; 0 below e^-60, which beside 1 is nothing
    V x = given < all(-60.0f) ? all(-60.0f) : given;
    x = x > all(88.0f) ? all(88.0f) : x;
    V shifted = x * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: the lowest bits are the rounded number
    V whole = shifted - 12582912.0f;
    V r = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    V p = all(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    p *= (V)((((U)shifted - 0x4b400000u) + 127u) << 23);
    return given < all(-60.0f) ? V{} : p;
}

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static float* memory(int64_t floats) { return (float*)aligned_alloc(64, (4 * floats + 4095) / 4096 * 4096); }
