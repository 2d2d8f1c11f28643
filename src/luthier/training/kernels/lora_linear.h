// A projection with its adapter on the matrix unit of x86 processors: `llama.Projection` says what is computed. The
// right side of a product is packed anew each time, which takes little beside hundreds of rows on the left.
//
// Names: T tokens, D inputs, O outputs, R rows of the adapter's first factor. D, O and R are multiples of 32.

namespace tiles {

constexpr int64_t PANEL_STEP = STEP * STEP;    // halves of 32 rows of a panel, which is 32 columns wide
constexpr int64_t AT_ONCE = 640 * 1024;        // bytes of panels that stay in a core's cache

static inline void fetch(const void* from) { _mm_prefetch((const char*)from, _MM_HINT_T0); }

// 32 columns of the right side -> a panel: for every 32 of K two tiles of 16 columns, each by pairs. Here w [32, K];
// what comes after it is wanted next.
static void panel_of_rows(const bf16* w, int64_t stride, int64_t k, uint16_t* to) {
    const uint16_t* from = (const uint16_t*)w;
    for (int64_t l = 0; l < k; l += STEP, to += PANEL_STEP) {
        for (int64_t r = 0; r < STEP; r++) fetch(from + (STEP + r) * stride + l);
        turn(from + l, stride, to, STEP);
        turn(from + 16 * stride + l, stride, to + PANEL_STEP / 2, STEP);
    }
}

// The same, w [K, 32], rows from `count` on being nothing; the rows after it are wanted next.
static inline void panel_of_columns(const bf16* w, int64_t stride, int64_t k, int64_t count, uint16_t* to) {
    for (int64_t l = 0; l < k; l += 2, to += STEP) {
        fetch(w + (k + l) * stride), fetch(w + (k + l + 1) * stride);
        __m512i a = _mm512_setzero_si512(), b = a;
        if (l < count) a = _mm512_loadu_si512(w + l * stride);
        if (l + 1 < count) b = _mm512_loadu_si512(w + (l + 1) * stride);
        pair_up(a, b, to, to + PANEL_STEP / 2);
        if (l % STEP == STEP - 2) to += PANEL_STEP / 2;
    }
}

struct Left {  // [T, width]
    const bf16* first;
    int64_t stride, width;
};

// 32 rows times a panel, added up over `parts` of K, -> c [32, 32]. The rows stay in a core's first cache from panel to
// panel, since panels pass it by: a quarter faster.
static inline void multiply(const Left* parts, int count, int64_t row, const uint16_t* panel, float* c) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int part = 0; part < count; part++) {
        const int64_t stride = parts[part].stride;
        const bf16* a = parts[part].first + row * stride;
        for (int64_t l = 0; l < parts[part].width; l += STEP, panel += PANEL_STEP) {
            _tile_loadd(4, a + l, 2 * stride);
            _tile_stream_loadd(6, panel, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_stream_loadd(7, panel + PANEL_STEP / 2, 64);
            _tile_dpbf16ps(1, 4, 7);
            _tile_loadd(5, a + 16 * stride + l, 2 * stride);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, c, 128);
    _tile_stored(1, c + 16, 128);
    _tile_stored(2, c + 512, 128);
    _tile_stored(3, c + 528, 128);
}

// By all threads together: [T, K] in `parts` times `number` panels (-> out [T, 32 number], plus `residual` if there is
// one). `pack(panel, count, to)` packs some of these. Each thread packs for itself, so that panels lie in its own cache.
template <class Pack>
static void product(const Left* parts, int count, Pack pack, int64_t number, const bf16* residual, bf16* out,
                    int64_t tokens) {
    int64_t k = 0;
    for (int part = 0; part < count; part++) k += parts[part].width;
    const int64_t size = k * STEP, most = std::max<int64_t>(1, AT_ONCE / (2 * size)), stride = number * STEP;
    const int64_t blocks = (number + most - 1) / most, threads = omp_get_num_threads();
    const int64_t splits = threads / std::gcd(blocks, threads), some_rows = up((tokens + splits - 1) / splits);
    uint16_t *panels = halves(least(most, number) * size), *last = halves(size);  // the last rows, filled up with nothing
    int64_t packed = -1;
    alignas(64) float c[STEP * STEP];
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < blocks * splits; task++) {
        const int64_t block = task / splits, rows = task % splits * some_rows, until = least(rows + some_rows, tokens);
        const int64_t from = number * block / blocks, to = number * (block + 1) / blocks;
        if (block != packed) pack(from, to - from, panels);
        packed = block;
        for (int64_t row = rows; row < until; row += STEP) {
            const int64_t there = least(STEP, until - row);
            Left filled = {(bf16*)last, k, k};
            if (there < STEP) {
                memset(last, 0, 2 * size);
                for (int64_t r = 0; r < there; r++)
                    for (int64_t part = 0, at = 0; part < count; at += parts[part++].width)
                        memcpy(last + r * k + at, parts[part].first + (row + r) * parts[part].stride,
                               2 * parts[part].width);
            }
            for (int64_t panel = from; panel < to; panel++) {
                if (there < STEP) multiply(&filled, 1, 0, panels + (panel - from) * size, c);
                else multiply(parts, count, row, panels + (panel - from) * size, c);
                for (int64_t r = 0; r < there; r++) {
                    const int64_t at = (row + r) * stride + panel * STEP;
                    V a = *(V*)(c + r * STEP), b = *(V*)(c + r * STEP + 16);
                    if (residual) a += load(residual + at, W), b += load(residual + at + 16, W);
                    _mm512_storeu_si512(out + at, (__m512i)_mm512_cvtne2ps_pbh((__m512)b, (__m512)a));
                }
            }
        }
    }
    free(panels), free(last);
}

