// The attention of `attention.h` in bfloat16 on AMX. A segment is cut into blocks of 64 tokens, packed in the operand
// layouts of `amx.h` and padded with zeros. Probabilities and the gradients of scores are rounded to bfloat16 for the
// products, which accumulate in float32.
//
// Names as in `attention.h`; P: K rounded up to 32.

namespace amx {

struct HeadRows {  // one head of one block: `count` rows, K wide, `stride` apart
    const bf16* first;
    int64_t stride, count, head_width, padded_width;

    void copy(uint16_t* to) const {  // [64, P]
        memset(to, 0, 2 * BLOCK * padded_width);
        for (int64_t r = 0; r < count; r++) memcpy(to + r * padded_width, first + r * stride, 2 * head_width);
    }
};

// The layouts of a block, from rows [64, P]: pairs [64 / 2, P, 2], and transposed pairs [P / 2, 64, 2]; and from pairs,
// transposed rows [P, 64].
static void to_pairs(const uint16_t* rows, int64_t padded_width, uint16_t* to) {
    for (int64_t r = 0; r < BLOCK; r += 2)
        for (int64_t i = 0; i < padded_width; i += STEP) {
            const uint16_t* from = rows + r * padded_width + i;
            uint16_t* pairs = to + r * padded_width + 2 * i;
            interleave_rows(_mm512_loadu_si512(from), _mm512_loadu_si512(from + padded_width), pairs, pairs + STEP);
        }
}
static void to_transposed_pairs(const uint16_t* rows, int64_t padded_width, uint16_t* to) {
    for (int64_t i = 0; i < padded_width; i += STEP)
        for (int64_t r = 0; r < BLOCK; r += 16)
            transpose_16x16(rows + r * padded_width + i, padded_width, to + i * BLOCK + 2 * r, 2 * BLOCK);
}
static void to_transposed_rows(const uint16_t* pairs, int64_t padded_width, uint16_t* to) {
    for (int64_t i = 0; i < padded_width; i += 16)
        for (int64_t r = 0; r < BLOCK; r += STEP)
            transpose_16x16(pairs + r * padded_width + 2 * i, 2 * padded_width, to + i * BLOCK + r, BLOCK);
}

struct Blocks {  // the tokens of all segments, block after block
    const AttentionShape& s;
    int64_t padded_width, size;

    explicit Blocks(const AttentionShape& s) : s(s), padded_width(round_up(s.head_width)), size(BLOCK * padded_width) {}

