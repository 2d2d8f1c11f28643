// Attention on the matrix unit of x86 processors (AMX, bfloat16): `kernels.cpp` says what is computed, and takes this
// where the unit is there. A segment is cut into blocks of 64 tokens, packed as the unit reads them and filled up with
// zeros. Shares and their gradients are rounded to bfloat16 for the products, which add up in float32.
//
// Names as in `kernels.cpp`. Beside them P: K rounded up to 32. A matrix that is to stand on the left of a product is
// kept by rows; one that is to stand on the right, by pairs of rows: [rows / 2, columns, 2].

#include "amx.h"

namespace tiles {

struct Rows {  // of one head in one block: `count` of them, K wide, `stride` from one to the next
    const bf16* first;
    int64_t stride, count, width, padded;

    void by_rows(uint16_t* to) const {  // [64, P]
        memset(to, 0, 2 * BLOCK * padded);
        for (int64_t r = 0; r < count; r++) memcpy(to + r * padded, first + r * stride, 2 * width);
    }
};

// Of a block by rows [64, P]: by pairs [64 / 2, P, 2]; turned, by pairs [P / 2, 64, 2]; and of one by pairs: turned,
// by rows [P, 64].
static void by_pairs(const uint16_t* rows, int64_t padded, uint16_t* to) {
    for (int64_t r = 0; r < BLOCK; r += 2)
        for (int64_t i = 0; i < padded; i += STEP) {
            const uint16_t* from = rows + r * padded + i;
            uint16_t* at = to + r * padded + 2 * i;
            pair_up(_mm512_loadu_si512(from), _mm512_loadu_si512(from + padded), at, at + STEP);
        }
}
static void turned_by_pairs(const uint16_t* rows, int64_t padded, uint16_t* to) {
    for (int64_t i = 0; i < padded; i += STEP)
        for (int64_t r = 0; r < BLOCK; r += 16) turn(rows + r * padded + i, padded, to + i * BLOCK + 2 * r, 2 * BLOCK);
}
static void turned_by_rows(const uint16_t* pairs, int64_t padded, uint16_t* to) {
    for (int64_t i = 0; i < padded; i += 16)
        for (int64_t r = 0; r < BLOCK; r += STEP) turn(pairs + r * padded + 2 * i, 2 * padded, to + i * BLOCK + r, BLOCK);
}

struct Cut {  // block after block, the tokens of all segments
    const Shape& s;
    int64_t padded, size;

    explicit Cut(const Shape& s) : s(s), padded(up(s.width)), size(BLOCK * padded) {}

