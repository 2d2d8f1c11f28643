// A linear layer with its LoRA adapter on AMX, forward and backward; `lora_linear.py` says what is computed. The right
// operand of a product is packed anew each time, which takes little time beside hundreds of rows on the left.
//
// T tokens, D inputs, O outputs, R LoRA rank. D, O and R are multiples of 32.

namespace amx {

constexpr int64_t PANEL_STEP = STEP * STEP;      // bf16 in 32 rows of a panel, which is 32 columns wide
constexpr int64_t CACHED_BYTES = 640 * 1024;     // of panels, which stay in a core's L2 cache

static inline void prefetch(const void* from) { _mm_prefetch((const char*)from, _MM_HINT_T0); }

// A panel holds 32 columns of the right operand: for every 32 rows two tiles of 16 columns, in pairs of rows.
// From w [32, K], transposed; prefetches the 32 rows after it.
static void pack_panel_transposed(const bf16* w, int64_t stride, int64_t k, uint16_t* to) {
    const uint16_t* from = (const uint16_t*)w;
    for (int64_t l = 0; l < k; l += STEP, to += PANEL_STEP) {
        for (int64_t r = 0; r < STEP; r++) prefetch(from + (STEP + r) * stride + l);
        transpose_16x16(from + l, stride, to, STEP);
        transpose_16x16(from + 16 * stride + l, stride, to + PANEL_STEP / 2, STEP);
    }
}

// From w [K, 32], with zeros for rows from `count` on; prefetches the rows after it.
static inline void pack_panel(const bf16* w, int64_t stride, int64_t k, int64_t count, uint16_t* to) {
    for (int64_t l = 0; l < k; l += 2, to += STEP) {
        prefetch(w + (k + l) * stride), prefetch(w + (k + l + 1) * stride);
        __m512i a = _mm512_setzero_si512(), b = a;
        if (l < count) a = _mm512_loadu_si512(w + l * stride);
        if (l + 1 < count) b = _mm512_loadu_si512(w + (l + 1) * stride);
        interleave_rows(a, b, to, to + PANEL_STEP / 2);
        if (l % STEP == STEP - 2) to += PANEL_STEP / 2;
    }
}

// [32, 32], with zeros for rows from `count` on, -> transposed.
static inline void transpose_32x32(const bf16* from, int64_t stride, int64_t count, uint16_t* to, int64_t to_stride) {
    alignas(64) uint16_t pairs[STEP * STEP];
    for (int64_t r = 0; r < STEP; r += 2) {
        __m512i upper = _mm512_setzero_si512(), lower = upper;
        if (r < count) upper = _mm512_loadu_si512(from + r * stride);
        if (r + 1 < count) lower = _mm512_loadu_si512(from + (r + 1) * stride);
        interleave_rows(upper, lower, pairs + r * STEP, pairs + (r + 1) * STEP);
    }
    transpose_16x16(pairs, 2 * STEP, to, to_stride);
    transpose_16x16(pairs + STEP, 2 * STEP, to + 16 * to_stride, to_stride);
}

struct LeftOperand {  // [T, width]
    const bf16* first;
    int64_t stride, width;
};

// 32 rows times a panel, summed over the left operands laid side by side -> c [32, 32]. The rows stay in the L1 cache
// from panel to panel because streaming loads keep panels out of it: a quarter faster.
static inline void multiply_panel(const LeftOperand* lefts, int count, int64_t row, const uint16_t* panel, float* c) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int operand = 0; operand < count; operand++) {
        const int64_t stride = lefts[operand].stride;
        const bf16* a = lefts[operand].first + row * stride;
        for (int64_t l = 0; l < lefts[operand].width; l += STEP, panel += PANEL_STEP) {
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

// Called by all threads of a team: the left operands side by side [T, K] times `panel_count` panels, plus `residual`
// unless null -> out [T, 32 panel_count]. `pack(panel, count, to)` packs panels; each thread packs its own, so that
// they lie in its cache.
template <class Pack>
static void matmul_packed(const LeftOperand* lefts, int left_count, Pack pack, int64_t panel_count,
                          const bf16* residual, bf16* out, int64_t tokens) {
    int64_t k = 0;
    for (int operand = 0; operand < left_count; operand++) k += lefts[operand].width;
    const int64_t size = k * STEP, most_panels = std::max<int64_t>(1, CACHED_BYTES / (2 * size));
    const int64_t stride = panel_count * STEP;
    const int64_t blocks = (panel_count + most_panels - 1) / most_panels, threads = omp_get_num_threads();
    const int64_t splits = threads / std::gcd(blocks, threads), split_rows = round_up((tokens + splits - 1) / splits);
    uint16_t *panels = alloc_bf16(min64(most_panels, panel_count) * size);
    uint16_t* padded_rows = alloc_bf16(size);  // the last rows, padded with zeros to 32
    int64_t packed_block = -1;
    alignas(64) float c[STEP * STEP];
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < blocks * splits; task++) {
        const int64_t block = task / splits, rows = task % splits * split_rows, until = min64(rows + split_rows, tokens);
        const int64_t from = panel_count * block / blocks, to = panel_count * (block + 1) / blocks;
        if (block != packed_block) pack(from, to - from, panels);
        packed_block = block;
        for (int64_t row = rows; row < until; row += STEP) {
            const int64_t row_count = min64(STEP, until - row);
            LeftOperand padded = {(bf16*)padded_rows, k, k};
            if (row_count < STEP) {
                memset(padded_rows, 0, 2 * size);
                for (int64_t r = 0; r < row_count; r++)
                    for (int64_t operand = 0, at = 0; operand < left_count; at += lefts[operand++].width)
                        memcpy(padded_rows + r * k + at, lefts[operand].first + (row + r) * lefts[operand].stride,
                               2 * lefts[operand].width);
            }
            for (int64_t panel = from; panel < to; panel++) {
                if (row_count < STEP) multiply_panel(&padded, 1, 0, panels + (panel - from) * size, c);
                else multiply_panel(lefts, left_count, row, panels + (panel - from) * size, c);
                for (int64_t r = 0; r < row_count; r++) {
                    const int64_t at = (row + r) * stride + panel * STEP;
                    V a = *(V*)(c + r * STEP), b = *(V*)(c + r * STEP + 16);
                    if (residual) a += load(residual + at, W), b += load(residual + at + 16, W);
                    _mm512_storeu_si512(out + at, (__m512i)_mm512_cvtne2ps_pbh((__m512)b, (__m512)a));
                }
            }
        }
    }
    free(panels), free(padded_rows);
}

// low [T, R] = x A', out [T, O] = [x, low] weight' + residual; x [T, D], a [R, D], weight [O, D + R].
static void lora_linear(const bf16* x, const bf16* a, const bf16* weight, const bf16* residual, bf16* low, bf16* out,
                        int64_t tokens, int64_t inputs, int64_t rank, int64_t outputs, int threads) {
    const int64_t row_width = inputs + rank;
    const LeftOperand lefts[] = {{x, inputs, inputs}, {low, rank, rank}};
    auto pack_rows_of = [](const bf16* matrix, int64_t k) {
        return [=](int64_t panel, int64_t count, uint16_t* to) {
            for (int64_t n = 0; n < count; n++)
                pack_panel_transposed(matrix + (panel + n) * STEP * k, k, k, to + n * STEP * k);
        };
    };
#pragma omp parallel num_threads(threads)
    {
        TileConfig config;
        matmul_packed(lefts, 1, pack_rows_of(a, inputs), rank / STEP, nullptr, low, tokens);
        matmul_packed(lefts, rank ? 2 : 1, pack_rows_of(weight, row_width), outputs / STEP, residual, out, tokens);
    }
}

// grad_low [T, R] = grad weight[:, D:], grad_x [T, D] = grad weight[:, :D] + grad_low A; grad [T, O].
static void lora_linear_backward(const bf16* grad, const bf16* a, const bf16* weight, bf16* grad_low, bf16* grad_x,
                                 int64_t tokens, int64_t inputs, int64_t rank, int64_t outputs, int threads) {
    const int64_t row_width = inputs + rank;
    const LeftOperand lefts[] = {{grad, outputs, outputs}, {grad_low, rank, rank}};
    auto pack_columns_of = [=](const bf16* matrix, int64_t k) {  // of `weight`; for k > outputs with those of A below
        return [=](int64_t panel, int64_t count, uint16_t* to) {
            for (int64_t row = 0; row < outputs; row += STEP)  // along rows, in the order of memory
                for (int64_t n = 0; n < count; n++)
                    pack_panel(matrix + row * row_width + (panel + n) * STEP, row_width, STEP, STEP,
                               to + (n * k + row) * STEP);
            for (int64_t n = 0; n < count && k > outputs; n++)
                pack_panel(a + (panel + n) * STEP, inputs, rank, rank, to + (n * k + outputs) * STEP);
        };
    };
#pragma omp parallel num_threads(threads)
    {
        TileConfig config;
        matmul_packed(lefts, 1, pack_columns_of(weight + inputs, outputs), rank / STEP, nullptr, grad_low, tokens);
        matmul_packed(lefts, rank ? 2 : 1, pack_columns_of(weight, outputs + rank), inputs / STEP, nullptr, grad_x,
                      tokens);
    }
}

// sums [R, N] float32 += low' [R, T] rows [T, N], for the panels of 32 columns from `begin` to `end`; `transposed`
// [R, T rounded up] is low'.
static void accumulate_factor(const uint16_t* transposed, int64_t padded_tokens, const bf16* rows, int64_t stride,
                              int64_t begin, int64_t end, float* sums, int64_t rank, int64_t tokens) {
    alignas(64) uint16_t panel[2 * PANEL_STEP];
    for (int64_t row = 0; row < padded_tokens; row += 2 * STEP) {
        const int64_t k = min64(2 * STEP, padded_tokens - row);
        for (int64_t column = begin; column < end; column++) {
            pack_panel(rows + row * stride + column * STEP, stride, k, tokens - row, panel);
            for (int64_t r = 0; r < rank; r += STEP) {
                float* c = sums + r * stride + column * STEP;
                _tile_loadd(0, c, 4 * stride);
                _tile_loadd(1, c + 16, 4 * stride);
                _tile_loadd(2, c + 16 * stride, 4 * stride);
                _tile_loadd(3, c + 16 * stride + 16, 4 * stride);
                for (int64_t l = 0; l < k; l += STEP) {
                    const uint16_t *left = transposed + r * padded_tokens + row + l, *right = panel + l * STEP;
                    _tile_loadd(4, left, 2 * padded_tokens);
                    _tile_loadd(5, left + 16 * padded_tokens, 2 * padded_tokens);
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

// grad_a [R, D] = grad_low' x and grad_b [R, O] = low' grad_out, in float32.
static void lora_factors_backward(const bf16* low, const bf16* grad_low, const bf16* x, const bf16* grad_out,
                                  float* grad_a, float* grad_b, int64_t tokens, int64_t inputs, int64_t rank,
                                  int64_t outputs, int threads) {
    const int64_t padded_tokens = round_up(tokens), panels = (inputs + outputs) / STEP, a_panels = inputs / STEP;
    uint16_t *low_transposed = alloc_bf16(rank * padded_tokens), *grad_transposed = alloc_bf16(rank * padded_tokens);
    memset(grad_a, 0, 4 * rank * inputs);
    memset(grad_b, 0, 4 * rank * outputs);
#pragma omp parallel num_threads(threads)
    {
        TileConfig config;
#pragma omp for
        for (int64_t row = 0; row < padded_tokens; row += STEP)
            for (int64_t r = 0; r < rank; r += STEP) {
                const int64_t from = row * rank + r, to = r * padded_tokens + row;
                transpose_32x32(low + from, rank, tokens - row, low_transposed + to, padded_tokens);
                transpose_32x32(grad_low + from, rank, tokens - row, grad_transposed + to, padded_tokens);
            }
        const int64_t thread = omp_get_thread_num(), threads_in_team = omp_get_num_threads();
        const int64_t begin = panels * thread / threads_in_team, end = panels * (thread + 1) / threads_in_team;
        accumulate_factor(grad_transposed, padded_tokens, x, inputs, min64(begin, a_panels), min64(end, a_panels),
                          grad_a, rank, tokens);
        accumulate_factor(low_transposed, padded_tokens, grad_out, outputs, std::max(begin, a_panels) - a_panels,
                          std::max(end, a_panels) - a_panels, grad_b, rank, tokens);
    }
    free(low_transposed), free(grad_transposed);
}

}  // namespace amx