// low [T, R] = x A', out [T, O] = [x, low] w' + residual; x [T, D], a [R, D], w [O, D + R].
static void project(const bf16* x, const bf16* a, const bf16* w, const bf16* residual, bf16* low, bf16* out,
                    int64_t tokens, int64_t inputs, int64_t rank, int64_t outputs, int threads) {
    const int64_t wide = inputs + rank;
    const Left parts[] = {{x, inputs, inputs}, {low, rank, rank}};
    auto rows_of = [](const bf16* matrix, int64_t k) {
        return [=](int64_t panel, int64_t count, uint16_t* to) {
            for (int64_t n = 0; n < count; n++) panel_of_rows(matrix + (panel + n) * STEP * k, k, k, to + n * STEP * k);
        };
    };
#pragma omp parallel num_threads(threads)
    {
        Use use;
        product(parts, 1, rows_of(a, inputs), rank / STEP, nullptr, low, tokens);
        product(parts, rank ? 2 : 1, rows_of(w, wide), outputs / STEP, residual, out, tokens);
    }
}

// of_low [T, R] = g w[:, D:], of_x [T, D] = g w[:, :D] + of_low a; g [T, O].
static void project_backward(const bf16* g, const bf16* a, const bf16* w, bf16* of_low, bf16* of_x, int64_t tokens,
                             int64_t inputs, int64_t rank, int64_t outputs, int threads) {
    const int64_t wide = inputs + rank;
    const Left parts[] = {{g, outputs, outputs}, {of_low, rank, rank}};
    auto columns_of = [=](const bf16* matrix, int64_t k) {  // of a matrix as wide as w, and for all of k those of a
        return [=](int64_t panel, int64_t count, uint16_t* to) {
            for (int64_t row = 0; row < outputs; row += STEP)  // along the rows, as they lie in memory
                for (int64_t n = 0; n < count; n++)
                    panel_of_columns(matrix + row * wide + (panel + n) * STEP, wide, STEP, STEP, to + (n * k + row) * STEP);
            for (int64_t n = 0; n < count && k > outputs; n++)
                panel_of_columns(a + (panel + n) * STEP, inputs, rank, rank, to + (n * k + outputs) * STEP);
        };
    };
#pragma omp parallel num_threads(threads)
    {
        Use use;
        product(parts, 1, columns_of(w + inputs, outputs), rank / STEP, nullptr, of_low, tokens);
        product(parts, rank ? 2 : 1, columns_of(w, outputs + rank), inputs / STEP, nullptr, of_x, tokens);
    }
}

