// AVX-512 with bfloat16: an exponential function that is as exact as bfloat16 can show.

#pragma once

#include "simd.h"

namespace avx512 {

static inline V vexp(V x) {  // exp with a relative error of 4e-6; underflows to 0 for very negative x
    V scaled = x * 1.44269504f;
    V integer = (V)_mm512_roundscale_ps((__m512)scaled, 8), r = scaled - integer;
    V p = broadcast(1.5353362e-4f);  // Cephes, exp2f
    p = p * r + 1.3398874e-3f;
    p = p * r + 9.6184374e-3f;
    p = p * r + 5.5503325e-2f;
    p = p * r + 2.4022648e-1f;
    p = p * r + 6.9314720e-1f;
    p = p * r + 1.0f;
    return (V)_mm512_scalef_ps((__m512)p, (__m512)integer);
}

}  // namespace avx512