    int64_t start(int64_t block) const {
        const Segment& own = s.of(block);
        return own.start + (block - own.block) * BLOCK;
    }
    int64_t count(int64_t block) const { return least(BLOCK, s.of(block).stop - start(block)); }
    int64_t end(const Segment& segment) const {  // after the last block of its descendants
        int64_t last = segment.block + (segment.stop - segment.start + BLOCK - 1) / BLOCK;
        while (last < s.blocks && s.of(last).start < segment.end) {
            const Segment& next = s.of(last);
            last = next.block + (next.stop - next.start + BLOCK - 1) / BLOCK;
        }
        return last;
    }
    Rows rows(const bf16* from, int64_t stride, int64_t block) const {
        return {from + start(block) * stride, stride, count(block), s.width, padded};
    }
};

static uint16_t* halves(int64_t count) { return (uint16_t*)memory((count + 1) / 2); }

// One row of scores [64] to shares, of which `seen` are not nothing; what is known of the row so far is kept up.
static inline void to_shares(const float* scores, uint16_t* shares, float scale, int64_t seen, int64_t padded,
                             float& top, float& total, float* out) {
    V kept[BLOCK / W], most_of = all(top);
    for (int64_t i = 0; i < BLOCK / W; i++) {
        V x = load(scores + i * W, W) * scale;
        if (i * W + W > seen) x = PLACES < all(float(seen - i * W)) ? x : all(-1e30f);
        kept[i] = x;
        most_of = larger(x, most_of);
    }
    float now = _mm512_reduce_max_ps((__m512)most_of), before = exponential(all(top - now))[0];
    V sums = {};
    for (int64_t i = 0; i < BLOCK / W; i++) {
        V share = exponential(kept[i] - now);
        sums += share;
        *(AnyS*)(shares + i * W) = narrow(share);
    }
    if (before != 1)
        for (int64_t i = 0; i < padded; i += W) store(out + i, load(out + i, W) * before, W);
    total = total * before + _mm512_reduce_add_ps((__m512)sums);
    top = now;
}

static void attend(const bf16* q, int64_t q_stride, const bf16* k, const bf16* v, int64_t kv_stride, bf16* mixed,
                   float* logs, float scale, const Shape& s, int threads) {
    const Cut cut(s);
    const int64_t size = cut.size, padded = cut.padded;
    uint16_t *keys = halves(s.blocks * s.groups * size), *values = halves(s.blocks * s.groups * size);
#pragma omp parallel num_threads(threads)
    {
        Use use;
        uint16_t* queries = halves(size);  // and before, keys and values by rows
#pragma omp for collapse(2)
        for (int64_t block = 0; block < s.blocks; block++)
            for (int64_t g = 0; g < s.groups; g++) {
                int64_t at = (block * s.groups + g) * size;
                cut.rows(k + g * s.width, kv_stride, block).by_rows(queries);
                turned_by_pairs(queries, padded, keys + at);
                cut.rows(v + g * s.width, kv_stride, block).by_rows(queries);
                by_pairs(queries, padded, values + at);
            }
        float *out = memory(size), *scores = memory(BLOCK * BLOCK);
        uint16_t* shares = halves(BLOCK * BLOCK);
#pragma omp for collapse(2) schedule(dynamic)
        for (int64_t task = 0; task < s.blocks; task++)
            for (int64_t h = 0; h < s.heads; h++) {
                int64_t block = s.blocks - 1 - task, g = h / (s.heads / s.groups);
                int64_t start = cut.start(block), count = cut.count(block);
                const Segment& own = s.of(block);
                float tops[BLOCK], totals[BLOCK] = {};
                for (float& top : tops) top = -1e30f;
                memset(out, 0, 4 * size);
                memset(shares, 0, 2 * BLOCK * BLOCK);
                cut.rows(q + h * s.width, q_stride, block).by_rows(queries);
                for (const Segment* from = &own; from; from = from->parent < 0 ? nullptr : &s.all[from->parent])
                    for (int64_t at = from->block; from->start + (at - from->block) * BLOCK < from->stop; at++) {
                        if (at > block && from == &own) break;
                        int64_t seen = cut.count(at), held = (at * s.groups + g) * size;
                        product<false>(scores, BLOCK, queries, padded, keys + held, BLOCK, up(count), up(seen), padded);
                        for (int64_t r = 0; r < count; r++)
                            to_shares(scores + r * BLOCK, shares + r * BLOCK, scale, at == block ? r + 1 : seen, padded,
                                      tops[r], totals[r], out + r * padded);
                        product<true>(out, padded, shares, BLOCK, values + held, padded, up(count), padded, up(seen));
                    }
                for (int64_t r = 0; r < count; r++) {
                    bf16* to = mixed + ((start + r) * s.heads + h) * s.width;
                    for (int64_t i = 0; i < s.width; i += W)
                        store(to + i, load(out + r * padded + i, W) * (1 / totals[r]), s.width - i);
                    logs[(start + r) * s.heads + h] = tops[r] + __builtin_logf(totals[r]);
                }
            }
        free(out), free(scores), free(queries), free(shares);
    }
    free(keys), free(values);
}

// Two keys' scores and products with the gradient [2, 64 queries] -> their shares and the gradients of their scores, by
// rows, and the latter by pairs too. The first query that sees a key is `since` for the first, the next for the other.
static inline void to_gradients(const float* scores, const float* products, const float* logs, const float* inner,
                                float scale, int64_t since, bool second, uint16_t* shares, uint16_t* of_scores,
                                uint16_t* paired) {
    for (int64_t i = 0; i < BLOCK; i += W) {
        S of[2];
        for (int64_t r = 0; r < 2; r++) {
            const bool none = r == 1 && !second;
            V p = exponential(load(scores + r * BLOCK + i, W) * scale - load(logs + i, W));
            if (none) p = V{};
            if (i < since + r) p = PLACES < all(float(since + r - i)) ? V{} : p;
            V d = p * (load(products + r * BLOCK + i, W) - load(inner + i, W));
            of[r] = narrow(none ? V{} : d);
            *(AnyS*)(shares + r * BLOCK + i) = narrow(p);
            *(AnyS*)(of_scores + r * BLOCK + i) = of[r];
        }
        *(U*)(paired + 2 * i) = __builtin_convertvector(of[0], U) | __builtin_convertvector(of[1], U) << 16;
    }
}

// The queries of one head and their gradients, for all blocks of a root.
struct Asked {
    uint16_t *turned, *paired, *given_turned, *given_paired;  // [blocks, 64 P]
    float *logs, *inner, *gradients;                          // [blocks, 64], [blocks, 64], [blocks, P, 64]