    int64_t start(int64_t block) const {
        const Segment& own = s.segment_of(block);
        return own.start + (block - own.first_block) * BLOCK;
    }
    int64_t position(int64_t block) const { return s.positions[start(block)]; }
    int64_t count(int64_t block) const { return min64(BLOCK, s.segment_of(block).stop - start(block)); }
    int64_t end(const Segment& segment) const {  // after the last block of its descendants
        int64_t last = segment.first_block + (segment.stop - segment.start + BLOCK - 1) / BLOCK;
        while (last < s.blocks && s.segment_of(last).start < segment.end) {
            const Segment& next = s.segment_of(last);
            last = next.first_block + (next.stop - next.start + BLOCK - 1) / BLOCK;
        }
        return last;
    }
    HeadRows rows(const bf16* from, int64_t stride, int64_t block) const {
        return {from + start(block) * stride, stride, count(block), s.head_width, padded_width};
    }
};

static inline V scaled_scores(const float* scores, float scale, float softcap) {
    V x = load(scores, W) * scale;
    return softcap ? vtanh(x * (1 / softcap)) * softcap : x;
}

// One row of scores [64], of which those from `first` up to `visible` count, to probabilities relative to the row's
// maximum so far; rescales the row's sum and its accumulated output where the maximum grows.
static inline void online_softmax(const float* scores, uint16_t* probabilities, float scale, float softcap,
                                  int64_t first, int64_t visible, int64_t padded_width, float& row_max, float& row_sum,
                                  float* accumulated) {
    V scaled[BLOCK / W], maxima = broadcast(row_max);
    for (int64_t i = 0; i < BLOCK / W; i++) {
        V x = scaled_scores(scores + i * W, scale, softcap);
        if (i * W + W > visible) x = LANE_INDEX < broadcast(float(visible - i * W)) ? x : broadcast(MINUS_INFINITY);
        if (i * W < first) x = LANE_INDEX < broadcast(float(first - i * W)) ? broadcast(MINUS_INFINITY) : x;
        scaled[i] = x;
        maxima = vmax(x, maxima);
    }
    float maximum = reduce_max(maxima), rescale = vexp(broadcast(row_max - maximum))[0];
    V sums = {};
    for (int64_t i = 0; i < BLOCK / W; i++) {
        V exponential = vexp(scaled[i] - maximum);
        sums += exponential;
        *(UnalignedS*)(probabilities + i * W) = round_to_bf16(exponential);
    }
    if (rescale != 1)
        for (int64_t i = 0; i < padded_width; i += W) store(accumulated + i, load(accumulated + i, W) * rescale, W);
    row_sum = row_sum * rescale + reduce_sum(sums);
    row_max = maximum;
}

static void attend(const bf16* q, int64_t q_stride, const bf16* k, const bf16* v, int64_t kv_stride, bf16* out,
                   float* logsumexp, float scale, float softcap, const AttentionShape& s, int threads) {
    const Blocks blocks(s);
    const int64_t size = blocks.size, padded_width = blocks.padded_width;
    uint16_t *keys = alloc_bf16(s.blocks * s.kv_heads * size), *values = alloc_bf16(s.blocks * s.kv_heads * size);
#pragma omp parallel num_threads(threads)
    {
        TileConfig config;
        uint16_t* queries = alloc_bf16(size);  // first, keys and values by rows
#pragma omp for collapse(2)
        for (int64_t block = 0; block < s.blocks; block++)
            for (int64_t g = 0; g < s.kv_heads; g++) {
                int64_t offset = (block * s.kv_heads + g) * size;
                blocks.rows(k + g * s.head_width, kv_stride, block).copy(queries);
                to_transposed_pairs(queries, padded_width, keys + offset);
                blocks.rows(v + g * s.head_width, kv_stride, block).copy(queries);
                to_pairs(queries, padded_width, values + offset);
            }
        float *accumulated = alloc_floats(size), *scores = alloc_floats(BLOCK * BLOCK);
        uint16_t* probabilities = alloc_bf16(BLOCK * BLOCK);
#pragma omp for collapse(2) schedule(dynamic)
        for (int64_t task = 0; task < s.blocks; task++)
            for (int64_t h = 0; h < s.heads; h++) {
                int64_t block = s.blocks - 1 - task, g = h / (s.heads / s.kv_heads);
                int64_t start = blocks.start(block), count = blocks.count(block);
                const Segment& own = s.segment_of(block);
                float row_max[BLOCK], row_sum[BLOCK] = {};
                for (float& maximum : row_max) maximum = MINUS_INFINITY;
                memset(accumulated, 0, 4 * size);
                memset(probabilities, 0, 2 * BLOCK * BLOCK);
                blocks.rows(q + h * s.head_width, q_stride, block).copy(queries);
                for (const Segment* from = &own; from; from = from->parent < 0 ? nullptr : &s.segments[from->parent])
                    for (int64_t kb = from->first_block; from->start + (kb - from->first_block) * BLOCK < from->stop;
                         kb++) {
                        if (kb > block && from == &own) break;
                        int64_t key_count = blocks.count(kb), offset = (kb * s.kv_heads + g) * size;
                        const int64_t position = blocks.position(block), key_position = blocks.position(kb);
                        if (s.first_visible(position, key_position) >= key_count) continue;
                        matmul<false>(scores, BLOCK, queries, padded_width, keys + offset, BLOCK, round_up(count),
                                      round_up(key_count), padded_width);
                        for (int64_t r = 0; r < count; r++)
                            online_softmax(scores + r * BLOCK, probabilities + r * BLOCK, scale, softcap,
                                           s.first_visible(position + r, key_position),
                                           kb == block ? r + 1 : key_count, padded_width, row_max[r], row_sum[r],
                                           accumulated + r * padded_width);
                        matmul<true>(accumulated, padded_width, probabilities, BLOCK, values + offset, padded_width,
                                     round_up(count), padded_width, round_up(key_count));
                    }
                for (int64_t r = 0; r < count; r++) {
                    bf16* to = out + ((start + r) * s.heads + h) * s.head_width;
                    for (int64_t i = 0; i < s.head_width; i += W)
                        store(to + i, load(accumulated + r * padded_width + i, W) * (1 / row_sum[r]), s.head_width - i);
                    logsumexp[(start + r) * s.heads + h] = row_max[r] + __builtin_logf(row_sum[r]);
                }
            }
        free(accumulated), free(scores), free(queries), free(probabilities);
    }
    free(keys), free(values);
}

// For two keys, their scores and the products of their values with the gradient [2, 64 queries] -> the probabilities
// and the gradients of the scores, by rows, and the latter by pairs too. The queries from `since` up to `until` see the
// first key; those that see the second key are the next ones.
static inline void score_gradients(const float* scores, const float* value_products, const float* logsumexp,
                                   const float* delta, float scale, float softcap, int64_t since, int64_t until,
                                   bool has_second, uint16_t* probabilities, uint16_t* grad_scores,
                                   uint16_t* grad_score_pairs) {
    for (int64_t i = 0; i < BLOCK; i += W) {
        S rounded[2];
        for (int64_t r = 0; r < 2; r++) {
            const bool absent = r == 1 && !has_second;
            const V score = scaled_scores(scores + r * BLOCK + i, scale, softcap);
            V p = vexp(score - load(logsumexp + i, W));
            if (absent) p = V{};
            if (i < since + r) p = LANE_INDEX < broadcast(float(since + r - i)) ? V{} : p;
            if (i + W > until + r) p = LANE_INDEX < broadcast(float(until + r - i)) ? p : V{};
            V ds = p * (load(value_products + r * BLOCK + i, W) - load(delta + i, W));
            if (softcap) ds *= cap_slopes(score, softcap);
            rounded[r] = round_to_bf16(absent ? V{} : ds);
            *(UnalignedS*)(probabilities + r * BLOCK + i) = round_to_bf16(p);
            *(UnalignedS*)(grad_scores + r * BLOCK + i) = rounded[r];
        }
        *(U*)(grad_score_pairs + 2 * i) = widened(rounded[0]) | widened(rounded[1]) << 16;
    }
}

struct QueryBlocks {  // the queries of one head and the gradients of their outputs, for all blocks of a root
    uint16_t *q_transposed, *q_pairs, *grad_transposed, *grad_pairs;  // [blocks, 64 P]
    float *logsumexp, *delta, *grad_q;                                // [blocks, 64], [blocks, 64], [blocks, P, 64]

