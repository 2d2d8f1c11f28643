// Causal attention over packed rows, forward and backward, in float32 on SIMD registers; `attention.py` says what is
// computed, in PyTorch. `amx_attention.h` is the same in bfloat16 on AMX.
//
// A packed row is a forest of segments. The queries of a segment attend to its own keys, causally, and to all keys of
// its ancestors; with a window, to those of them that are near enough. Softmax is computed online, block of keys by
// block of keys (Milakov and Gimelshein, 2018; Dao et al., 2022).
//
// With a soft cap c, a score s becomes c tanh(s / c), whose slope is 1 - tanh^2; 0 stands for none.
//
// T tokens, H query heads, G key/value heads, K head width. Strides count elements, from token to token.

#pragma once

#include "simd.h"

constexpr int PANEL = W * REGISTER_VECS;
constexpr int BLOCK = 64;  // queries, and keys, that attention processes at a time
constexpr float MINUS_INFINITY = -1e30f;

// What of a causal product can differ from zero, for the row block that starts at i: everything, columns or terms (of
// the inner dimension) up to the block's last row, or terms from its first row on.
enum Extent { FULL, COLUMNS_UP_TO_ROW, TERMS_UP_TO_ROW, TERMS_FROM_ROW };

// C [M, N] (+)= A [M, K] B [K, N]; A's element (i, k) is a[i * row_stride + k * col_stride]. M and N are rounded up to
// whole register blocks, for which the caller has allocated memory.
template <bool ADD>
static inline void matmul(float* c, int64_t ldc, const float* a, int64_t row_stride, int64_t col_stride, const float* b,
                          int64_t ldb, int64_t m, int64_t n, int64_t k, Extent extent) {
    for (int64_t i = 0; i < m; i += REGISTER_ROWS) {
        int64_t columns = extent == COLUMNS_UP_TO_ROW && i + REGISTER_ROWS < n ? i + REGISTER_ROWS : n;
        int64_t terms = extent == TERMS_UP_TO_ROW && i + REGISTER_ROWS < k ? i + REGISTER_ROWS : k;
        for (int64_t j = 0; j < columns; j += PANEL) {
            V sums[REGISTER_ROWS][REGISTER_VECS] = {};
            for (int64_t l = extent == TERMS_FROM_ROW ? i : 0; l < terms; l++) {
                V right[REGISTER_VECS];
                for (int v = 0; v < REGISTER_VECS; v++) right[v] = load(b + l * ldb + j + v * W, W);
#pragma GCC unroll 8
                for (int r = 0; r < REGISTER_ROWS; r++) {
                    float left = a[(i + r) * row_stride + l * col_stride];
#pragma GCC unroll 2
                    for (int v = 0; v < REGISTER_VECS; v++) sums[r][v] += left * right[v];
                }
            }
#pragma GCC unroll 8
            for (int r = 0; r < REGISTER_ROWS; r++)
#pragma GCC unroll 2
                for (int v = 0; v < REGISTER_VECS; v++) {
                    float* to = c + (i + r) * ldc + j + v * W;
                    store(to, ADD ? load(to, W) + sums[r][v] : sums[r][v], W);
                }
        }
    }
}

struct Span { int64_t start, stop, end, parent; };  // a row of `Layout.segments`: own tokens, end of descendants, parent
struct Segment : Span { int64_t first_block, position; };  // position of its first token in an example

struct AttentionShape {
    int64_t tokens, heads, kv_heads, head_width, padded_width, window, blocks = 0;
    std::vector<Segment> segments;
    std::vector<int64_t> positions;  // of all tokens
    std::vector<int64_t> roots;  // largest first, so that threads finish together

    // `window`: the tokens that a query reaches back, itself included; 0 for all.
    AttentionShape(const Span* spans, int64_t count, int64_t window, int64_t tokens, int64_t heads, int64_t kv_heads,
                   int64_t head_width)
        : tokens(tokens), heads(heads), kv_heads(kv_heads), head_width(head_width),
          padded_width((head_width + PANEL - 1) / PANEL * PANEL), window(window ? window : tokens), positions(tokens) {
        for (int64_t i = 0; i < count; i++) {
            const Segment* parent = spans[i].parent < 0 ? nullptr : &segments[spans[i].parent];
            const int64_t position = parent ? parent->position + parent->stop - parent->start : 0;
            segments.push_back({spans[i], blocks, position});
            for (int64_t t = spans[i].start; t < spans[i].stop; t++) positions[t] = position + t - spans[i].start;
            blocks += (spans[i].stop - spans[i].start + BLOCK - 1) / BLOCK;
            if (spans[i].parent < 0) roots.push_back(i);
        }
        auto size = [&](int64_t i) { return spans[i].end - spans[i].start; };
        std::stable_sort(roots.begin(), roots.end(), [&](int64_t i, int64_t j) { return size(i) > size(j); });
    }

