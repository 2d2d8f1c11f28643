// A forward pass of a Llama-like decoder for serving: chunks of several sequences, each with its own LoRA adapter, from
// token ids to logits.
//
// Compiled once for each CPU tier; `formats.h` says what differs. Weights lie in panels of 32 outputs, the order in which
// the products read them. Residuals and sums are float32; operands of products are rounded to the format's dtype.
// Batch-invariant: the numbers of a token have the same bits whatever else is in the pass.
//
// T tokens, D hidden size, H query heads, G key/value heads, K head width, I intermediate size. P and "padded": rounded
// up to 32, with zeros beyond.

#if defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__linux__)
#define HAS_AMX
#include "kernels_amx.h"
#elif defined(__AVX512BF16__)
#include "kernels_avx512.h"
#endif
#include "kernels_float32.h"
#include "product_speed.h"
#include "tasks.h"
#include <new>

namespace {

constexpr int64_t CACHED_BYTES = 640 * 1024;  // of panels, which stay in a core's L2 cache
constexpr float MINUS_INFINITY = -1e30f;

// F: the format; Panel: the layout of the weights, one that F can multiply with.
template <class F, class Panel> class Forward {
    using T = typename F::T;
    using Factors = typename F::Factors;
#ifdef SUMS_INTEGERS
    static constexpr bool INTEGERS = std::is_same_v<Panel, BytePairs>;
    using Left = std::conditional_t<INTEGERS, InputBlock, T>;  // what weights are multiplied with
#else
    static constexpr bool INTEGERS = false;
    using Left = T;
#endif
    static constexpr int64_t LEFT_INPUTS = INTEGERS ? STEP : 1;
    const ForwardPass<T>& p;
    const float epsilon, scale;
    // D, HK, I, K and HK + 2GK padded; the columns of x A.
    const int64_t hidden_width, heads_width, inner_width, head_width, qkv_width, low_width;
    const Tasks tasks;
    float *x, *qkv;
    T *normed, *outputs, *attended, *activation, *low;
    Left* rounded;  // the left rows of the product that is computed, if they are rounded to integers

  public:
    Forward(const ForwardPass<T>& p, float epsilon)
        : p(p), epsilon(epsilon), scale(1 / __builtin_sqrtf(p.head_width)), hidden_width(round_up(p.hidden_size)),
          heads_width(round_up(p.heads * p.head_width)), inner_width(round_up(p.intermediate_size)),
          head_width(round_up(p.head_width)), qkv_width(round_up((p.heads + 2 * p.kv_heads) * p.head_width)),
          low_width(widest_low(p)), tasks(p) {
        const int64_t rows = tasks.first_run.size() * ROWS - ROWS, output_rows = round_up(p.output_count);
        const int64_t widest = std::max({hidden_width, heads_width, inner_width});
        const int64_t row_bytes = 4 * (hidden_width + qkv_width) + INTEGERS * sizeof(Left) * (widest / LEFT_INPUTS) +
                                  sizeof(T) * (hidden_width + p.heads * head_width + heads_width + inner_width);
        char* free_memory = thread_memory<Tasks>(
            row_bytes * rows + sizeof(T) * (output_rows * hidden_width + tasks.runs.size() * ROWS * low_width) + 9 * 64);
        take(free_memory, x, rows * hidden_width), take(free_memory, qkv, rows * qkv_width);
        take(free_memory, normed, rows * hidden_width), take(free_memory, outputs, output_rows * hidden_width);
        take(free_memory, attended, rows * heads_width), take(free_memory, activation, rows * inner_width);
        take(free_memory, queries, rows * p.heads * head_width);
        take(free_memory, rounded, INTEGERS ? rows * (widest / LEFT_INPUTS) : 0);
        take(free_memory, low, tasks.runs.size() * ROWS * low_width);
        if (heads_width > p.heads * p.head_width) memset(attended, 0, sizeof(T) * rows * heads_width);
        if (inner_width > round_up(p.intermediate_size, HALF_PANEL)) memset(activation, 0, sizeof(T) * rows * inner_width);
    }

    void run() {
#pragma omp parallel num_threads(p.threads)
        {
            typename F::ThreadState state;
            Scratch<T> scratch(head_width);
            embed();
            for (int64_t index = 0; index < p.layer_count; index++) {
                const Layer& layer = p.layers[index];
                rms_norm_all(layer.input_norm);
                project(normed, hidden_width, layer.qkv, qkv_width, index, QKV,
                        [&](auto row, auto count, auto panel, auto c) {
                    float* to = qkv + row * qkv_width + panel * PANEL;
                    for (int64_t r = 0; r < count; r++, to += qkv_width, c += PANEL)
                        for (int64_t n = 0; n < PANEL; n += W)
                            put(to + n, get(c + n) + (layer.qkv_bias ? get(layer.qkv_bias + panel * PANEL + n) : V{}));
                });
                rotate_and_cache(index, scratch);
                attend(index, scratch);
                auto add_to_residual = [&](int64_t row, int64_t count, int64_t panel, const float* c) {
                    float* to = x + row * hidden_width + panel * PANEL;
                    for (int64_t r = 0; r < count; r++, to += hidden_width, c += PANEL)
                        for (int64_t n = 0; n < PANEL; n += W) put(to + n, get(to + n) + get(c + n));
                };
                project(attended, heads_width, layer.out, p.hidden_size, index, OUT, add_to_residual);
                rms_norm_all(layer.post_attention_norm);
                const int64_t gate_up_width = 2 * round_up(p.intermediate_size, HALF_PANEL);
                project(normed, hidden_width, layer.gate_up, gate_up_width, index, GATE_UP,
                        [&](auto row, auto count, auto panel, auto c) {
                    T* to = activation + row * inner_width + panel * HALF_PANEL;
                    for (int64_t r = 0; r < count; r++, to += inner_width, c += PANEL)
                        for (int64_t n = 0; n < HALF_PANEL; n += W) {
                            V gate = get(c + n);
                            F::store(to + n, gate * F::sigmoid(gate) * get(c + HALF_PANEL + n));
                        }
                });
                project(activation, inner_width, layer.down, p.hidden_size, index, DOWN, add_to_residual);
            }
            write_outputs();
        }
    }

  private:
    T* queries;  // [T, H, P]

    static V get(const float* from) { return *(const UnalignedV*)from; }
    static void put(float* to, V x) { *(UnalignedV*)to = x; }

    void embed() {
#pragma omp for schedule(static) nowait
        for (int64_t row = 0; row < p.token_count; row++) {
            const int64_t id = p.token_ids[row];
            const auto* embedding = (const typename Panel::Element*)p.embeddings + id * p.hidden_size;
            const Panel panel(p.lm_head + id / PANEL * Panel::bytes(hidden_width));
            float* to = x + row * hidden_width;
            for (int64_t i = 0; i < p.hidden_size; i++)
                to[i] = p.embeddings ? to_float(embedding + i) : panel.at(i, id % PANEL);
            for (int64_t i = p.hidden_size; i < hidden_width; i++) to[i] = 0;
        }
        // Zeroes new value blocks: a probability of 0 times a stale NaN would be NaN.
#pragma omp for schedule(static)
        for (int64_t layer = 0; layer < p.layer_count; layer++)
            for (int64_t row = 0; row < p.token_count; row++)
                if (tasks.positions[row] % BLOCK == 0)
                    memset(p.values[layer] + block_offset(row, tasks.positions[row]), 0,
                           sizeof(T) * p.kv_heads * BLOCK * head_width);
    }

    int64_t block_offset(int64_t row, int64_t position) const {
        const Sequence& sequence = p.sequences[tasks.sequence_of[row]];
        return p.block_table[sequence.first_block + position / BLOCK] * p.kv_heads * BLOCK * head_width;
    }

    float inverse_rms(const float* row) const {
        V squares = {};
        for (int64_t i = 0; i < hidden_width; i += W) squares += get(row + i) * get(row + i);
        return 1 / __builtin_sqrtf(reduce_sum(squares) / p.hidden_size + epsilon);
    }

    void rms_norm(const float* row, const float* weight, T* to) const {
        const float factor = inverse_rms(row);
        for (int64_t i = 0; i < hidden_width; i += W) F::store(to + i, get(row + i) * factor * get(weight + i));
    }

    void rms_norm_all(const float* weight) {
#pragma omp for schedule(static)
        for (int64_t row = 0; row < p.token_count; row++)
            rms_norm(x + row * hidden_width, weight, normed + row * hidden_width);
    }

    // low = x A for every run; rows outside the run are zero.
    void multiply_a(const T* left, int64_t depth, int64_t layer, Projection projection) {
#pragma omp for schedule(dynamic)
        for (size_t task = 0; task < tasks.runs.size() * (low_width / HALF_PANEL); task++) {
            const int64_t run = task / (low_width / HALF_PANEL), column = task % (low_width / HALF_PANEL) * HALF_PANEL;
            const Adapter<T>& adapter = *p.adapters[tasks.runs[run].adapter];
            const auto& factors = adapter.projections[projection];
            T* to = low + run * ROWS * low_width + column;
            const int64_t first = tasks.runs[run].from / F::GROUP * F::GROUP;
            const T* rows = left + (tasks.block_of(run) * ROWS + first) * depth;
            alignas(64) float c[ROWS * HALF_PANEL] = {};
            if (column < factors.rank) {
                const T* panel = adapter.data + layer * adapter.layer_size + factors.a_offset + column * depth;
                const Term<T, Factors> term = {rows, depth, depth, F::factors(panel, HALF_PANEL)};
                F::template multiply<HALF_PANEL>(term, nullptr, 0, tasks.runs[run].to - first, c + first * HALF_PANEL);
            }
            for (int64_t r = 0; r < ROWS; r++)
                for (int64_t n = 0; n < HALF_PANEL; n += W) {
                    const bool in_run = tasks.runs[run].from <= r && r < tasks.runs[run].to;
                    F::store(to + r * low_width + n, in_run ? get(c + r * HALF_PANEL + n) : V{});
                }
        }
    }

    template <class Finish> void project(const T* left, int64_t depth, const uint8_t* panels, int64_t columns,
                                         int64_t layer, Projection projection, Finish finish) {
        const Left* operand = left_operand(left, depth, p.token_count, !tasks.runs.empty());
        if (!tasks.runs.empty()) multiply_a(left, depth, layer, projection);
        auto lora_terms = [&](int64_t block, int64_t panel, TermOfRows<T, Factors>* to) {
            int count = 0;
            for (int64_t run = tasks.first_run[block]; run < tasks.first_run[block + 1]; run++) {
                const Adapter<T>& adapter = *p.adapters[tasks.runs[run].adapter];
                const auto& factors = adapter.projections[projection];
                if (!factors.rank) continue;
                const T* b = adapter.data + layer * adapter.layer_size + factors.b_offset;
                const T* low_rows = low + run * ROWS * low_width + factors.starts[panel];
                const auto factors_of_panel = F::factors(b + panel * factors.panel_rank * PANEL, PANEL);
                to[count++] = {{low_rows, low_width, factors.panel_rank, factors_of_panel}, tasks.runs[run].from,
                               tasks.runs[run].to};
            }
            return count;
        };
        multiply(operand, depth, panels, round_up(columns) / PANEL, p.token_count, finish, lora_terms);
    }

    // The rows as weights are multiplied with them. Unless `barrier_follows`, all threads see them afterwards.
    const Left* left_operand(const T* left, int64_t depth, int64_t rows, bool barrier_follows) {
        if constexpr (INTEGERS) {
#pragma omp for schedule(static) nowait
            for (int64_t row = 0; row < rows; row++)
                round_inputs(left + row * depth, depth, rounded + row * (depth / STEP));
            if (!barrier_follows) {
#pragma omp barrier
            }
            return rounded;
        } else return left;
    }

    // Left times panels, plus the products of `more_terms`; `finish` gets each 32 rows by 32 columns of the result.
    template <class Finish, class MoreTerms>
    void multiply(const Left* left, int64_t depth, const uint8_t* panels, int64_t panel_count, int64_t rows, Finish finish,
                  MoreTerms more_terms) {
        using Wide = typename Panel::Wide;
        const int64_t blocks = round_up(rows) / ROWS, threads = omp_get_num_threads();
        const int64_t cached_parts = std::max<int64_t>(1, panel_count * Wide::bytes(depth) / CACHED_BYTES);
        // As many parts for each thread; rows are split, and panels widened once for each split, only where those are few.
        const int64_t parts = min64(panel_count, blocks > 1 ? round_up(cached_parts, threads) : threads);
        const int64_t splits = blocks > 1 ? min64(blocks, (threads + parts - 1) / parts) : 1;
        TermOfRows<T, Factors> more[ROWS];
        alignas(64) float c[ROWS * PANEL];
#pragma omp for schedule(dynamic)
        for (int64_t task = 0; task < parts * splits; task++) {
            const int64_t part = task / splits, split = task % splits;
            const int64_t first = panel_count * part / parts, end = panel_count * (part + 1) / parts;
            auto compute = [&](auto panel_at) {
                for (int64_t block = blocks * split / splits; block < blocks * (split + 1) / splits; block++)
                    for (int64_t panel = first; panel < end; panel++) {
                        const int64_t stride = depth / LEFT_INPUTS;
                        const Term<Left, decltype(panel_at(panel))> term = {left + block * ROWS * stride, stride, depth,
                                                                            panel_at(panel)};
                        const int count = more_terms(block, panel, more);
                        if constexpr (INTEGERS) {
                            multiply_integers(term, rows_in(block, rows), c);
                            add_terms<F, PANEL>(more, count, c);
                        } else F::template multiply<PANEL>(term, more, count, rows_in(block, rows), c);
                        finish(block * ROWS, rows_in(block, rows), panel, c);
                    }
            };
            auto stored = [&](int64_t panel) { return Panel(panels + panel * Panel::bytes(depth)); };
            if constexpr (!std::is_same_v<Panel, Wide>)
                if (blocks > 1) {
                    char* widened = thread_memory<Wide>((end - first) * Wide::bytes(depth));
                    auto wide = [&](int64_t panel) { return Wide(widened + (panel - first) * Wide::bytes(depth)); };
                    for (int64_t panel = first; panel < end; panel++)
                        stored(panel).widen(depth, widened + (panel - first) * Wide::bytes(depth));
                    compute(wide);
                    continue;
                }
            compute(stored);
        }
    }

    // Rotates queries and keys (Su et al., 2021); writes keys and values to the KV cache.
    void rotate_and_cache(int64_t layer, const Scratch<T>& scratch) {
        const int64_t half = p.head_width / 2, qkv_heads = p.heads + 2 * p.kv_heads;
        float* rotated = scratch.rotated;
#pragma omp for schedule(static)
        for (int64_t task = 0; task < p.token_count * qkv_heads; task++) {
            const int64_t row = task / qkv_heads, head = task % qkv_heads, position = tasks.positions[row];
            const int64_t kv_head = (head - p.heads) % p.kv_heads;
            const float *from = qkv + row * qkv_width + head * p.head_width;
            const float *cos = p.cos + position * p.head_width, *sin = p.sin + position * p.head_width;
            const bool is_value = head >= p.heads + p.kv_heads;
            for (int64_t i = 0; i < half; i++) {
                rotated[i] = is_value ? from[i] : from[i] * cos[i] - from[half + i] * sin[i];
                rotated[half + i] = is_value ? from[half + i] : from[half + i] * cos[i] + from[i] * sin[i];
            }
            for (int64_t i = p.head_width; i < head_width; i++) rotated[i] = 0;
            T* to = head < p.heads ? queries + (row * p.heads + head) * head_width : scratch.rounded;
            for (int64_t i = 0; i < head_width; i += W) F::store(to + i, get(rotated + i));
            if (head < p.heads) continue;
            T* block = (is_value ? p.values : p.keys)[layer] + block_offset(row, position) + kv_head * BLOCK * head_width;
            (is_value ? F::store_value : F::store_key)(block, position % BLOCK, scratch.rounded, head_width);
        }
    }

    // A row of scores [64], of which `visible` count, to exponentials relative to the row's reference: its maximum when
    // it was set. Where a score exceeds it by `GROWTH` or more, it is set again, and the row's sums and output are
    // rescaled. So all exponentials are small enough, and few blocks of keys need the maximum of their scores.
    void online_softmax(const float* scores, T* exponentials, int64_t visible, float& reference, V& sums,
                        float* out) const {
        constexpr float GROWTH = 8;
        V scaled[BLOCK / W], maxima = broadcast(MINUS_INFINITY), column;
        for (int64_t i = 0; i < BLOCK / W; i++) scaled[i] = get(scores + i * W) * scale;
        if (visible < BLOCK) {
            for (int64_t i = 0; i < W; i++) column[i] = i;
            for (int64_t i = 0; i < BLOCK / W; i++, column += W)
                scaled[i] = column < broadcast(float(visible)) ? scaled[i] : broadcast(MINUS_INFINITY);
        }
        for (int64_t i = 0; i < BLOCK / W; i++) maxima = vmax(scaled[i], maxima);
        if (any_greater(maxima, broadcast(reference + GROWTH))) {
            const float maximum = reduce_max(maxima);
            const V rescale = F::vexp(broadcast(reference - maximum));
            for (int64_t i = 0; i < head_width; i += W) put(out + i, get(out + i) * rescale);
            sums *= rescale;
            reference = maximum;
        }
        for (int64_t i = 0; i < BLOCK / W; i++) {
            const V exponential = F::vexp(scaled[i] - reference);
            sums += exponential;
            F::store(exponentials + i * W, exponential);
        }
    }

    // A task is one key/value head of 32 rows: tokens times the query heads that share it.
    void attend(int64_t layer, const Scratch<T>& scratch) {
        const int64_t heads_per_kv = p.heads / p.kv_heads, block_size = BLOCK * head_width;
        T *rows = scratch.queries, *probabilities = scratch.probabilities;
        float* out = scratch.out;
#pragma omp for schedule(dynamic)
        for (int64_t task = int64_t(tasks.attention_tasks.size()) * p.kv_heads - 1; task >= 0; task--) {
            const auto [index, first] = tasks.attention_tasks[task / p.kv_heads];
            const Sequence& sequence = p.sequences[index];
            const int64_t kv_head = task % p.kv_heads, count = min64(ROWS, sequence.count * heads_per_kv - first);
            float references[ROWS];
            V sums[ROWS] = {};
            for (float& reference : references) reference = MINUS_INFINITY;
            memset(out, 0, 4 * ROWS * head_width);
            auto token = [&](int64_t r) { return sequence.begin + (first + r) / heads_per_kv; };
            auto head = [&](int64_t r) { return kv_head * heads_per_kv + (first + r) % heads_per_kv; };
            for (int64_t r = 0; r < count; r++)
                memcpy(rows + r * head_width, queries + (token(r) * p.heads + head(r)) * head_width,
                       sizeof(T) * head_width);
            const int64_t last = sequence.past + (first + count - 1) / heads_per_kv;
            auto offset = [&](int64_t block) {
                return (p.block_table[sequence.first_block + block] * p.kv_heads + kv_head) * block_size;
            };
            auto score = [&](int64_t block) {  // alternating between two buffers
                float* to = scratch.scores + block % 2 * ROWS * BLOCK;
                F::score(rows, head_width, p.keys[layer] + offset(block), count, to);
                return to;
            };
            const float* scores = score(0);
            for (int64_t block = 0; block <= last / BLOCK; block++) {
                for (int64_t r = 0; r < count; r++) {
                    const int64_t visible = sequence.past + (first + r) / heads_per_kv + 1 - block * BLOCK;
                    if (visible > 0)
                        online_softmax(scores + r * BLOCK, probabilities + r * BLOCK, min64(visible, BLOCK), references[r],
                                       sums[r], out + r * head_width);
                    else memset(probabilities + r * BLOCK, 0, sizeof(T) * BLOCK);
                }
                // Before the probabilities are read: a tile cannot be loaded from stores that are still on their way.
                const float* next = block < last / BLOCK ? score(block + 1) : nullptr;
                F::accumulate_values(probabilities, p.values[layer] + offset(block), head_width, count, out);
                scores = next;
            }
            for (int64_t r = 0; r < count; r++) {
                const float sum = reduce_sum(sums[r]);
                for (int64_t i = 0; i < head_width; i += W) F::store(rows + i, get(out + r * head_width + i) / sum);
                memcpy(attended + token(r) * heads_width + head(r) * p.head_width, rows, sizeof(T) * p.head_width);
            }
        }
    }

    void write_outputs() {
#pragma omp for schedule(static)
        for (int64_t i = 0; i < p.output_count; i++) {
            const float* row = x + p.output_rows[i] * hidden_width;
            if (!p.returns_hidden) {
                rms_norm(row, p.final_norm, outputs + i * hidden_width);
                continue;
            }
            const float factor = inverse_rms(row);
            for (int64_t n = 0; n < p.hidden_size; n++)
                p.out[i * p.hidden_size + n] = row[n] * factor * p.final_norm[n];
        }
        if (p.returns_hidden || !p.output_count) return;
        auto copy_logits = [&](int64_t row, int64_t count, int64_t panel, const float* c) {
            const int64_t columns = min64(PANEL, p.vocabulary_size - panel * PANEL);
            for (int64_t r = 0; r < count; r++)
                memcpy(p.out + (row + r) * p.vocabulary_size + panel * PANEL, c + r * PANEL, 4 * columns);
        };
        auto no_more_terms = [](int64_t, int64_t, TermOfRows<T, Factors>*) { return 0; };
        const Left* operand = left_operand(outputs, hidden_width, p.output_count, false);
        multiply(operand, hidden_width, p.lm_head, round_up(p.vocabulary_size) / PANEL, p.output_count, copy_logits,
                 no_more_terms);
    }
};

#ifdef HAS_AMX
using Bf16Format = AmxBf16;
using Bf16Bytes = QuantizedTiles;
#elif defined(__AVX512BF16__)
using Bf16Format = Avx512Bf16;
using Bf16Bytes = BytePairs;
#endif
#ifdef SUMS_INTEGERS
using Float32Bytes = BytePairs;
#else
using Float32Bytes = WidenedBytes;
#endif

enum WeightType { FLOAT32, BFLOAT16, INT8 };

template <class F, class Panel> void run(const void* pass, float epsilon) {
    Forward<F, Panel>(*(const ForwardPass<typename F::T>*)pass, epsilon).run();
}

}  // namespace

