// Fused LM head and cross-entropy on AMX: the log-probability of one token for each row, and its gradient for the row.
// Computed as attention whose keys and values are the output weights, so that logits are never in memory.
//
// N rows, D width, V vocabulary. D and V are multiples of 32. Soft caps as in `attention.h`; words are weighted with the
// slope of the cap at their logits then.

namespace amx {

constexpr int64_t SUMS_BYTES = 7 << 19;      // of rows that are processed together: what the L2 caches of two cores hold
constexpr int64_t WEIGHTS_BYTES = 1 << 19;   // of weights, packed twice, that stay there too

struct VocabularyBlock {  // some rows of the weight, packed as the right operand of x weight'
    int64_t first, count;
    const uint16_t* packed;
};

struct SoftmaxState {  // of 32 rows so far: the largest logit, the sum of exponentials relative to it, the target's logit
    float row_max[STEP], row_sum[STEP], target_logit[STEP];
};

// 32 rows x [32, D] -> exponentials of their logits relative to the row's maximum so far, times the slope of the soft
// cap; rescales sums where the maximum grows.
static void online_softmax(const uint16_t* x, int64_t width, const VocabularyBlock& block, const int64_t* targets,
                           int64_t rows, float softcap, SoftmaxState& state, float* sums, float* logits,
                           uint16_t* exponentials) {
    const LeftOperand left = {(const bf16*)x, width, width};
    for (int64_t at = 0; at < block.count; at += STEP)
        multiply_panel(&left, 1, 0, block.packed + at * width, logits + at * STEP);
    for (int64_t r = 0; r < rows; r++) {
        V maxima = broadcast(state.row_max[r]), row_sums = {};
        for (int64_t at = 0; at < block.count; at += STEP)
            for (int64_t i = 0; i < STEP; i += W) {
                V& row = *(V*)(logits + at * STEP + r * STEP + i);
                if (softcap) row = vtanh(row * (1 / softcap)) * softcap;
                maxima = vmax(row, maxima);
            }
        const float maximum = reduce_max(maxima);
        const float rescale = vexp(broadcast(state.row_max[r] - maximum))[0];
        for (int64_t at = 0; at < block.count; at += STEP)
            for (int64_t i = 0; i < STEP; i += W) {
                const V row = *(V*)(logits + at * STEP + r * STEP + i);
                V exponential = vexp(row - maximum);
                row_sums += exponential;
                if (softcap) exponential *= cap_slopes(row, softcap);
                *(UnalignedS*)(exponentials + r * block.count + at + i) = round_to_bf16(exponential);
            }
        const int64_t column = targets[r] - block.first;
        if (column >= 0 && column < block.count)
            state.target_logit[r] = logits[column / STEP * STEP * STEP + r * STEP + column % STEP];
        if (rescale != 1 && sums)
            for (int64_t i = 0; i < width; i += W) *(V*)(sums + r * width + i) *= rescale;
        state.row_sum[r] = state.row_sum[r] * rescale + reduce_sum(row_sums);
        state.row_max[r] = maximum;
    }
}

// sums [32, D] += exponentials [32, K] times panels.
static void accumulate_weights(float* sums, int64_t width, const uint16_t* exponentials, int64_t k,
                               const uint16_t* panels) {
    for (int64_t at = 0; at < width; at += STEP) {
        float *upper = sums + at, *lower = upper + 16 * width;
        _tile_loadd(0, upper, 4 * width);
        _tile_loadd(1, upper + 16, 4 * width);
        _tile_loadd(2, lower, 4 * width);
        _tile_loadd(3, lower + 16, 4 * width);
        for (int64_t l = 0; l < k; l += STEP, panels += PANEL_STEP) {
            _tile_loadd(4, exponentials + l, 2 * k);
            _tile_stream_loadd(6, panels, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_stream_loadd(7, panels + PANEL_STEP / 2, 64);
            _tile_dpbf16ps(1, 4, 7);
            _tile_loadd(5, exponentials + 16 * k + l, 2 * k);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
        _tile_stored(0, upper, 4 * width);
        _tile_stored(1, upper + 16, 4 * width);
        _tile_stored(2, lower, 4 * width);
        _tile_stored(3, lower + 16, 4 * width);
    }
}

// x [N, D], weight [V, D] -> logprobs [N]: log softmax(x weight')[targets]; whether each target is the argmax; and, unless
// null, grad_x [N, D]: weight[targets] - softmax(x weight') weight.
static void lm_head(const bf16* x, const bf16* weight, const int64_t* targets, float* logprobs, uint8_t* is_argmax,
                    bf16* grad_x, float softcap, int64_t rows, int64_t width, int64_t vocabulary, int threads) {
    const int64_t block_words = min64(vocabulary, std::max(STEP, WEIGHTS_BYTES / (4 * width) / STEP * STEP));
    const int64_t rows_together = std::max<int64_t>(256, SUMS_BYTES / (4 * width));
    const int64_t passes = (rows + rows_together - 1) / rows_together;
    const int64_t pass_rows = round_up((rows + passes - 1) / passes);
    uint16_t *packed = alloc_bf16(block_words * width), *packed_transposed = alloc_bf16(block_words * width);
    uint16_t* all_x = alloc_bf16(pass_rows * width);
    float* all_sums = alloc_floats(pass_rows * width);
    std::vector<SoftmaxState> states(pass_rows / STEP);
#pragma omp parallel num_threads(threads)
    {
        TileConfig config;
        float* logits = alloc_floats(STEP * block_words);
        uint16_t* exponentials = alloc_bf16(STEP * block_words);
        memset(exponentials, 0, 2 * STEP * block_words);
        for (int64_t start = 0; start < rows; start += pass_rows) {
            const int64_t row_count = min64(pass_rows, rows - start);
            for (int64_t from = 0; from < vocabulary; from += block_words) {
                const VocabularyBlock block = {from, min64(block_words, vocabulary - from), packed};
                const bf16* block_weight = weight + from * width;
#pragma omp for
                for (int64_t at = 0; at < block.count + (grad_x ? width : 0); at += STEP)
                    if (const int64_t column = at - block.count; column < 0)
                        pack_panel_transposed(block_weight + at * width, width, width, packed + at * width);
                    else
                        pack_panel(block_weight + column, width, block.count, block.count,
                                   packed_transposed + column * block.count);
#pragma omp for schedule(static)
                for (int64_t row = 0; row < row_count; row += STEP) {
                    const int64_t tile_rows = min64(STEP, row_count - row);
                    uint16_t* own_x = all_x + row * width;
                    float* sums = all_sums + row * width;
                    SoftmaxState& state = states[row / STEP];
                    if (from == 0) {
                        memset(own_x, 0, 2 * STEP * width);
                        memcpy(own_x, x + (start + row) * width, 2 * tile_rows * width);
                        memset(sums, 0, 4 * STEP * width);
                        state = {};
                        for (float& maximum : state.row_max) maximum = MINUS_INFINITY;
                    }
                    online_softmax(own_x, width, block, targets + start + row, tile_rows, softcap, state,
                                   grad_x ? sums : nullptr, logits, exponentials);
                    if (grad_x) accumulate_weights(sums, width, exponentials, block.count, packed_transposed);
                }
            }
#pragma omp for schedule(static)
            for (int64_t row = 0; row < row_count; row++) {
                const SoftmaxState& state = states[row / STEP];
                const int64_t r = row % STEP, to = start + row;
                logprobs[to] = state.target_logit[r] - state.row_max[r] - __builtin_logf(state.row_sum[r]);
                is_argmax[to] = state.target_logit[r] >= state.row_max[r];
                const bf16* target = weight + targets[to] * width;
                const float slope = softcap ? cap_slopes(broadcast(state.target_logit[r]), softcap)[0] : 1;
                for (int64_t i = 0; grad_x && i < width; i += W)
                    store(grad_x + to * width + i,
                          load(target + i, W) * slope - load(all_sums + row * width + i, W) * (1 / state.row_sum[r]),
                          W);
            }
        }
        free(logits), free(exponentials);
    }
    free(packed), free(packed_transposed), free(all_x), free(all_sums);
}

}  // namespace amx
