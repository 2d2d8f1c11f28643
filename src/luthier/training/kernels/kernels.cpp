// The kernels of training, as Python calls them: `bindings.py` compiles this file and what it includes.
//
// `is_bf16` selects the dtype of all void pointers: bfloat16, else float32. Kernels with bf16 pointers need AMX.

#include "simd.h"
#include "elementwise.h"
#include "attention.h"

#if defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__linux__)
#include "amx.h"
#include "amx_attention.h"
#include "lora_linear.h"
#include "amx_lm_head.h"
#else
namespace amx {  // never called, since `available` is false
static bool available() { return false; }
template <class... Arguments> static void attend(Arguments...) {}
template <class... Arguments> static void attend_backward(Arguments...) {}
template <class... Arguments> static void lora_linear(Arguments...) {}
template <class... Arguments> static void lora_linear_backward(Arguments...) {}
template <class... Arguments> static void lora_factors_backward(Arguments...) {}
template <class... Arguments> static void lm_head(Arguments...) {}
}  // namespace amx
#endif

#define DISPATCH(call) if (is_bf16) { using T = bf16; call; } else { using T = float; call; }
#define IN(x) (const T*)x
#define OUT(x) (T*)x

extern "C" {

int64_t luthier_has_amx() { return amx::available(); }

void luthier_rms_norm(int64_t is_bf16, const void* x, const float* weight, float eps, int64_t recompute, void* out,
                      int64_t out_stride, float* inverse_rms, int64_t tokens, int64_t width, int64_t threads) {
    DISPATCH(rms_norm(IN(x), weight, eps, recompute, OUT(out), out_stride, inverse_rms, tokens, width, threads))
}

void luthier_rms_norm_backward(int64_t is_bf16, const void* grad_out, int64_t grad_stride, const void* x,
                               const float* weight, const float* inverse_rms, const void* residual_grad, void* grad_x,
                               int64_t tokens, int64_t width, int64_t threads) {
    DISPATCH(rms_norm_backward(IN(grad_out), grad_stride, IN(x), weight, inverse_rms, IN(residual_grad),
                               OUT(grad_x), tokens, width, threads))
}

void luthier_gated(int64_t is_bf16, int64_t is_gelu, const void* gate_up, void* out, int64_t out_stride, int64_t tokens,
                   int64_t width, int64_t threads) {
    if (is_gelu) { DISPATCH(gated<true>(IN(gate_up), OUT(out), out_stride, tokens, width, threads)) }
    else { DISPATCH(gated<false>(IN(gate_up), OUT(out), out_stride, tokens, width, threads)) }
}

void luthier_gated_backward(int64_t is_bf16, int64_t is_gelu, const void* grad_out, int64_t grad_stride,
                            const void* gate_up, void* grad_gate_up, void* activation, int64_t tokens, int64_t width,
                            int64_t threads) {
    if (is_gelu) {
        DISPATCH(gated_backward<true>(IN(grad_out), grad_stride, IN(gate_up), OUT(grad_gate_up), OUT(activation),
                                      tokens, width, threads))
    } else {
        DISPATCH(gated_backward<false>(IN(grad_out), grad_stride, IN(gate_up), OUT(grad_gate_up), OUT(activation),
                                       tokens, width, threads))
    }
}

void luthier_apply_rotary(int64_t is_bf16, void* x, int64_t stride, int64_t head_stride, const void* cos,
                          const void* sin, float sign, int64_t tokens, int64_t heads, int64_t head_width,
                          int64_t threads) {
    DISPATCH(apply_rotary(OUT(x), stride, head_stride, IN(cos), IN(sin), sign, tokens, heads, head_width, threads))
}

void luthier_log_softmax_at(int64_t is_bf16, void* logits, const int64_t* targets, float* logprobs, uint8_t* is_argmax,
                            int64_t rows, int64_t vocabulary, int64_t threads) {
    DISPATCH(log_softmax_at(OUT(logits), targets, logprobs, is_argmax, rows, vocabulary, threads))
}

void luthier_attend(int64_t is_bf16, const void* q, int64_t q_stride, const void* k, const void* v, int64_t kv_stride,
                    void* out, float* logsumexp, float scale, float softcap, int64_t window, const Span* spans,
                    int64_t count, int64_t tokens, int64_t heads, int64_t kv_heads, int64_t head_width,
                    int64_t threads) {
    AttentionShape shape(spans, count, window, tokens, heads, kv_heads, head_width);
    if (is_bf16 && amx::available()) {
        using T = bf16;
        amx::attend(IN(q), q_stride, IN(k), IN(v), kv_stride, OUT(out), logsumexp, scale, softcap, shape, threads);
    } else {
        DISPATCH(attend(IN(q), q_stride, IN(k), IN(v), kv_stride, OUT(out), logsumexp, scale, softcap, shape, threads))
    }
}

void luthier_attend_backward(int64_t is_bf16, const void* grad_out, const void* q, int64_t q_stride, const void* k,
                             const void* v, int64_t kv_stride, const void* out, const float* logsumexp, void* grad_q,
                             int64_t grad_q_stride, void* grad_k, void* grad_v, int64_t grad_kv_stride, float scale,
                             float softcap, int64_t window, const Span* spans, int64_t count, int64_t tokens,
                             int64_t heads, int64_t kv_heads, int64_t head_width, int64_t threads) {
    AttentionShape shape(spans, count, window, tokens, heads, kv_heads, head_width);
    if (is_bf16 && amx::available()) {
        using T = bf16;
        amx::attend_backward(IN(grad_out), IN(q), q_stride, IN(k), IN(v), kv_stride, IN(out), logsumexp, OUT(grad_q),
                             grad_q_stride, OUT(grad_k), OUT(grad_v), grad_kv_stride, scale, softcap, shape, threads);
    } else {
        DISPATCH(attend_backward(IN(grad_out), IN(q), q_stride, IN(k), IN(v), kv_stride, IN(out), logsumexp,
                                 OUT(grad_q), grad_q_stride, OUT(grad_k), OUT(grad_v), grad_kv_stride, scale, softcap,
                                 shape, threads))
    }
}

void luthier_lora_linear(int64_t, const bf16* x, const bf16* a, const bf16* weight, const bf16* residual, bf16* low,
                         bf16* out, int64_t tokens, int64_t inputs, int64_t rank, int64_t outputs, int64_t threads) {
    amx::lora_linear(x, a, weight, residual, low, out, tokens, inputs, rank, outputs, threads);
}

void luthier_lora_linear_backward(int64_t, const bf16* grad_out, const bf16* a, const bf16* weight, bf16* grad_low,
                                  bf16* grad_x, int64_t tokens, int64_t inputs, int64_t rank, int64_t outputs,
                                  int64_t threads) {
    amx::lora_linear_backward(grad_out, a, weight, grad_low, grad_x, tokens, inputs, rank, outputs, threads);
}

void luthier_lora_factors_backward(int64_t, const bf16* low, const bf16* grad_low, const bf16* x, const bf16* grad_out,
                                   float* grad_a, float* grad_b, int64_t tokens, int64_t inputs, int64_t rank,
                                   int64_t outputs, int64_t threads) {
    amx::lora_factors_backward(low, grad_low, x, grad_out, grad_a, grad_b, tokens, inputs, rank, outputs, threads);
}

void luthier_lm_head(int64_t, const bf16* x, const bf16* weight, const int64_t* targets, float* logprobs,
                     uint8_t* is_argmax, bf16* grad_x, float softcap, int64_t rows, int64_t width, int64_t vocabulary,
                     int64_t threads) {
    amx::lm_head(x, weight, targets, logprobs, is_argmax, grad_x, softcap, rows, width, vocabulary, threads);
}
}