    // The first of the keys from `key` on that a query sees, by positions; what comes before is out of its window.
    int64_t first_visible(int64_t query, int64_t key) const { return std::max<int64_t>(0, query - window + 1 - key); }

    const Segment& segment_of(int64_t block) const {
        auto before = [](int64_t number, const Segment& segment) { return number < segment.first_block; };
        return *(std::upper_bound(segments.begin(), segments.end(), block, before) - 1);
    }
};

// Rows of one head to float32 [count, padded width], times `scale`; the padding is zero.
template <class T>
static void unpack(const T* from, int64_t stride, int64_t count, const AttentionShape& s, float scale, float* to) {
    for (int64_t r = 0; r < count; r++)
        for (int64_t i = 0; i < s.padded_width; i += W)
            store(to + r * s.padded_width + i,
                  i < s.head_width ? load(from + r * stride + i, s.head_width - i) * scale : V{}, W);
}

// The same transposed, [padded width, BLOCK].
template <class T>
static void unpack_transposed(const T* from, int64_t stride, int64_t count, const AttentionShape& s, float* to) {
    memset(to, 0, 4 * s.padded_width * BLOCK);
    for (int64_t r = 0; r < count; r++)
        for (int64_t i = 0; i < s.head_width; i++) to[i * BLOCK + r] = to_float(from + r * stride + i);
}

// All but those from `first` up to `visible` of a row of scores [BLOCK].
static inline void hide(float* row, int64_t first, int64_t visible) {
    for (int64_t i = 0; i < min64(first, visible); i++) row[i] = MINUS_INFINITY;
    for (int64_t i = visible; i < BLOCK; i++) row[i] = MINUS_INFINITY;
}

// The first `count` of a row of scores that were divided by the soft cap.
static inline void cap_scores(float* row, int64_t count, float softcap) {
    for (int64_t i = 0; i < count; i += W) store(row + i, vtanh(load(row + i, W)) * softcap, W);
}

// The slope of the soft cap where it gave these scores; 0 for those that were set to minus infinity.
static inline V cap_slopes(V capped, float softcap) {
    V tanh = capped * (1 / softcap);
    return vmax(1 - tanh * tanh, V{});
}

// One row of scores [BLOCK], of which those from `first` up to `visible` count, to exponentials relative to the row's
// maximum so far; rescales the row's sum and its accumulated output where the maximum grows. What a row without visible
// scores adds before the first visible one is multiplied by zero then.
__attribute__((always_inline)) static inline void online_softmax(float* row, int64_t first, int64_t visible,
                                                                  float& row_max, float& row_sum, float* accumulated,
                                                                  int64_t padded_width) {
    hide(row, first, visible);
    V maxima = broadcast(row_max), sums = {};
    for (int64_t i = 0; i < visible; i += W) maxima = vmax(load(row + i, W), maxima);
    float maximum = reduce_max(maxima), rescale = vexp(broadcast(row_max - maximum))[0];
    for (int64_t i = 0; i < BLOCK; i += W) {
        V exponential = vexp(load(row + i, W) - maximum);
        sums += exponential;
        store(row + i, exponential, W);
    }
    if (rescale != 1)
        for (int64_t i = 0; i < padded_width; i += W) store(accumulated + i, load(accumulated + i, W) * rescale, W);
    row_sum = row_sum * rescale + reduce_sum(sums);
    row_max = maximum;
}

