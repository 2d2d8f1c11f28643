// The matrix unit of x86 processors (AMX, bfloat16): how a thread takes it, and what products and attention share.
//
// A matrix that is to stand on the left of a product is kept by rows; one that is to stand on the right, by pairs of
// rows: [rows / 2, columns, 2].

#pragma once

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace tiles {

constexpr int64_t STEP = 32;  // what the sizes of a product are multiples of

static bool granted() {  // Linux gives a process the unit's registers when it asks for them
    static const bool given = syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */) == 0;
    return given;
}

class Use {  // of the unit by one thread; leaves it as others had it
    alignas(64) uint8_t before[64] = {};

  public:
    Use() {
        alignas(64) uint8_t shape[64] = {1};
        for (int tile = 0; tile < 8; tile++) shape[16 + 2 * tile] = 64, shape[48 + tile] = 16;
        _tile_storeconfig(before);
        _tile_loadconfig(shape);
    }
    ~Use() { _tile_loadconfig(before); }
};

// C [M, N] (+)= A [M, K] B [K, N]; M, N and K are multiples of STEP.
template <bool ADD>
static inline void product(float* c, int64_t ldc, const uint16_t* a, int64_t lda, const uint16_t* b, int64_t ldb,
                           int64_t m, int64_t n, int64_t k) {
    for (int64_t i = 0; i < m; i += 32)
        for (int64_t j = 0; j < n; j += 32) {
            float *upper = c + i * ldc + j, *lower = upper + 16 * ldc;
            if (ADD) {
                _tile_loadd(0, upper, 4 * ldc);
                _tile_loadd(1, upper + 16, 4 * ldc);
                _tile_loadd(2, lower, 4 * ldc);
                _tile_loadd(3, lower + 16, 4 * ldc);
            } else {
                _tile_zero(0);
                _tile_zero(1);
                _tile_zero(2);
                _tile_zero(3);
            }
            for (int64_t l = 0; l < k; l += 32) {
                _tile_loadd(4, a + i * lda + l, 2 * lda);
                _tile_loadd(6, b + l * ldb + 2 * j, 4 * ldb);
                _tile_dpbf16ps(0, 4, 6);
                _tile_loadd(7, b + l * ldb + 2 * j + 32, 4 * ldb);
                _tile_dpbf16ps(1, 4, 7);
                _tile_loadd(5, a + (i + 16) * lda + l, 2 * lda);
                _tile_dpbf16ps(2, 5, 6);
                _tile_dpbf16ps(3, 5, 7);
            }
            _tile_stored(0, upper, 4 * ldc);
            _tile_stored(1, upper + 16, 4 * ldc);
            _tile_stored(2, lower, 4 * ldc);
            _tile_stored(3, lower + 16, 4 * ldc);
        }
}

static inline int64_t up(int64_t count) { return (count + STEP - 1) / STEP * STEP; }

static const V PLACES = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static inline S narrow(V x) { return (S)_mm512_cvtneps_pbh((__m512)x); }

static inline V exponential(V x) {  // to 4e-6 relative; nothing of it is left far below zero
    V scaled = x * 1.44269504f;
    V whole = (V)_mm512_roundscale_ps((__m512)scaled, 8), r = scaled - whole;
    V p = all(1.5353362e-4f);  // Cephes, exp2f
    p = p * r + 1.3398874e-3f;
    p = p * r + 9.6184374e-3f;
    p = p * r + 5.5503325e-2f;
    p = p * r + 2.4022648e-1f;
    p = p * r + 6.9314720e-1f;
    p = p * r + 1.0f;
    return (V)_mm512_scalef_ps((__m512)p, (__m512)whole);
}

// 16 rows of 16 pairs, or of floats -> 16 times 16 rows.
static inline void turn(const uint16_t* w, int64_t stride, uint16_t* to, int64_t to_stride) {
    __m512i r[16], t[16];
    for (int i = 0; i < 16; i++) r[i] = _mm512_loadu_si512(w + i * stride);
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        __m512i a = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88), b = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
        __m512i c = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd), d = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
        _mm512_storeu_si512(to + i * to_stride, _mm512_shuffle_i32x4(a, b, 0x88));
        _mm512_storeu_si512(to + (4 + i) * to_stride, _mm512_shuffle_i32x4(c, d, 0x88));
        _mm512_storeu_si512(to + (8 + i) * to_stride, _mm512_shuffle_i32x4(a, b, 0xdd));
        _mm512_storeu_si512(to + (12 + i) * to_stride, _mm512_shuffle_i32x4(c, d, 0xdd));
    }
}

// Two rows of 32 -> pairs, of the first 16 and of the others.
static inline void pair_up(__m512i one, __m512i two, uint16_t* first, uint16_t* others) {
    alignas(64) static const uint16_t order[32] = {0,  32, 1,  33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                                   8,  40, 9,  41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
    const __m512i left = _mm512_load_si512(order), right = _mm512_add_epi16(left, _mm512_set1_epi16(16));
    _mm512_storeu_si512(first, _mm512_permutex2var_epi16(one, left, two));
    _mm512_storeu_si512(others, _mm512_permutex2var_epi16(one, right, two));
}

}  // namespace tiles
