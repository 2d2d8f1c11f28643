// Writes the outputs of forward passes over random weights, for every type of them, as float32 to standard output: the
// same numbers on every CPU, but for rounding. Of each type: logits of two sequences in one pass, one of them with an
// adapter; of the first alone, in two passes; and hidden states.

#include "forward.cpp"
#include <cstdio>
#include <random>

constexpr int64_t LAYERS = 2, HIDDEN = 64, HEADS = 4, KV_HEADS = 2, WIDTH = 16, INNER = 96, VOCABULARY = 130;
constexpr int64_t PADDED_WIDTH = 32, BLOCKS = 6, RANK = 16, PANEL_RANK = 32, LONG = 70, SHORT = 3;
constexpr int64_t LOGIT_COLUMNS = 160;  // VOCABULARY in whole panels

std::mt19937 generator(7);

float random_number(float spread) { return spread * (float(generator()) / 2147483648.0f - 1); }

std::vector<float> floats(int64_t count, float spread, float mean = 0) {
    std::vector<float> values(count);
    for (float& value : values) value = mean + random_number(spread);
    return values;
}

uint16_t upper_half(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits >> 16;
}

// A matrix in the layout of `panels.py`: any numbers are panels of some matrix.
std::vector<uint8_t> panels(WeightType type, int64_t outputs, int64_t inputs, float spread) {
    const int64_t count = outputs * inputs;
    std::vector<uint8_t> bytes(type == INT8 ? count / PANEL / STEP * QuantizedPanel::BLOCK_BYTES : count * (type ? 2 : 4));
    for (int64_t i = 0; i < count; i++) {
        const float value = random_number(spread);
        if (type == FLOAT32) memcpy(&bytes[4 * i], &value, 4);
        if (type == BFLOAT16) ((uint16_t*)bytes.data())[i] = upper_half(value);
        if (type == INT8) {
            uint8_t* block = &bytes[i / (PANEL * STEP) * QuantizedPanel::BLOCK_BYTES];
            block[2 * PANEL + i % (PANEL * STEP)] = int8_t(value / spread * 127);
            ((uint16_t*)block)[i % PANEL] = upper_half(spread / 127);
        }
    }
    return bytes;
}

struct Model {
    WeightType type;
    std::vector<std::vector<uint8_t>> matrices;
    std::vector<std::vector<float>> vectors;
    std::vector<Layer> layers;
    std::vector<std::vector<float>> cache;
    std::vector<float*> keys, values;
    std::vector<int64_t> starts = std::vector<int64_t>(8, 0);
    Adapter<float> adapter = {};
    const Adapter<float>* adapters[1] = {&adapter};
    ForwardPass<float> pass = {};

    explicit Model(WeightType type) : type(type) {
        for (int64_t index = 0; index < LAYERS; index++) {
            layers.push_back({vector(HIDDEN, 1), matrix((HEADS + 2 * KV_HEADS) * WIDTH, HIDDEN), vector(128, 0),
                              matrix(HIDDEN, HEADS * WIDTH), vector(HIDDEN, 1), matrix(2 * INNER, HIDDEN),
                              matrix(HIDDEN, INNER)});
            for (auto* parts : {&keys, &values}) {
                cache.push_back(floats(BLOCKS * KV_HEADS * PADDED_WIDTH * BLOCK, 1));
                parts->push_back(cache.back().data());
            }
        }
        const int64_t inputs[] = {HIDDEN, HEADS * WIDTH, HIDDEN, INNER};
        const int64_t outputs[] = {(HEADS + 2 * KV_HEADS) * WIDTH, HIDDEN, 2 * INNER, HIDDEN};
        for (int64_t index = 0; index < 4; index++) {
            adapter.projections[index] = {RANK, PANEL_RANK, adapter.layer_size,
                                          adapter.layer_size + RANK * inputs[index], starts.data()};
            adapter.layer_size += RANK * inputs[index] + PANEL_RANK * outputs[index];
        }
        vectors.push_back(floats(LAYERS * adapter.layer_size, 0.1f));
        adapter.data = vectors.back().data();
        pass.layer_count = LAYERS, pass.hidden_size = HIDDEN, pass.heads = HEADS, pass.kv_heads = KV_HEADS;
        pass.head_width = WIDTH, pass.intermediate_size = INNER, pass.vocabulary_size = VOCABULARY;
        pass.layers = layers.data(), pass.final_norm = vector(HIDDEN, 1), pass.lm_head = matrix(LOGIT_COLUMNS, HIDDEN);
        pass.keys = keys.data(), pass.values = values.data(), pass.adapters = adapters, pass.threads = 2;
        vectors.push_back({}), vectors.push_back({});
        std::vector<float>&sin = vectors.back(), &cos = vectors[vectors.size() - 2];
        for (int64_t i = 0; i < 2 * LONG * WIDTH; i++) {
            const double angle = (i / WIDTH) / __builtin_pow(100, double(i % (WIDTH / 2)) / WIDTH);
            cos.push_back(__builtin_cos(angle)), sin.push_back(__builtin_sin(angle));
        }
        pass.cos = cos.data(), pass.sin = sin.data();
    }

    const float* vector(int64_t count, float mean) {
        vectors.push_back(floats(count, 0.3f, mean));
        return vectors.back().data();
    }

    const uint8_t* matrix(int64_t outputs, int64_t inputs) {
        matrices.push_back(panels(type, outputs, inputs, 0.3f));
        return matrices.back().data();
    }

    // Writes the outputs of all tokens of a pass.
    void run(const std::vector<Sequence>& sequences, bool hidden) {
        std::vector<int32_t> ids, rows, blocks = {1, 2, 3, 4, 5};
        for (const Sequence& sequence : sequences)
            for (int64_t i = 0; i < sequence.count; i++) {
                ids.push_back((7 * (sequence.past + i) + sequence.first_block) % VOCABULARY);
                rows.push_back(rows.size());
            }
        std::vector<float> out(ids.size() * (hidden ? HIDDEN : VOCABULARY));
        pass.token_count = pass.output_count = ids.size(), pass.sequence_count = sequences.size();
        pass.token_ids = ids.data(), pass.sequences = sequences.data(), pass.block_table = blocks.data();
        pass.output_rows = rows.data(), pass.out = out.data(), pass.returns_hidden = hidden;
        if (!luthier_forward(false, type, 1e-5f, &pass)) abort();
        fwrite(out.data(), sizeof(float), out.size(), stdout);
    }
};

int main() {
    for (WeightType type : {FLOAT32, BFLOAT16, INT8}) {
        Model model(type);
        const Sequence first = {0, LONG, 0, 0, -1}, second = {LONG, SHORT, 0, 2, 0};
        model.run({first, second}, false);
        model.run({{0, LONG - 1, 0, 0, -1}}, false);
        model.run({{0, 1, LONG - 1, 0, -1}}, false);
        model.run({first, second}, true);
    }
}