extern "C" {

int64_t luthier_has_amx() {
#ifdef HAS_AMX
    return amx::available();
#else
    return false;
#endif
}

// Whether activations can be bfloat16.
int64_t luthier_computes_bf16() {
#ifdef __AVX512BF16__
    return true;
#else
    return false;
#endif
}

// Whether the integers of weights in 8 bits stand in pairs of inputs, for activations of that dtype.
int64_t luthier_pairs_bytes(int64_t is_bf16) {
#ifdef SUMS_INTEGERS
    return true;
#else
    return is_bf16;
#endif
}

// How many times as fast as in float32 this CPU multiplies in bfloat16, by a measurement on one thread; where activations
// can be bfloat16.
double luthier_bf16_speedup() {
#ifdef __AVX512BF16__
    return product_seconds<Float32, FloatPanel>() / product_seconds<Bf16Format, Tiles>();
#else
    return 0;
#endif
}

// `is_bf16`: activations, KV blocks and adapters are bfloat16, and weights bfloat16 or 8 bits; else float32, with weights
// of any type. Returns false when memory runs out.
int64_t luthier_forward(int64_t is_bf16, int64_t weight_type, float epsilon, const void* pass) {
    try {
#ifdef __AVX512BF16__
        if (is_bf16) {
            if (weight_type == INT8) run<Bf16Format, Bf16Bytes>(pass, epsilon);
            else run<Bf16Format, Tiles>(pass, epsilon);
            return true;
        }
#endif
        if (weight_type == INT8) run<Float32, Float32Bytes>(pass, epsilon);
        else if (weight_type == BFLOAT16) run<Float32, WidenedPanel>(pass, epsilon);
        else run<Float32, FloatPanel>(pass, epsilon);
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}
}
