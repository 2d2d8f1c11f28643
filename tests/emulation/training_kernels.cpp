// Writes what the kernels of training compute from random numbers, in float32 and bfloat16, as float32 to standard
// output: the same on every CPU, but for rounding.

#include "kernels.cpp"
#include <cstdio>
#include <random>

constexpr int64_t TOKENS = 90, WIDTH = 40, HEADS = 4, KV_HEADS = 2, HEAD_WIDTH = 12;
constexpr int64_t QUERY_SIZE = HEADS * HEAD_WIDTH, KEY_SIZE = KV_HEADS * HEAD_WIDTH;

std::mt19937 generator(7);

struct Rows {  // in the dtype of the kernels' void pointers
    int64_t is_bf16;
    std::vector<float> floats;
    std::vector<bf16> halves;

    Rows(int64_t is_bf16, int64_t count, float spread) : is_bf16(is_bf16), floats(count + W), halves(count + W) {
        for (int64_t i = 0; i < count; i++) {
            floats[i] = spread * (float(generator()) / 2147483648.0f - 1);
            halves[i].bits = __builtin_bit_cast(uint32_t, floats[i]) >> 16;
        }
    }
    void* data() { return is_bf16 ? (void*)halves.data() : (void*)floats.data(); }
    void write() {
        for (size_t i = 0; i + W < floats.size(); i++) {
            const float value = is_bf16 ? to_float(&halves[i]) : floats[i];
            fwrite(&value, sizeof(float), 1, stdout);
        }
    }
};

void elementwise(int64_t is_bf16) {
    Rows x(is_bf16, TOKENS * WIDTH, 3), grad(is_bf16, TOKENS * WIDTH, 1), out(is_bf16, TOKENS * WIDTH, 0);
    Rows weight(0, WIDTH, 2), inverse_rms(0, TOKENS, 0);
    const float* weights = weight.floats.data();
    luthier_rms_norm(is_bf16, x.data(), weights, 1e-5f, 0, out.data(), WIDTH, inverse_rms.floats.data(), TOKENS, WIDTH, 2);
    out.write();
    luthier_rms_norm_backward(is_bf16, grad.data(), WIDTH, x.data(), weights, inverse_rms.floats.data(), grad.data(),
                              out.data(), TOKENS, WIDTH, 2);
    out.write();
    for (int64_t is_gelu : {0, 1}) {
        Rows gate_up(is_bf16, 2 * TOKENS * WIDTH, 4), grad_gate_up(is_bf16, 2 * TOKENS * WIDTH, 0);
        luthier_gated(is_bf16, is_gelu, gate_up.data(), out.data(), WIDTH, TOKENS, WIDTH, 2);
        out.write();
        luthier_gated_backward(is_bf16, is_gelu, grad.data(), WIDTH, gate_up.data(), grad_gate_up.data(), out.data(),
                               TOKENS, WIDTH, 2);
        out.write(), grad_gate_up.write();
    }
    Rows cos(is_bf16, TOKENS * WIDTH / 2, 1), sin(is_bf16, TOKENS * WIDTH / 2, 1);
    luthier_apply_rotary(is_bf16, x.data(), WIDTH, WIDTH, cos.data(), sin.data(), -1, TOKENS, 1, WIDTH, 2);
    x.write();
    Rows logits(is_bf16, TOKENS * WIDTH, 9), logprobs(0, TOKENS, 0);
    std::vector<int64_t> targets(TOKENS);
    std::vector<uint8_t> is_argmax(TOKENS);
    for (int64_t i = 0; i < TOKENS; i++) targets[i] = 7 * i % WIDTH;
    luthier_log_softmax_at(is_bf16, logits.data(), targets.data(), logprobs.floats.data(), is_argmax.data(), TOKENS,
                           WIDTH, 2);
    logits.write(), logprobs.write();
}

// Over a prefix of 70 tokens that two segments share; a soft cap of 0 and a window of 0 are none.
void attention(int64_t is_bf16, float softcap, int64_t window) {
    const Span spans[] = {{0, 70, TOKENS, -1}, {70, 82, 82, 0}, {82, TOKENS, TOKENS, 0}};
    Rows q(is_bf16, TOKENS * QUERY_SIZE, 2), k(is_bf16, TOKENS * KEY_SIZE, 2), v(is_bf16, TOKENS * KEY_SIZE, 1);
    Rows out(is_bf16, TOKENS * QUERY_SIZE, 0), grad(is_bf16, TOKENS * QUERY_SIZE, 1), logsumexp(0, TOKENS * HEADS, 0);
    luthier_attend(is_bf16, q.data(), QUERY_SIZE, k.data(), v.data(), KEY_SIZE, out.data(), logsumexp.floats.data(), 0.3f,
                   softcap, window, spans, 3, TOKENS, HEADS, KV_HEADS, HEAD_WIDTH, 2);
    out.write(), logsumexp.write();
    Rows grad_q(is_bf16, TOKENS * QUERY_SIZE, 0), grad_k(is_bf16, TOKENS * KEY_SIZE, 0);
    Rows grad_v(is_bf16, TOKENS * KEY_SIZE, 0);
    luthier_attend_backward(is_bf16, grad.data(), q.data(), QUERY_SIZE, k.data(), v.data(), KEY_SIZE, out.data(),
                            logsumexp.floats.data(), grad_q.data(), QUERY_SIZE, grad_k.data(), grad_v.data(), KEY_SIZE,
                            0.3f, softcap, window, spans, 3, TOKENS, HEADS, KV_HEADS, HEAD_WIDTH, 2);
    grad_q.write(), grad_k.write(), grad_v.write();
}

int main() {
    for (int64_t is_bf16 : {0, 1}) elementwise(is_bf16), attention(is_bf16, 0, 0), attention(is_bf16, 5, 20);
}
