// The output layer on the matrix unit of x86 processors: the log-probability of one token for each row, and its gradient
// of the row. Computed as attention is whose keys and values are the words' weights, so logits are never in memory.
//
// Names: N rows, D width, V words. D and V are multiples of 32.

namespace tiles {

constexpr int64_t SUMS_BYTES = 7 << 19;   // of rows that are taken together: what two cores' caches hold
constexpr int64_t WORDS_BYTES = 1 << 19;  // of weights, packed twice, that stay there too

struct Words {  // some rows of the weight, packed as the right side of x w'
    int64_t first, count;
    const uint16_t* packed;
};

struct Rows32 {  // what is known of 32 rows so far: the largest logit, the sum beside it, the wanted word's logit
    float tops[STEP], totals[STEP], wanted[STEP];
};

// Logits of 32 rows x [32, D] to shares of the largest so far; where that grows, what is there is scaled down.
static void seen(const uint16_t* x, int64_t width, const Words& words, const int64_t* targets, int64_t rows, Rows32& of,
                 float* sums, float* logits, uint16_t* shares) {
    const Left part = {(const bf16*)x, width, width};
    for (int64_t at = 0; at < words.count; at += STEP)
        multiply(&part, 1, 0, words.packed + at * width, logits + at * STEP);
    for (int64_t r = 0; r < rows; r++) {
        V most_of = all(of.tops[r]), total = {};
        for (int64_t at = 0; at < words.count; at += STEP)
            for (int64_t i = 0; i < STEP; i += W) most_of = larger(*(V*)(logits + at * STEP + r * STEP + i), most_of);
        const float top = _mm512_reduce_max_ps((__m512)most_of), before = exponential(all(of.tops[r] - top))[0];
        for (int64_t at = 0; at < words.count; at += STEP)
            for (int64_t i = 0; i < STEP; i += W) {
                V share = exponential(*(V*)(logits + at * STEP + r * STEP + i) - top);
                total += share;
                *(AnyS*)(shares + r * words.count + at + i) = narrow(share);
            }
        const int64_t place = targets[r] - words.first;
        if (place >= 0 && place < words.count)
            of.wanted[r] = logits[place / STEP * STEP * STEP + r * STEP + place % STEP];
        if (before != 1 && sums)
            for (int64_t i = 0; i < width; i += W) *(V*)(sums + r * width + i) *= before;
        of.totals[r] = of.totals[r] * before + _mm512_reduce_add_ps((__m512)total);
        of.tops[r] = top;
    }
}

// c [32, D] += shares [32, k] times panels.
static void add(float* c, int64_t width, const uint16_t* shares, int64_t k, const uint16_t* panels) {
    for (int64_t at = 0; at < width; at += STEP) {
        float *upper = c + at, *lower = upper + 16 * width;
        _tile_loadd(0, upper, 4 * width);
        _tile_loadd(1, upper + 16, 4 * width);
        _tile_loadd(2, lower, 4 * width);
        _tile_loadd(3, lower + 16, 4 * width);
        for (int64_t l = 0; l < k; l += STEP, panels += PANEL_STEP) {
            _tile_loadd(4, shares + l, 2 * k);
            _tile_stream_loadd(6, panels, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_stream_loadd(7, panels + PANEL_STEP / 2, 64);
            _tile_dpbf16ps(1, 4, 7);
            _tile_loadd(5, shares + 16 * k + l, 2 * k);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
        _tile_stored(0, upper, 4 * width);
        _tile_stored(1, upper + 16, 4 * width);
        _tile_stored(2, lower, 4 * width);
        _tile_stored(3, lower + 16, 4 * width);
    }
}

// x [N, D], w [V, D] -> found [N]: log softmax(x w')[targets], whether no word is likelier, and if it is asked for, of_x
// [N, D]: w[targets] - softmax(x w') w.
static void head(const bf16* x, const bf16* w, const int64_t* targets, float* found, uint8_t* likeliest, bf16* of_x,
                 int64_t rows, int64_t width, int64_t words, int threads) {
    const int64_t some = least(words, std::max(STEP, WORDS_BYTES / (4 * width) / STEP * STEP));
    const int64_t together = std::max<int64_t>(256, SUMS_BYTES / (4 * width)), parts = (rows + together - 1) / together;
    const int64_t most_rows = up((rows + parts - 1) / parts);
    uint16_t *across = halves(some * width), *down = halves(some * width), *all_x = halves(most_rows * width);
    float* all_sums = memory(most_rows * width);
    std::vector<Rows32> known(most_rows / STEP);
#pragma omp parallel num_threads(threads)
    {
        Use use;
        float* logits = memory(STEP * some);
        uint16_t* shares = halves(STEP * some);
        memset(shares, 0, 2 * STEP * some);
        for (int64_t start = 0; start < rows; start += most_rows) {
            const int64_t there = least(most_rows, rows - start);
            for (int64_t from = 0; from < words; from += some) {
                const Words block = {from, least(some, words - from), across};
                const bf16* weight = w + from * width;
#pragma omp for
                for (int64_t at = 0; at < block.count + (of_x ? width : 0); at += STEP)
                    if (const int64_t column = at - block.count; column < 0)
                        panel_of_rows(weight + at * width, width, width, across + at * width);
                    else
                        panel_of_columns(weight + column, width, block.count, block.count, down + column * block.count);
#pragma omp for schedule(static)
                for (int64_t row = 0; row < there; row += STEP) {
                    const int64_t some_rows = least(STEP, there - row);
                    uint16_t* own = all_x + row * width;
                    float* sums = all_sums + row * width;
                    Rows32& of = known[row / STEP];
                    if (from == 0) {
                        memset(own, 0, 2 * STEP * width);
                        memcpy(own, x + (start + row) * width, 2 * some_rows * width);
                        memset(sums, 0, 4 * STEP * width);
                        of = {};
                        for (float& top : of.tops) top = -1e30f;
                    }
                    seen(own, width, block, targets + start + row, some_rows, of, of_x ? sums : nullptr, logits, shares);
                    if (of_x) add(sums, width, shares, block.count, down);
                }
            }
#pragma omp for schedule(static)
            for (int64_t row = 0; row < there; row++) {
                const Rows32& of = known[row / STEP];
                const int64_t r = row % STEP, to = start + row;
                found[to] = of.wanted[r] - of.tops[r] - __builtin_logf(of.totals[r]);
                likeliest[to] = of.wanted[r] >= of.tops[r];
                const bf16* target = w + targets[to] * width;
                for (int64_t i = 0; of_x && i < width; i += W)
                    store(of_x + to * width + i,
                          load(target + i, W) - load(all_sums + row * width + i, W) * (1 / of.totals[r]), W);
            }
        }
        free(logits), free(shares);
    }
    free(across), free(down), free(all_x), free(all_sums);
}

}  // namespace tiles
