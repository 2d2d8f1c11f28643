// The elementwise parts of a Llama layer, forward and backward: RMSNorm, gates, rotary embeddings, log softmax.
//
// Each goes through memory once, computes in float32, and rounds once on storing. Rows are distributed by OpenMP.
// T tokens, D width of a row, H heads, K head width. Strides count elements.

#pragma once

#include "simd.h"
#if defined(__AVX512BF16__)
#include "avx512.h"
#endif

// As exact as the dtype of the pointer can show.
static inline V sigmoid_like(V x, const float*) { return sigmoid(x); }
static inline V sigmoid_like(V x, const bf16*) {
#if defined(__AVX512BF16__)
    return avx512::sigmoid(x);
#else
    return sigmoid(x);
#endif
}

// out = x / rms(x) * weight. `inverse_rms` [T] is written, or read if `recompute` is set.
template <class T>
static void rms_norm(const T* x, const float* weight, float eps, bool recompute, T* out, int64_t out_stride,
                     float* inverse_rms, int64_t tokens, int64_t width, int threads) {
#pragma omp parallel for num_threads(threads)
    for (int64_t t = 0; t < tokens; t++) {
        const T* row = x + t * width;
        if (!recompute) {
            V squares = {};
            for (int64_t i = 0; i < width; i += W) { V a = load(row + i, width - i); squares += a * a; }
            inverse_rms[t] = 1 / __builtin_sqrtf(reduce_sum(squares) / width + eps);
        }
        for (int64_t i = 0; i < width; i += W)
            store(out + t * out_stride + i,
                  rounded_like(load(row + i, width - i) * inverse_rms[t], row) * load(weight + i, width - i), width - i);
    }
}

// grad_x = (grad * weight - x * projection) * inverse_rms + residual_grad, where projection is the component along x:
// mean(grad * weight * x) * inverse_rms^2. `residual_grad` may be null.
template <class T>
static void rms_norm_backward(const T* grad_out, int64_t grad_stride, const T* x, const float* weight,
                              const float* inverse_rms, const T* residual_grad, T* grad_x, int64_t tokens,
                              int64_t width, int threads) {
#pragma omp parallel for num_threads(threads)
    for (int64_t t = 0; t < tokens; t++) {
        const T *grad = grad_out + t * grad_stride, *row = x + t * width;
        const T* residual = residual_grad ? residual_grad + t * width : nullptr;
        V dot = {};
        for (int64_t i = 0; i < width; i += W)
            dot += load(grad + i, width - i) * load(weight + i, width - i) * load(row + i, width - i);
        float scale = inverse_rms[t], projection = reduce_sum(dot) * scale * scale / width;
        for (int64_t i = 0; i < width; i += W)
            store(grad_x + t * width + i,
                  (load(grad + i, width - i) * load(weight + i, width - i) - load(row + i, width - i) * projection) *
                          scale +
                      (residual ? load(residual + i, width - i) : V{}),
                  width - i);
    }
}

// A gate is a * sigmoid(z), where z = a for SiLU and z = 2 sqrt(2 / pi) (a + 0.044715 a^3) for GELU, tanh-approximated.
constexpr float GELU = 1.5957691216f, GELU_CUBIC = 0.044715f;

template <bool is_gelu> static inline V gate_argument(V a) { return is_gelu ? GELU * (a + GELU_CUBIC * a * a * a) : a; }

// dz / da
template <bool is_gelu> static inline V gate_slope(V a) {
    return is_gelu ? GELU * (1 + 3 * GELU_CUBIC * a * a) : broadcast(1.0f);
}

// gate_up [T, 2 D] -> out [T, D] = gate * up.
template <bool is_gelu, class T>
static void gated(const T* gate_up, T* out, int64_t out_stride, int64_t tokens, int64_t width, int threads) {
#pragma omp parallel for num_threads(threads)
    for (int64_t t = 0; t < tokens; t++) {
        const T *gate = gate_up + 2 * t * width, *up = gate + width;
        for (int64_t i = 0; i < width; i += W) {
            V a = load(gate + i, width - i);
            V out_row = a * sigmoid_like(gate_argument<is_gelu>(a), gate) * load(up + i, width - i);
            store(out + t * out_stride + i, out_row, width - i);
        }
    }
}