    Asked(int64_t blocks, int64_t size)
        : turned(halves(blocks * size)), paired(halves(blocks * size)), given_turned(halves(blocks * size)),
          given_paired(halves(blocks * size)), logs(memory(blocks * BLOCK)), inner(memory(blocks * BLOCK)),
          gradients(memory(blocks * size)) {}
    ~Asked() {
        free(turned), free(paired), free(given_turned), free(given_paired), free(logs), free(inner), free(gradients);
    }
};

static void attend_backward(const bf16* gradient, const bf16* q, int64_t q_stride, const bf16* k, const bf16* v,
                            int64_t kv_stride, const bf16* mixed, const float* logs, bf16* of_q, int64_t of_q_stride,
                            bf16* of_k, bf16* of_v, int64_t of_kv_stride, float scale, const Shape& s, int threads) {
    const Cut cut(s);
    const int64_t size = cut.size, padded = cut.padded, shared = s.heads / s.groups, wide = s.heads * s.width;
    float *of_keys = memory(s.tokens * wide), *of_values = memory(s.tokens * wide);  // of each head for itself
    int64_t most = 0;
    for (int64_t root : s.roots) most = std::max(most, cut.end(s.all[root]) - s.all[root].block);
#pragma omp parallel num_threads(threads)
    {
        Use use;
        Asked asked(most, size);
        uint16_t *keys = halves(size), *keys_turned = halves(size), *values = halves(size);
        uint16_t *shares = halves(BLOCK * BLOCK), *of_scores = halves(BLOCK * BLOCK), *paired = halves(BLOCK * BLOCK);
        float *scores = memory(BLOCK * BLOCK), *products = memory(BLOCK * BLOCK);
        float *dk = memory(size), *dv = memory(size);
#pragma omp for collapse(2) schedule(dynamic)
        for (size_t task = 0; task < s.roots.size(); task++)
            for (int64_t h = 0; h < s.heads; h++) {
                const Segment& root = s.all[s.roots[task]];
                const int64_t first = root.block, last = cut.end(root), g = h / shared;
                memset(asked.gradients, 0, 4 * (last - first) * size);
                for (int64_t block = first; block < last; block++) {
                    int64_t at = (block - first) * size, start = cut.start(block), count = cut.count(block);
                    Rows asks = cut.rows(q + h * s.width, q_stride, block);
                    Rows given = cut.rows(gradient + h * s.width, wide, block);
                    asks.by_rows(keys);
                    turned_by_pairs(keys, padded, asked.turned + at);
                    by_pairs(keys, padded, asked.paired + at);
                    given.by_rows(keys);
                    turned_by_pairs(keys, padded, asked.given_turned + at);
                    by_pairs(keys, padded, asked.given_paired + at);
                    float *known = asked.logs + (block - first) * BLOCK, *inner = asked.inner + (block - first) * BLOCK;
                    for (int64_t r = 0; r < BLOCK; r++) {
                        V along = {};
                        for (int64_t i = 0; r < count && i < s.width; i += W)
                            along += load(given.first + r * wide + i, s.width - i) *
                                     load(mixed + (start + r) * wide + h * s.width + i, s.width - i);
                        inner[r] = sum(along);
                        known[r] = r < count ? logs[(start + r) * s.heads + h] : 1e30f;  // nothing of it is left
                    }
                }
                for (int64_t block = first; block < last; block++) {
                    const int64_t start = cut.start(block), seen = cut.count(block), until = cut.end(s.of(block));
                    cut.rows(k + g * s.width, kv_stride, block).by_rows(keys);
                    by_pairs(keys, padded, values);
                    turned_by_rows(values, padded, keys_turned);
                    cut.rows(v + g * s.width, kv_stride, block).by_rows(values);
                    memset(dk, 0, 4 * size);
                    memset(dv, 0, 4 * size);
                    memset(shares, 0, 2 * BLOCK * BLOCK);
                    memset(of_scores, 0, 2 * BLOCK * BLOCK);
                    memset(paired, 0, 2 * BLOCK * BLOCK);
                    for (int64_t by = block; by < until; by++) {
                        const int64_t at = (by - first) * size, count = up(cut.count(by)), rows = up(seen);
                        product<false>(scores, BLOCK, keys, padded, asked.turned + at, BLOCK, rows, count, padded);
                        product<false>(products, BLOCK, values, padded, asked.given_turned + at, BLOCK, rows, count,
                                       padded);
                        for (int64_t r = 0; r < seen; r += 2)
                            to_gradients(scores + r * BLOCK, products + r * BLOCK, asked.logs + (by - first) * BLOCK,
                                         asked.inner + (by - first) * BLOCK, scale, by == block ? r : -1, r + 1 < seen,
                                         shares + r * BLOCK, of_scores + r * BLOCK, paired + r * BLOCK);
                        product<true>(dv, padded, shares, BLOCK, asked.given_paired + at, padded, rows, padded, count);
                        product<true>(dk, padded, of_scores, BLOCK, asked.paired + at, padded, rows, padded, count);
                        product<true>(asked.gradients + at, BLOCK, keys_turned, BLOCK, paired, BLOCK, padded, count,
                                      rows);
                    }
                    for (int64_t r = 0; r < seen; r++)
                        for (int64_t i = 0; i < s.width; i += W) {
                            int64_t to = (start + r) * wide + h * s.width + i;
                            store(of_keys + to, load(dk + r * padded + i, W) * scale, s.width - i);
                            store(of_values + to, load(dv + r * padded + i, W), s.width - i);
                        }
                }
                for (int64_t block = first; block < last; block++) {
                    const float* made = asked.gradients + (block - first) * size;
                    bf16* to = of_q + cut.start(block) * of_q_stride + h * s.width;
                    for (int64_t r = 0; r < cut.count(block); r += W)
                        for (int64_t i = 0; i < s.width; i += W) {
                            V turned[W];
                            turn((const uint16_t*)(made + i * BLOCK + r), 2 * BLOCK, (uint16_t*)turned, 2 * W);
                            for (int64_t j = 0; j < least(W, cut.count(block) - r); j++)
                                store(to + (r + j) * of_q_stride + i, turned[j] * scale, s.width - i);
                        }
                }
            }
        free(keys), free(keys_turned), free(values), free(shares), free(of_scores), free(paired);
        free(scores), free(products), free(dk), free(dv);
        sum_heads(of_keys, of_values, of_k, of_v, of_kv_stride, s);
    }
    free(of_keys), free(of_values);
}

}  // namespace tiles
