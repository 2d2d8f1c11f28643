// AMX, the matrix extension of x86 CPUs, in bfloat16: tile configuration, one matrix product, and operand layouts.
//
// A tile has 16 rows of 64 bytes. The left operand of a product is kept by rows; the right operand interleaves pairs of
// rows, [rows / 2, columns, 2], because the instruction multiplies two bf16 of the inner dimension at a time.

#pragma once

#include "avx512.h"
#include <sys/syscall.h>
#include <unistd.h>

namespace amx {

using avx512::vexp;

constexpr int64_t STEP = 32;  // sizes of a product are multiples of two tiles

static bool available() {  // Linux grants a process the tile registers on request
    static const bool granted = syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */) == 0;
    return granted;
}

class TileConfig {  // configures the tiles of one thread: eight of 16 rows by 64 bytes; restores the former state
    alignas(64) uint8_t previous[64] = {};

  public:
    TileConfig() {
        alignas(64) uint8_t config[64] = {1};
        for (int tile = 0; tile < 8; tile++) config[16 + 2 * tile] = 64, config[48 + tile] = 16;
        // GCC takes 8 bytes for all that these instructions read and write.
        asm volatile("" ::"r"(config), "r"(previous) : "memory");
        _tile_storeconfig(previous);
        _tile_loadconfig(config);
    }
    ~TileConfig() { _tile_loadconfig(previous); }
};

// C [M, N] (+)= A [M, K] B [K, N] with B in pairs of rows; M, N and K are multiples of STEP.
template <bool ADD>
static inline void matmul(float* c, int64_t ldc, const uint16_t* a, int64_t lda, const uint16_t* b, int64_t ldb,
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

static inline int64_t round_up(int64_t count) { return (count + STEP - 1) / STEP * STEP; }

static inline uint16_t* alloc_bf16(int64_t count) { return (uint16_t*)alloc_floats((count + 1) / 2); }

static const V LANE_INDEX = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// Transposes 16 x 16 elements of 32 bits: floats, or pairs of bf16. Strides count bf16.
static inline void transpose_16x16(const uint16_t* from, int64_t stride, uint16_t* to, int64_t to_stride) {
    __m512i r[16], t[16];
    for (int i = 0; i < 16; i++) r[i] = _mm512_loadu_si512(from + i * stride);
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

// Interleaves two rows of 32 bf16 to pairs: the first 16 columns, and the last 16.
static inline void interleave_rows(__m512i upper, __m512i lower, uint16_t* first_half, uint16_t* second_half) {
    alignas(64) static const uint16_t order[32] = {0,  32, 1,  33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                                   8,  40, 9,  41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
    const __m512i left = _mm512_load_si512(order), right = _mm512_add_epi16(left, _mm512_set1_epi16(16));
    _mm512_storeu_si512(first_half, _mm512_permutex2var_epi16(upper, left, lower));
    _mm512_storeu_si512(second_half, _mm512_permutex2var_epi16(upper, right, lower));
}

}  // namespace amx