// The gradient of gate_up, and the activation gate * up recomputed.
template <bool is_gelu, class T>
static void gated_backward(const T* grad_out, int64_t grad_stride, const T* gate_up, T* grad_gate_up, T* activation,
                           int64_t tokens, int64_t width, int threads) {
#pragma omp parallel for num_threads(threads)
    for (int64_t t = 0; t < tokens; t++) {
        const T *grad_row = grad_out + t * grad_stride, *gate = gate_up + 2 * t * width, *up = gate + width;
        T *grad_gate = grad_gate_up + 2 * t * width, *grad_up = grad_gate + width;
        for (int64_t i = 0; i < width; i += W) {
            int64_t count = width - i;
            V a = load(gate + i, count), b = load(up + i, count), grad = load(grad_row + i, count);
            V sigmoid = sigmoid_like(gate_argument<is_gelu>(a), gate), gated = a * sigmoid;
            store(grad_up + i, grad * gated, count);
            store(grad_gate + i, grad * b * sigmoid * (1 + (a - gated) * gate_slope<is_gelu>(a)), count);
            store(activation + t * width + i, gated * b, count);
        }
    }
}

// Rotates x [T, H, K] in place; cos and sin [T, K / 2]. `sign` -1 rotates back. Strides: from token to token, and from
// head to head.
template <class T>
static void apply_rotary(T* x, int64_t stride, int64_t head_stride, const T* cos, const T* sin, float sign, int64_t tokens, int64_t heads,
                         int64_t head_width, int threads) {
    int64_t half = head_width / 2;
#pragma omp parallel for num_threads(threads)
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t h = 0; h < heads; h++) {
            T *first = x + t * stride + h * head_stride, *second = first + half;
            for (int64_t i = 0; i < half; i += W) {
                V a = load(first + i, half - i), b = load(second + i, half - i);
                V c = load(cos + t * half + i, half - i), s = load(sin + t * half + i, half - i) * sign;
                store(first + i, a * c - b * s, half - i);
                store(second + i, b * c + a * s, half - i);
            }
        }
}

// logits [N, V] -> logprobs [N] of the targets, whether each target is the argmax, and the softmax in place of logits.
template <class T>
static void log_softmax_at(T* logits, const int64_t* targets, float* logprobs, uint8_t* is_argmax, int64_t rows,
                           int64_t vocabulary, int threads) {
#pragma omp parallel num_threads(threads)
    {
        float* exponentials = (float*)malloc(4 * (vocabulary + W));
#pragma omp for
        for (int64_t t = 0; t < rows; t++) {
            T* row = logits + t * vocabulary;
            float target = to_float(row + targets[t]);
            V maxima = broadcast(target), sums = {};
            int64_t full = vocabulary / W * W;  // elements in full vectors
            for (int64_t i = 0; i < full; i += W) maxima = vmax(load(row + i, W), maxima);
            float maximum = reduce_max(maxima);
            for (int64_t i = full; i < vocabulary; i++)
                maximum = to_float(row + i) > maximum ? to_float(row + i) : maximum;
            for (int64_t i = 0; i < vocabulary; i += W) {
                V exponential = vexp(load(row + i, vocabulary - i) - maximum);
                if (i == full) for (int64_t j = vocabulary - i; j < W; j++) exponential[j] = 0;
                sums += exponential;
                store(exponentials + i, exponential, W);
            }
            float sum = reduce_sum(sums);
            for (int64_t i = 0; i < vocabulary; i += W)
                store(row + i, load(exponentials + i, W) * (1 / sum), vocabulary - i);
            logprobs[t] = target - maximum - __builtin_logf(sum);
            is_argmax[t] = target >= maximum;
        }
        free(exponentials);
    }
}
