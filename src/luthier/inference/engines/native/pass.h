// What Python passes to `forward.cpp`: integers and addresses, 8 bytes each, in this order. `library.py` has the fields of
// ForwardPass, `runner.py` fills them in, and `packed_lora.py` lays out the adapters.
//
// H query heads, G key/value heads, K head width, P the head width rounded up to 32.

#pragma once

#include <cstdint>

namespace {

struct Layer {  // bytes: packed weights, see `formats.h`
    const float* input_norm;
    const uint8_t* qkv;
    const float* qkv_bias;  // [HK + 2GK] or null
    const uint8_t* out;
    const float* post_attention_norm;
    const uint8_t *gate_up, *down;
};

enum Projection { QKV, OUT, GATE_UP, DOWN };

template <class T> struct Adapter {
    struct Factors {
        int64_t rank, panel_rank;      // columns of A, a multiple of 16; rows of B in each panel
        int64_t a_offset, b_offset;    // in a layer
        const int64_t* starts;         // [panels]: the column of x A at which a panel of B begins
    };
    const T* data;  // all layers, `layer_size` elements each
    int64_t layer_size;
    Factors projections[4];
};

struct Sequence {  // `count` tokens of the pass from `begin` on, after `past` tokens in the KV cache
    int64_t begin, count, past, first_block, adapter;  // first_block: in the block table; adapter: -1 for none
};

template <class T> struct ForwardPass {
    // The model. `embeddings` is null when tied to the LM head.
    int64_t layer_count, hidden_size, heads, kv_heads, head_width, intermediate_size, vocabulary_size;
    const Layer* layers;
    const float* final_norm;
    const uint8_t* lm_head;
    const void* embeddings;  // in the dtype of the weights
    const float *cos, *sin;  // [positions, K], of which the second half repeats the first
    // The KV cache: for each layer blocks of keys [G, P, 64] and of values [G, 64, P].
    T* const* keys;
    T* const* values;
    const Adapter<T>* const* adapters;
    // The pass. `output_rows`: the tokens whose logits [N, vocabulary], or last hidden states [N, D], go to `out`.
    int64_t token_count, sequence_count;
    const int32_t* token_ids;
    const Sequence* sequences;
    const int32_t* block_table;
    int64_t output_count, returns_hidden;
    const int32_t* output_rows;
    float* out;
    int64_t threads;
};

}  // namespace