    QueryBlocks(int64_t blocks, int64_t size)
        : q_transposed(alloc_bf16(blocks * size)), q_pairs(alloc_bf16(blocks * size)),
          grad_transposed(alloc_bf16(blocks * size)), grad_pairs(alloc_bf16(blocks * size)),
          logsumexp(alloc_floats(blocks * BLOCK)), delta(alloc_floats(blocks * BLOCK)),
          grad_q(alloc_floats(blocks * size)) {}
    ~QueryBlocks() {
        free(q_transposed), free(q_pairs), free(grad_transposed), free(grad_pairs), free(logsumexp), free(delta),
            free(grad_q);
    }
};

struct KeyBlocks {  // a key/value head for all blocks of a root, and its gradients
    uint16_t *keys, *keys_transposed, *values;  // [blocks, 64 P]
    float *grad_k, *grad_v;                     // [blocks, 64, P]

    KeyBlocks(int64_t blocks, int64_t size)
        : keys(alloc_bf16(blocks * size)), keys_transposed(alloc_bf16(blocks * size)),
          values(alloc_bf16(blocks * size)), grad_k(alloc_floats(blocks * size)), grad_v(alloc_floats(blocks * size)) {}
    ~KeyBlocks() { free(keys), free(keys_transposed), free(values), free(grad_k), free(grad_v); }
};

static void attend_backward(const bf16* grad_out, const bf16* q, int64_t q_stride, const bf16* k, const bf16* v,
                            int64_t kv_stride, const bf16* out, const float* logsumexp, bf16* grad_q,
                            int64_t grad_q_stride, bf16* grad_k, bf16* grad_v, int64_t grad_kv_stride, float scale,
                            float softcap, const AttentionShape& s, int threads) {
    const Blocks blocks(s);
    const int64_t size = blocks.size, padded_width = blocks.padded_width, row_width = s.heads * s.head_width;
    // A task has the query heads of one key/value head and sums their gradients of it; or, where such tasks would be
    // too few for all threads, one query head.
    const int64_t heads_per_kv = s.heads / s.kv_heads;
    const bool is_split = int64_t(s.roots.size()) * s.kv_heads < 4 * threads;
    const int64_t heads_per_task = is_split ? 1 : heads_per_kv;
    float *grad_keys = is_split ? alloc_floats(s.tokens * row_width) : nullptr;
    float *grad_values = is_split ? alloc_floats(s.tokens * row_width) : nullptr;
    int64_t most_blocks = 0;
    for (int64_t root : s.roots)
        most_blocks = std::max(most_blocks, blocks.end(s.segments[root]) - s.segments[root].first_block);
#pragma omp parallel num_threads(threads)
    {
        TileConfig config;
        QueryBlocks query(most_blocks, size);
        KeyBlocks key(most_blocks, size);
        uint16_t *rows_of_block = alloc_bf16(size), *pairs = alloc_bf16(size);
        uint16_t *probabilities = alloc_bf16(BLOCK * BLOCK), *grad_scores = alloc_bf16(BLOCK * BLOCK);
        uint16_t* grad_score_pairs = alloc_bf16(BLOCK * BLOCK);
        float *scores = alloc_floats(BLOCK * BLOCK), *value_products = alloc_floats(BLOCK * BLOCK);
#pragma omp for collapse(2) schedule(dynamic)
        for (size_t task = 0; task < s.roots.size(); task++)
            for (int64_t first_head = 0; first_head < s.heads; first_head += heads_per_task) {
                const Segment& root = s.segments[s.roots[task]];
                const int64_t first = root.first_block, last = blocks.end(root), g = first_head / heads_per_kv;
                for (int64_t block = first; block < last; block++) {
                    const int64_t offset = (block - first) * size;
                    blocks.rows(k + g * s.head_width, kv_stride, block).copy(key.keys + offset);
                    to_pairs(key.keys + offset, padded_width, pairs);
                    to_transposed_rows(pairs, padded_width, key.keys_transposed + offset);
                    blocks.rows(v + g * s.head_width, kv_stride, block).copy(key.values + offset);
                }
                memset(key.grad_k, 0, 4 * (last - first) * size);
                memset(key.grad_v, 0, 4 * (last - first) * size);
                for (int64_t h = first_head; h < first_head + heads_per_task; h++) {
                    memset(query.grad_q, 0, 4 * (last - first) * size);
                    for (int64_t block = first; block < last; block++) {
                        const int64_t offset = (block - first) * size, start = blocks.start(block);
                        const int64_t count = blocks.count(block);
                        HeadRows q_rows = blocks.rows(q + h * s.head_width, q_stride, block);
                        HeadRows grad_rows = blocks.rows(grad_out + h * s.head_width, row_width, block);
                        q_rows.copy(rows_of_block);
                        to_transposed_pairs(rows_of_block, padded_width, query.q_transposed + offset);
                        to_pairs(rows_of_block, padded_width, query.q_pairs + offset);
                        grad_rows.copy(rows_of_block);
                        to_transposed_pairs(rows_of_block, padded_width, query.grad_transposed + offset);
                        to_pairs(rows_of_block, padded_width, query.grad_pairs + offset);
                        float* block_logsumexp = query.logsumexp + (block - first) * BLOCK;
                        float* delta = query.delta + (block - first) * BLOCK;
                        for (int64_t r = 0; r < BLOCK; r++) {
                            V dot = {};
                            for (int64_t i = 0; r < count && i < s.head_width; i += W)
                                dot += load(grad_rows.first + r * row_width + i, s.head_width - i) *
                                       load(out + (start + r) * row_width + h * s.head_width + i, s.head_width - i);
                            delta[r] = reduce_sum(dot);
                            // Padding: exp(score - 1e30) is 0.
                            block_logsumexp[r] = r < count ? logsumexp[(start + r) * s.heads + h] : 1e30f;
                        }
                    }
                    for (int64_t block = first; block < last; block++) {  // of keys
                        const int64_t key_offset = (block - first) * size, key_count = blocks.count(block);
                        const int64_t rows = round_up(key_count), until = blocks.end(s.segment_of(block));
                        memset(probabilities, 0, 2 * BLOCK * BLOCK);
                        memset(grad_scores, 0, 2 * BLOCK * BLOCK);
                        memset(grad_score_pairs, 0, 2 * BLOCK * BLOCK);
                        for (int64_t qb = block; qb < until; qb++) {  // of queries that see these keys
                            const int64_t offset = (qb - first) * size, count = round_up(blocks.count(qb));
                            // The first query that is too far from the first key.
                            const int64_t until_first = blocks.position(block) + s.window - blocks.position(qb);
                            if (until_first + key_count <= 1) continue;
                            matmul<false>(scores, BLOCK, key.keys + key_offset, padded_width,
                                          query.q_transposed + offset, BLOCK, rows, count, padded_width);
                            matmul<false>(value_products, BLOCK, key.values + key_offset, padded_width,
                                          query.grad_transposed + offset, BLOCK, rows, count, padded_width);
                            for (int64_t r = 0; r < key_count; r += 2)
                                score_gradients(scores + r * BLOCK, value_products + r * BLOCK,
                                                query.logsumexp + (qb - first) * BLOCK,
                                                query.delta + (qb - first) * BLOCK, scale, softcap,
                                                qb == block ? r : -1, until_first + r, r + 1 < key_count,
                                                probabilities + r * BLOCK, grad_scores + r * BLOCK,
                                                grad_score_pairs + r * BLOCK);
                            matmul<true>(key.grad_v + key_offset, padded_width, probabilities, BLOCK,
                                         query.grad_pairs + offset, padded_width, rows, padded_width, count);
                            matmul<true>(key.grad_k + key_offset, padded_width, grad_scores, BLOCK,
                                         query.q_pairs + offset, padded_width, rows, padded_width, count);
                            matmul<true>(query.grad_q + offset, BLOCK, key.keys_transposed + key_offset, BLOCK,
                                         grad_score_pairs, BLOCK, padded_width, count, rows);
                        }
                    }
                    for (int64_t block = first; block < last; block++) {
                        const float* transposed = query.grad_q + (block - first) * size;
                        bf16* to = grad_q + blocks.start(block) * grad_q_stride + h * s.head_width;
                        for (int64_t r = 0; r < blocks.count(block); r += W)
                            for (int64_t i = 0; i < s.head_width; i += W) {
                                V rows[W];
                                transpose_16x16((const uint16_t*)(transposed + i * BLOCK + r), 2 * BLOCK,
                                                (uint16_t*)rows, 2 * W);
                                for (int64_t j = 0; j < min64(W, blocks.count(block) - r); j++)
                                    store(to + (r + j) * grad_q_stride + i, rows[j] * scale, s.head_width - i);
                            }
                    }
                }
                for (int64_t block = first; block < last; block++)
                    for (int64_t r = 0; r < blocks.count(block); r++)
                        for (int64_t i = 0; i < s.head_width; i += W) {
                            const int64_t from = (block - first) * size + r * padded_width + i;
                            const int64_t row = blocks.start(block) + r, width = s.head_width - i;
                            const int64_t to = row * row_width + first_head * s.head_width + i;
                            const int64_t summed_to = row * grad_kv_stride + g * s.head_width + i;
                            const V key_grad = load(key.grad_k + from, W) * scale;
                            const V value_grad = load(key.grad_v + from, W);
                            if (is_split) {
                                store(grad_keys + to, key_grad, width);
                                store(grad_values + to, value_grad, width);
                            } else {
                                store(grad_k + summed_to, key_grad, width);
                                store(grad_v + summed_to, value_grad, width);
                            }
                        }
            }
        free(rows_of_block), free(pairs), free(probabilities), free(grad_scores);
        free(grad_score_pairs), free(scores), free(value_products);
        if (is_split) sum_over_query_heads(grad_keys, grad_values, grad_k, grad_v, grad_kv_stride, s);
    }
    free(grad_keys), free(grad_values);
}

}  // namespace amx