// [R, N] float32 += low' [R, T] rows [T, N], for the panels of 32 columns from `begin` to `end`; turned [R, T rounded up].
static void factor(const uint16_t* turned, int64_t padded, const bf16* rows, int64_t stride, int64_t begin, int64_t end,
                   float* sums, int64_t rank, int64_t tokens) {
    alignas(64) uint16_t panel[2 * PANEL_STEP];
    for (int64_t row = 0; row < padded; row += 2 * STEP) {
        const int64_t k = least(2 * STEP, padded - row);
        for (int64_t at = begin; at < end; at++) {
            panel_of_columns(rows + row * stride + at * STEP, stride, k, tokens - row, panel);
            for (int64_t r = 0; r < rank; r += STEP) {
                float* c = sums + r * stride + at * STEP;
                _tile_loadd(0, c, 4 * stride);
                _tile_loadd(1, c + 16, 4 * stride);
                _tile_loadd(2, c + 16 * stride, 4 * stride);
                _tile_loadd(3, c + 16 * stride + 16, 4 * stride);
                for (int64_t l = 0; l < k; l += STEP) {
                    const uint16_t *left = turned + r * padded + row + l, *right = panel + l * STEP;
                    _tile_loadd(4, left, 2 * padded);
                    _tile_loadd(5, left + 16 * padded, 2 * padded);
                    _tile_loadd(6, right, 64);
                    _tile_loadd(7, right + PANEL_STEP / 2, 64);
                    _tile_dpbf16ps(0, 4, 6);
                    _tile_dpbf16ps(1, 4, 7);
                    _tile_dpbf16ps(2, 5, 6);
                    _tile_dpbf16ps(3, 5, 7);
                }
                _tile_stored(0, c, 4 * stride);
                _tile_stored(1, c + 16, 4 * stride);
                _tile_stored(2, c + 16 * stride, 4 * stride);
                _tile_stored(3, c + 16 * stride + 16, 4 * stride);
            }
        }
    }
}

// of_a [R, D] = of_low' x and of_b [R, O] = low' g, in float32.
static void factors_backward(const bf16* low, const bf16* of_low, const bf16* x, const bf16* g, float* of_a, float* of_b,
                    int64_t tokens, int64_t inputs, int64_t rank, int64_t outputs, int threads) {
    const int64_t padded = up(tokens), panels = (inputs + outputs) / STEP, of_inputs = inputs / STEP;
    uint16_t *low_turned = halves(rank * padded), *of_low_turned = halves(rank * padded);
    memset(of_a, 0, 4 * rank * inputs);
    memset(of_b, 0, 4 * rank * outputs);
#pragma omp parallel num_threads(threads)
    {
        Use use;
#pragma omp for
        for (int64_t row = 0; row < padded; row += STEP)
            for (int64_t r = 0; r < rank; r++)
                for (int64_t i = row; i < row + STEP; i++) {
                    low_turned[r * padded + i] = i < tokens ? low[i * rank + r].bits : 0;
                    of_low_turned[r * padded + i] = i < tokens ? of_low[i * rank + r].bits : 0;
                }
        const int64_t thread = omp_get_thread_num(), all = omp_get_num_threads();
        const int64_t begin = panels * thread / all, end = panels * (thread + 1) / all;
        factor(of_low_turned, padded, x, inputs, least(begin, of_inputs), least(end, of_inputs), of_a, rank, tokens);
        factor(low_turned, padded, g, outputs, std::max(begin, of_inputs) - of_inputs,
               std::max(end, of_inputs) - of_inputs, of_b, rank, tokens);
    }
    free(low_turned), free(of_low_turned);
}

}  // namespace tiles