// q [T, H, K], k and v [T, G, K] -> out [T, H, K], and logsumexp [T, H] of the scores for the backward pass.
template <class T>
static void attend(const T* q, int64_t q_stride, const T* k, const T* v, int64_t kv_stride, T* out, float* logsumexp,
                   float scale, float softcap, const AttentionShape& s, int threads) {
    const float query_scale = softcap ? scale / softcap : scale;
    int64_t size = s.padded_width * BLOCK;
    float *keys = alloc_floats(s.blocks * s.kv_heads * size), *values = alloc_floats(s.blocks * s.kv_heads * size);
#pragma omp parallel num_threads(threads)
    {
#pragma omp for collapse(2)
        for (int64_t block = 0; block < s.blocks; block++)
            for (int64_t g = 0; g < s.kv_heads; g++) {
                const Segment& own = s.segment_of(block);
                int64_t start = own.start + (block - own.first_block) * BLOCK, count = min64(BLOCK, own.stop - start);
                int64_t from = start * kv_stride + g * s.head_width;
                unpack_transposed(k + from, kv_stride, count, s, keys + (block * s.kv_heads + g) * size);
                unpack(v + from, kv_stride, count, s, 1, values + (block * s.kv_heads + g) * size);
            }
        float *queries = alloc_floats(3 * size + BLOCK * BLOCK), *accumulated = queries + size;
        float* scores = accumulated + size;
#pragma omp for collapse(2) schedule(dynamic)
        for (int64_t task = 0; task < s.blocks; task++)
            for (int64_t h = 0; h < s.heads; h++) {
                int64_t block = s.blocks - 1 - task, g = h / (s.heads / s.kv_heads);
                const Segment& own = s.segment_of(block);
                int64_t start = own.start + (block - own.first_block) * BLOCK, count = min64(BLOCK, own.stop - start);
                float row_max[BLOCK], row_sum[BLOCK] = {};
                for (float& maximum : row_max) maximum = MINUS_INFINITY;
                memset(queries, 0, 4 * size);
                memset(accumulated, 0, 4 * size);
                unpack(q + start * q_stride + h * s.head_width, q_stride, count, s, query_scale, queries);
                for (const Segment* from = &own; from; from = from->parent < 0 ? nullptr : &s.segments[from->parent])
                    for (int64_t kb = from->first_block; from->start + (kb - from->first_block) * BLOCK < from->stop;
                         kb++) {
                        if (kb > block && from == &own) break;
                        int64_t key_offset = (kb - from->first_block) * BLOCK;
                        int64_t key_position = from->position + key_offset;
                        int64_t key_count = min64(BLOCK, from->stop - from->start - key_offset);
                        if (s.first_visible(s.positions[start], key_position) >= key_count) continue;
                        const float* block_keys = keys + (kb * s.kv_heads + g) * size;
                        const bool diagonal = kb == block;
                        matmul<false>(scores, BLOCK, queries, s.padded_width, 1, block_keys, BLOCK, count, key_count,
                                      s.head_width, diagonal ? COLUMNS_UP_TO_ROW : FULL);
                        for (int64_t r = 0; r < count; r++) {
                            const int64_t visible = diagonal ? r + 1 : key_count;
                            if (softcap) cap_scores(scores + r * BLOCK, visible, softcap);
                            online_softmax(scores + r * BLOCK, s.first_visible(s.positions[start + r], key_position),
                                           visible, row_max[r], row_sum[r], accumulated + r * s.padded_width,
                                           s.padded_width);
                        }
                        matmul<true>(accumulated, s.padded_width, scores, BLOCK, 1,
                                     values + (kb * s.kv_heads + g) * size, s.padded_width, count, s.head_width,
                                     key_count, diagonal ? TERMS_UP_TO_ROW : FULL);
                    }
                for (int64_t r = 0; r < count; r++) {
                    T* to = out + ((start + r) * s.heads + h) * s.head_width;
                    for (int64_t i = 0; i < s.head_width; i += W)
                        store(to + i, load(accumulated + r * s.padded_width + i, W) * (1 / row_sum[r]),
                              s.head_width - i);
                    logsumexp[(start + r) * s.heads + h] = row_max[r] + __builtin_logf(row_sum[r]);
                }
            }
        free(queries);
    }
    free(keys);
    free(values);
}

// Called by all threads of a team. Query heads that share a key/value head add up their gradients of it:
// grad_keys and grad_values [T, H, K] -> grad_k and grad_v [T, G, K].
template <class T>
static void sum_over_query_heads(const float* grad_keys, const float* grad_values, T* grad_k, T* grad_v, int64_t stride,
                                 const AttentionShape& s) {
    int64_t heads_per_kv = s.heads / s.kv_heads, row_width = s.heads * s.head_width;
#pragma omp for
    for (int64_t t = 0; t < s.tokens; t++)
        for (int64_t g = 0; g < s.kv_heads; g++)
            for (int64_t i = 0; i < s.head_width; i += W) {
                V key_sum = {}, value_sum = {};
                for (int64_t h = g * heads_per_kv; h < (g + 1) * heads_per_kv; h++) {
                    key_sum += load(grad_keys + t * row_width + h * s.head_width + i, s.head_width - i);
                    value_sum += load(grad_values + t * row_width + h * s.head_width + i, s.head_width - i);
                }
                store(grad_k + t * stride + g * s.head_width + i, key_sum, s.head_width - i);
                store(grad_v + t * stride + g * s.head_width + i, value_sum, s.head_width - i);
            }
}

// The gradients of q, k and v, from that of `out` and from what `attend` returned. With P = exp(scale q k' - logsumexp)
// and delta = rowsum(grad * out): dV = P' grad, dS = P (grad v' - delta), dQ = scale dS k, dK = scale dS' q.
template <class T>
static void attend_backward(const T* grad_out, const T* q, int64_t q_stride, const T* k, const T* v, int64_t kv_stride,
                            const T* out, const float* logsumexp, T* grad_q, int64_t grad_q_stride, T* grad_k,
                            T* grad_v, int64_t grad_kv_stride, float scale, float softcap, const AttentionShape& s,
                            int threads) {
    const float query_scale = softcap ? scale / softcap : scale;
    int64_t size = s.padded_width * BLOCK, heads_per_kv = s.heads / s.kv_heads, row_width = s.heads * s.head_width;
    float *grad_keys = alloc_floats(s.tokens * row_width), *grad_values = alloc_floats(s.tokens * row_width);
#pragma omp parallel num_threads(threads)
    {
        const Segment& largest = s.segments[s.roots[0]];
        int64_t longest = largest.end - largest.start;
        int64_t rows_size = (longest + BLOCK) * s.padded_width;
        float* work = alloc_floats(3 * rows_size + 5 * size + 2 * BLOCK * BLOCK + longest);
        float *queries = work, *grads = queries + rows_size, *grad_queries = grads + rows_size;
        float *keys = grad_queries + rows_size, *keys_transposed = keys + size;
        float *values_transposed = keys_transposed + size, *dk = values_transposed + size, *dv = dk + size;
        float *probabilities = dv + size, *grad_scores = probabilities + BLOCK * BLOCK;
        float* delta = grad_scores + BLOCK * BLOCK;
#pragma omp for collapse(2) schedule(dynamic)
        for (size_t task = 0; task < s.roots.size(); task++)
            for (int64_t h = 0; h < s.heads; h++) {
                int64_t g = h / heads_per_kv, root = s.roots[task];
                int64_t first = s.segments[root].start, tokens = s.segments[root].end - first;
                const T *q_rows = q + first * q_stride + h * s.head_width;
                const T *grad_rows = grad_out + first * row_width + h * s.head_width;
                memset(queries, 0, 4 * 3 * rows_size);
                unpack(q_rows, q_stride, tokens, s, query_scale, queries);
                unpack(grad_rows, row_width, tokens, s, 1, grads);
                for (int64_t r = 0; r < tokens; r++) {
                    V dot = {};
                    for (int64_t i = 0; i < s.head_width; i += W)
                        dot += load(grads + r * s.padded_width + i, W) *
                               load(out + (first + r) * row_width + h * s.head_width + i, s.head_width - i);
                    delta[r] = reduce_sum(dot);
                }
                for (size_t n = root; n < s.segments.size() && s.segments[n].start < first + tokens; n++)
                    for (int64_t start = s.segments[n].start; start < s.segments[n].stop; start += BLOCK) {
                        const Segment& own = s.segments[n];
                        int64_t key_count = min64(BLOCK, own.stop - start);
                        int64_t from = start * kv_stride + g * s.head_width;
                        memset(keys, 0, 4 * size);
                        memset(dk, 0, 4 * 2 * size);
                        unpack(k + from, kv_stride, key_count, s, 1, keys);
                        unpack_transposed(k + from, kv_stride, key_count, s, keys_transposed);
                        unpack_transposed(v + from, kv_stride, key_count, s, values_transposed);
                        for (int64_t at = start; at < own.end;) {  // blocks of queries that see these keys
                            int64_t until = min64(at + BLOCK, at < own.stop ? own.stop : own.end), count = until - at;
                            const bool diagonal = at == start;
                            auto first_visible = [&](int64_t r) {
                                return s.first_visible(s.positions[at + r], s.positions[start]);
                            };
                            int64_t nearest = key_count;
                            for (int64_t r = 0; r < count; r++) nearest = min64(nearest, first_visible(r));
                            if (nearest == key_count) {  // out of the window of all of these queries
                                at = until;
                                continue;
                            }
                            float* block_queries = queries + (at - first) * s.padded_width;
                            float* block_grads = grads + (at - first) * s.padded_width;
                            matmul<false>(probabilities, BLOCK, block_queries, s.padded_width, 1, keys_transposed,
                                          BLOCK, count, key_count, s.head_width, diagonal ? COLUMNS_UP_TO_ROW : FULL);
                            matmul<false>(grad_scores, BLOCK, block_grads, s.padded_width, 1, values_transposed, BLOCK,
                                          count, key_count, s.head_width, diagonal ? COLUMNS_UP_TO_ROW : FULL);
                            for (int64_t r = 0; r < count; r++) {
                                float row_logsumexp = logsumexp[(at + r) * s.heads + h];
                                float row_delta = delta[at - first + r];
                                float *p_row = probabilities + r * BLOCK, *ds_row = grad_scores + r * BLOCK;
                                const int64_t visible = diagonal ? r + 1 : key_count;
                                if (softcap) cap_scores(p_row, visible, softcap);
                                hide(p_row, first_visible(r), visible);
                                for (int64_t i = 0; i < BLOCK; i += W) {
                                    V score = load(p_row + i, W), p = vexp(score - row_logsumexp);
                                    V dp = load(ds_row + i, W) - row_delta;
                                    if (softcap) dp *= cap_slopes(score, softcap);
                                    store(p_row + i, p, W);
                                    store(ds_row + i, i < visible ? p * dp : V{}, W);
                                }
                            }
                            // A register block of rows may reach into the next segment, which must get no gradient.
                            memset(grad_scores + count * BLOCK, 0,
                                   4 * ((count + REGISTER_ROWS - 1) / REGISTER_ROWS * REGISTER_ROWS - count) * BLOCK);
                            Extent extent = diagonal ? TERMS_FROM_ROW : FULL;
                            matmul<true>(dv, s.padded_width, probabilities, 1, BLOCK, block_grads, s.padded_width,
                                         key_count, s.head_width, count, extent);
                            matmul<true>(dk, s.padded_width, grad_scores, 1, BLOCK, block_queries, s.padded_width,
                                         key_count, s.head_width, count, extent);
                            matmul<true>(grad_queries + (at - first) * s.padded_width, s.padded_width, grad_scores,
                                         BLOCK, 1, keys, s.padded_width, count, s.head_width, key_count,
                                         diagonal ? TERMS_UP_TO_ROW : FULL);
                            at = until;
                        }
                        for (int64_t r = 0; r < key_count; r++)
                            for (int64_t i = 0; i < s.head_width; i += W) {
                                int64_t to = (start + r) * row_width + h * s.head_width + i;
                                V grad_key = load(dk + r * s.padded_width + i, W) * (softcap ? softcap : 1);
                                store(grad_keys + to, grad_key, s.head_width - i);
                                store(grad_values + to, load(dv + r * s.padded_width + i, W), s.head_width - i);
                            }
                    }
                for (int64_t r = 0; r < tokens; r++)
                    for (int64_t i = 0; i < s.head_width; i += W)
                        store(grad_q + (first + r) * grad_q_stride + h * s.head_width + i,
                              load(grad_queries + r * s.padded_width + i, W) * scale, s.head_width - i);
            }
        free(work);
        sum_over_query_heads(grad_keys, grad_values, grad_k, grad_v, grad_kv_stride, s);
    }
    free(grad_keys);
    free(grad_values);
}
