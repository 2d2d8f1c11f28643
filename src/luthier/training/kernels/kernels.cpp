// The parts of a Llama layer that are not matrix products, for processors: what `kernels.py` and `attention.py`
// say in PyTorch, each in one pass over memory. Computes in float32, rounds once; rows are shared out by OpenMP.
//
// Written with the vector types of GCC and Clang, so it knows no processor by name. `native.py` compiles it.
// Names: T tokens, D width, H heads, G groups of heads, K head width. Strides count elements.

#include "simd.h"

constexpr int PANEL = W * VECS;
constexpr int BLOCK = 64;  // queries, and keys, that attention takes at a time

// ---- norms, activations, rotary positions ----

template <class T>
static void normalise(const T* x, const T* weight, float eps, bool again, T* out, int64_t stride, float* factors,
                      int64_t tokens, int64_t width, int threads) {
#pragma omp parallel for num_threads(threads)
    for (int64_t t = 0; t < tokens; t++) {
        const T* row = x + t * width;
        if (!again) {
            V squares = {};
            for (int64_t i = 0; i < width; i += W) { V a = load(row + i, width - i); squares += a * a; }
            factors[t] = 1 / __builtin_sqrtf(sum(squares) / width + eps);
        }
        for (int64_t i = 0; i < width; i += W)
            store(out + t * stride + i,
                  as_kept(load(row + i, width - i) * factors[t], row) * load(weight + i, width - i), width - i);
    }
}

template <class T>
static void normalise_backward(const T* gradient, int64_t stride, const T* x, const T* weight, const float* factors,
                               const T* more, T* out, int64_t tokens, int64_t width, int threads) {
#pragma omp parallel for num_threads(threads)
    for (int64_t t = 0; t < tokens; t++) {
        const T *g = gradient + t * stride, *row = x + t * width, *beside = more + t * width;
        V along = {};
        for (int64_t i = 0; i < width; i += W)
            along += load(g + i, width - i) * load(weight + i, width - i) * load(row + i, width - i);
        float factor = factors[t], share = sum(along) * factor * factor / width;
        for (int64_t i = 0; i < width; i += W)
            store(out + t * width + i,
                  (load(g + i, width - i) * load(weight + i, width - i) - load(row + i, width - i) * share) * factor +
                      load(beside + i, width - i),
                  width - i);
    }
}

template <class T>
static void swiglu(const T* gate_up, T* out, int64_t stride, int64_t tokens, int64_t width, int threads) {
#pragma omp parallel for num_threads(threads)
    for (int64_t t = 0; t < tokens; t++) {
        const T *gate = gate_up + 2 * t * width, *up = gate + width;
        for (int64_t i = 0; i < width; i += W) {
            V a = load(gate + i, width - i);
            store(out + t * stride + i, a / (1 + exponential(-a)) * load(up + i, width - i), width - i);
        }
    }
}

template <class T>
static void swiglu_backward(const T* gradient, int64_t stride, const T* gate_up, T* out, T* active, int64_t tokens,
                            int64_t width, int threads) {
#pragma omp parallel for num_threads(threads)
    for (int64_t t = 0; t < tokens; t++) {
        const T *g = gradient + t * stride, *gate = gate_up + 2 * t * width, *up = gate + width;
        T *of_gate = out + 2 * t * width, *of_up = of_gate + width;
        for (int64_t i = 0; i < width; i += W) {
            int64_t count = width - i;
            V a = load(gate + i, count), b = load(up + i, count), of = load(g + i, count);
            V share = 1 / (1 + exponential(-a)), silu = a * share;
            store(of_up + i, of * silu, count);
            store(of_gate + i, of * b * share * (1 + a - silu), count);
            store(active + t * width + i, silu * b, count);
        }
    }
}

template <class T>  // in place: x [T, heads, K] with `stride` from token to token; cos and sin [T, K / 2]
static void rotate(T* x, int64_t stride, const T* cos, const T* sin, float sign, int64_t tokens, int64_t heads,
                   int64_t width, int threads) {
    int64_t half = width / 2;
#pragma omp parallel for num_threads(threads)
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t h = 0; h < heads; h++) {
            T *first = x + t * stride + h * width, *second = first + half;
            for (int64_t i = 0; i < half; i += W) {
                V a = load(first + i, half - i), b = load(second + i, half - i);
                V c = load(cos + t * half + i, half - i), s = load(sin + t * half + i, half - i) * sign;
                store(first + i, a * c - b * s, half - i);
                store(second + i, b * c + a * s, half - i);
            }
        }
}

template <class T>
static void log_softmax_at(T* logits, const int64_t* targets, float* found, uint8_t* likeliest, int64_t rows,
                           int64_t width, int threads) {
#pragma omp parallel num_threads(threads)
    {
        float* shares = (float*)malloc(4 * (width + W));
#pragma omp for
        for (int64_t t = 0; t < rows; t++) {
            T* row = logits + t * width;
            float given = one(row + targets[t]);
            V tops = all(given), totals = {};
            int64_t whole = width / W * W;
            for (int64_t i = 0; i < whole; i += W) tops = larger(load(row + i, W), tops);
            float top = most(tops);
            for (int64_t i = whole; i < width; i++) top = one(row + i) > top ? one(row + i) : top;
            for (int64_t i = 0; i < width; i += W) {
                V share = exponential(load(row + i, width - i) - top);
                if (i == whole) for (int64_t j = width - i; j < W; j++) share[j] = 0;
                totals += share;
                store(shares + i, share, W);
            }
            float total = sum(totals);
            for (int64_t i = 0; i < width; i += W) store(row + i, load(shares + i, W) * (1 / total), width - i);
            found[t] = given - top - __builtin_logf(total);
            likeliest[t] = given >= top;
        }
        free(shares);
    }
}

// ---- attention ----

// C [M, N] (+)= A [M, K] B [K, N]; A's element (i, k) is a[i * down + k * along]. M and N are rounded up to whole
// blocks, for which the memory must be there. Of causal scores, each block of rows takes what can differ from zero:
enum Part { ALL, COLUMNS_BEFORE, TERMS_BEFORE, TERMS_SINCE };  // its own last row, or from its own first row

template <bool ADD>
static inline void product(float* c, int64_t ldc, const float* a, int64_t down, int64_t along, const float* b,
                           int64_t ldb, int64_t m, int64_t n, int64_t k, Part part) {
    for (int64_t i = 0; i < m; i += ROWS) {
        int64_t columns = part == COLUMNS_BEFORE && i + ROWS < n ? i + ROWS : n;
        int64_t until = part == TERMS_BEFORE && i + ROWS < k ? i + ROWS : k;
        for (int64_t j = 0; j < columns; j += PANEL) {
            V sums[ROWS][VECS] = {};
            for (int64_t l = part == TERMS_SINCE ? i : 0; l < until; l++) {
                V right[VECS];
                for (int v = 0; v < VECS; v++) right[v] = load(b + l * ldb + j + v * W, W);
#pragma GCC unroll 8
                for (int r = 0; r < ROWS; r++) {
                    float left = a[(i + r) * down + l * along];
#pragma GCC unroll 2
                    for (int v = 0; v < VECS; v++) sums[r][v] += left * right[v];
                }
            }
#pragma GCC unroll 8
            for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
                for (int v = 0; v < VECS; v++) {
                    float* at = c + (i + r) * ldc + j + v * W;
                    store(at, ADD ? load(at, W) + sums[r][v] : sums[r][v], W);
                }
        }
    }
}

struct Span { int64_t start, stop, end, parent; };  // as `Layout.segments` has them
struct Segment : Span { int64_t block; };           // its first block of keys

struct Shape {
    int64_t tokens, heads, groups, width, padded, blocks = 0;
    std::vector<Segment> all;
    std::vector<int64_t> roots;  // the largest first

    Shape(const Span* spans, int64_t count, int64_t tokens, int64_t heads, int64_t groups, int64_t width)
        : tokens(tokens), heads(heads), groups(groups), width(width), padded((width + PANEL - 1) / PANEL * PANEL) {
        for (int64_t i = 0; i < count; i++) {
            all.push_back({spans[i], blocks});
            blocks += (spans[i].stop - spans[i].start + BLOCK - 1) / BLOCK;
            if (spans[i].parent < 0) roots.push_back(i);
        }
        auto size = [&](int64_t i) { return spans[i].end - spans[i].start; };
        std::stable_sort(roots.begin(), roots.end(), [&](int64_t i, int64_t j) { return size(i) > size(j); });
    }

    const Segment& of(int64_t block) const {
        auto after = [](int64_t at, const Segment& one) { return at < one.block; };
        return *(std::upper_bound(all.begin(), all.end(), block, after) - 1);
    }
};

template <class T>  // rows of one head as float32 [count, padded], times `scale`; the padding is zero
static void unpack(const T* from, int64_t stride, int64_t count, const Shape& s, float scale, float* to) {
    for (int64_t r = 0; r < count; r++)
        for (int64_t i = 0; i < s.padded; i += W)
            store(to + r * s.padded + i, i < s.width ? load(from + r * stride + i, s.width - i) * scale : V{}, W);
}

template <class T>  // the same, [padded, BLOCK]
static void unpack_turned(const T* from, int64_t stride, int64_t count, const Shape& s, float* to) {
    memset(to, 0, 4 * s.padded * BLOCK);
    for (int64_t r = 0; r < count; r++)
        for (int64_t i = 0; i < s.width; i++) to[i * BLOCK + r] = one(from + r * stride + i);
}


template <class T>
static void attend(const T* q, int64_t q_stride, const T* k, const T* v, int64_t kv_stride, T* mixed, float* logs,
                   float scale, const Shape& s, int threads) {
    int64_t size = s.padded * BLOCK;
    float *keys = memory(s.blocks * s.groups * size), *values = memory(s.blocks * s.groups * size);
#pragma omp parallel num_threads(threads)
    {
#pragma omp for collapse(2)
        for (int64_t block = 0; block < s.blocks; block++)
            for (int64_t g = 0; g < s.groups; g++) {
                const Segment& own = s.of(block);
                int64_t start = own.start + (block - own.block) * BLOCK, count = least(BLOCK, own.stop - start);
                int64_t from = start * kv_stride + g * s.width;
                unpack_turned(k + from, kv_stride, count, s, keys + (block * s.groups + g) * size);
                unpack(v + from, kv_stride, count, s, 1, values + (block * s.groups + g) * size);
            }
        float *queries = memory(3 * size + BLOCK * BLOCK), *out = queries + size, *scores = out + size;
#pragma omp for collapse(2) schedule(dynamic)
        for (int64_t task = 0; task < s.blocks; task++)
            for (int64_t h = 0; h < s.heads; h++) {
                int64_t block = s.blocks - 1 - task, g = h / (s.heads / s.groups);
                const Segment& own = s.of(block);
                int64_t start = own.start + (block - own.block) * BLOCK, count = least(BLOCK, own.stop - start);
                float tops[BLOCK], totals[BLOCK] = {};
                for (float& top : tops) top = -1e30f;
                memset(queries, 0, 4 * size);
                memset(out, 0, 4 * size);
                unpack(q + start * q_stride + h * s.width, q_stride, count, s, scale, queries);
                for (const Segment* from = &own; from; from = from->parent < 0 ? nullptr : &s.all[from->parent])
                    for (int64_t at = from->block; from->start + (at - from->block) * BLOCK < from->stop; at++) {
                        if (at > block && from == &own) break;
                        int64_t seen = least(BLOCK, from->stop - from->start - (at - from->block) * BLOCK);
                        const float* held = keys + (at * s.groups + g) * size;
                        product<false>(scores, BLOCK, queries, s.padded, 1, held, BLOCK, count, seen, s.width,
                                       at == block ? COLUMNS_BEFORE : ALL);
                        for (int64_t r = 0; r < count; r++) {
                            float* row = scores + r * BLOCK;
                            int64_t until = at == block ? r + 1 : seen;
                            for (int64_t i = until; i < BLOCK; i++) row[i] = -1e30f;
                            V most_of = all(tops[r]), total = {};
                            for (int64_t i = 0; i < until; i += W) most_of = larger(load(row + i, W), most_of);
                            float top = most(most_of), before = exponential(all(tops[r] - top))[0];
                            for (int64_t i = 0; i < BLOCK; i += W) {
                                V share = exponential(load(row + i, W) - top);
                                total += share;
                                store(row + i, share, W);
                            }
                            if (before != 1)
                                for (int64_t i = 0; i < s.padded; i += W)
                                    store(out + r * s.padded + i, load(out + r * s.padded + i, W) * before, W);
                            totals[r] = totals[r] * before + sum(total);
                            tops[r] = top;
                        }
                        product<true>(out, s.padded, scores, BLOCK, 1, values + (at * s.groups + g) * size, s.padded,
                                      count, s.width, seen, at == block ? TERMS_BEFORE : ALL);
                    }
                for (int64_t r = 0; r < count; r++) {
                    T* to = mixed + ((start + r) * s.heads + h) * s.width;
                    for (int64_t i = 0; i < s.width; i += W)
                        store(to + i, load(out + r * s.padded + i, W) * (1 / totals[r]), s.width - i);
                    logs[(start + r) * s.heads + h] = tops[r] + __builtin_logf(totals[r]);
                }
            }
        free(queries);
    }
    free(keys);
    free(values);
}

template <class T>  // by all threads together: heads that share keys and values share their gradients
static void sum_heads(const float* of_keys, const float* of_values, T* of_k, T* of_v, int64_t stride, const Shape& s) {
    int64_t shared = s.heads / s.groups, wide = s.heads * s.width;
#pragma omp for
    for (int64_t t = 0; t < s.tokens; t++)
        for (int64_t g = 0; g < s.groups; g++)
            for (int64_t i = 0; i < s.width; i += W) {
                V a = {}, b = {};
                for (int64_t h = g * shared; h < (g + 1) * shared; h++) {
                    a += load(of_keys + t * wide + h * s.width + i, s.width - i);
                    b += load(of_values + t * wide + h * s.width + i, s.width - i);
                }
                store(of_k + t * stride + g * s.width + i, a, s.width - i);
                store(of_v + t * stride + g * s.width + i, b, s.width - i);
            }
}

template <class T>  // `logs` as `attend` found them; the gradients of q, k and v go into tensors with the given strides
static void attend_backward(const T* gradient, const T* q, int64_t q_stride, const T* k, const T* v, int64_t kv_stride,
                            const T* mixed, const float* logs, T* of_q, int64_t of_q_stride, T* of_k, T* of_v,
                            int64_t of_kv_stride, float scale, const Shape& s, int threads) {
    int64_t size = s.padded * BLOCK, shared = s.heads / s.groups, wide = s.heads * s.width;
    float *of_keys = memory(s.tokens * wide), *of_values = memory(s.tokens * wide);  // of each head for itself
#pragma omp parallel num_threads(threads)
    {
        const Segment& largest = s.all[s.roots[0]];
        int64_t longest = largest.end - largest.start;
        int64_t whole = (longest + BLOCK) * s.padded;
        float* work = memory(3 * whole + 5 * size + 2 * BLOCK * BLOCK + longest);
        float *queries = work, *given = queries + whole, *of_queries = given + whole;
        float *keys = of_queries + whole, *keys_turned = keys + size, *values_turned = keys_turned + size;
        float *dk = values_turned + size, *dv = dk + size, *shares = dv + size, *scores = shares + BLOCK * BLOCK;
        float* inner = scores + BLOCK * BLOCK;
#pragma omp for collapse(2) schedule(dynamic)
        for (size_t task = 0; task < s.roots.size(); task++)
            for (int64_t h = 0; h < s.heads; h++) {
                int64_t g = h / shared, root = s.roots[task];
                int64_t first = s.all[root].start, tokens = s.all[root].end - first;
                const T *qs = q + first * q_stride + h * s.width, *gs = gradient + first * wide + h * s.width;
                memset(queries, 0, 4 * 3 * whole);
                unpack(qs, q_stride, tokens, s, scale, queries);
                unpack(gs, wide, tokens, s, 1, given);
                for (int64_t r = 0; r < tokens; r++) {
                    V along = {};
                    for (int64_t i = 0; i < s.width; i += W)
                        along += load(given + r * s.padded + i, W) *
                                 load(mixed + (first + r) * wide + h * s.width + i, s.width - i);
                    inner[r] = sum(along);
                }
                for (size_t n = root; n < s.all.size() && s.all[n].start < first + tokens; n++)
                    for (int64_t start = s.all[n].start; start < s.all[n].stop; start += BLOCK) {
                        const Segment& own = s.all[n];
                        int64_t seen = least(BLOCK, own.stop - start), from = start * kv_stride + g * s.width;
                        memset(keys, 0, 4 * size);
                        memset(dk, 0, 4 * 2 * size);
                        unpack(k + from, kv_stride, seen, s, 1, keys);
                        unpack_turned(k + from, kv_stride, seen, s, keys_turned);
                        unpack_turned(v + from, kv_stride, seen, s, values_turned);
                        for (int64_t at = start; at < own.end;) {
                            int64_t until = least(at + BLOCK, at < own.stop ? own.stop : own.end), count = until - at;
                            const bool causal = at == start;
                            float* rows = queries + (at - first) * s.padded;
                            float* rows_given = given + (at - first) * s.padded;
                            product<false>(shares, BLOCK, rows, s.padded, 1, keys_turned, BLOCK, count, seen, s.width,
                                           causal ? COLUMNS_BEFORE : ALL);
                            product<false>(scores, BLOCK, rows_given, s.padded, 1, values_turned, BLOCK, count, seen,
                                           s.width, causal ? COLUMNS_BEFORE : ALL);
                            for (int64_t r = 0; r < count; r++) {
                                float log = logs[(at + r) * s.heads + h], less = inner[at - first + r];
                                float *share = shares + r * BLOCK, *score = scores + r * BLOCK;
                                for (int64_t i = causal ? r + 1 : seen; i < BLOCK; i++) share[i] = -1e30f;
                                for (int64_t i = 0; i < BLOCK; i += W) {
                                    V p = exponential(load(share + i, W) - log);
                                    V d = load(score + i, W) - less;
                                    store(share + i, p, W);
                                    store(score + i, i <= (causal ? r : seen - 1) ? p * d : V{}, W);
                                }
                            }
                            // A block of rows reaches into the next segment, which is to get nothing.
                            memset(scores + count * BLOCK, 0, 4 * ((count + ROWS - 1) / ROWS * ROWS - count) * BLOCK);
                            Part since = causal ? TERMS_SINCE : ALL;
                            product<true>(dv, s.padded, shares, 1, BLOCK, rows_given, s.padded, seen, s.width, count,
                                          since);
                            product<true>(dk, s.padded, scores, 1, BLOCK, rows, s.padded, seen, s.width, count, since);
                            product<true>(of_queries + (at - first) * s.padded, s.padded, scores, BLOCK, 1, keys,
                                          s.padded, count, s.width, seen, causal ? TERMS_BEFORE : ALL);
                            at = until;
                        }
                        for (int64_t r = 0; r < seen; r++)
                            for (int64_t i = 0; i < s.width; i += W) {
                                int64_t to = (start + r) * wide + h * s.width + i;
                                store(of_keys + to, load(dk + r * s.padded + i, W), s.width - i);
                                store(of_values + to, load(dv + r * s.padded + i, W), s.width - i);
                            }
                    }
                for (int64_t r = 0; r < tokens; r++)
                    for (int64_t i = 0; i < s.width; i += W)
                        store(of_q + (first + r) * of_q_stride + h * s.width + i,
                              load(of_queries + r * s.padded + i, W) * scale, s.width - i);
            }
        free(work);
        sum_heads(of_keys, of_values, of_k, of_v, of_kv_stride, s);
    }
    free(of_keys);
    free(of_values);
}

#if defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__linux__)
#include "amx_attention.h"
#include "lora_linear.h"
#include "amx_lm_head.h"
#else
namespace tiles {
static bool granted() { return false; }
template <class... Given> static void attend(Given...) {}
template <class... Given> static void attend_backward(Given...) {}
template <class... Given> static void project(Given...) {}
template <class... Given> static void project_backward(Given...) {}
template <class... Given> static void factors_backward(Given...) {}
template <class... Given> static void head(Given...) {}
}  // namespace tiles
#endif

// ---- what Python calls; `half` says that T is bf16 ----

#define EITHER(call) if (half) { using T = bf16; call; } else { using T = float; call; }
#define IN(x) (const T*)x
#define OUT(x) (T*)x

extern "C" {

void luthier_normalise(int64_t half, const void* x, const void* weight, float eps, int64_t again, void* out,
                       int64_t stride, float* factors, int64_t tokens, int64_t width, int64_t threads) {
    EITHER(normalise(IN(x), IN(weight), eps, again, OUT(out), stride, factors, tokens, width, threads))
}

void luthier_normalise_backward(int64_t half, const void* gradient, int64_t stride, const void* x, const void* weight,
                                const float* factors, const void* more, void* out, int64_t tokens, int64_t width,
                                int64_t threads) {
    EITHER(normalise_backward(IN(gradient), stride, IN(x), IN(weight), factors, IN(more), OUT(out), tokens, width,
                              threads))
}

void luthier_swiglu(int64_t half, const void* gate_up, void* out, int64_t stride, int64_t tokens, int64_t width,
                    int64_t threads) {
    EITHER(swiglu(IN(gate_up), OUT(out), stride, tokens, width, threads))
}

void luthier_swiglu_backward(int64_t half, const void* gradient, int64_t stride, const void* gate_up, void* out,
                             void* active, int64_t tokens, int64_t width, int64_t threads) {
    EITHER(swiglu_backward(IN(gradient), stride, IN(gate_up), OUT(out), OUT(active), tokens, width, threads))
}

void luthier_rotate(int64_t half, void* x, int64_t stride, const void* cos, const void* sin, float sign, int64_t tokens,
                    int64_t heads, int64_t width, int64_t threads) {
    EITHER(rotate(OUT(x), stride, IN(cos), IN(sin), sign, tokens, heads, width, threads))
}

void luthier_log_softmax_at(int64_t half, void* logits, const int64_t* targets, float* found, uint8_t* likeliest,
                            int64_t rows, int64_t width, int64_t threads) {
    EITHER(log_softmax_at(OUT(logits), targets, found, likeliest, rows, width, threads))
}

void luthier_attend(int64_t half, const void* q, int64_t q_stride, const void* k, const void* v, int64_t kv_stride,
                    void* mixed, float* logs, float scale, const Span* spans, int64_t count, int64_t tokens,
                    int64_t heads, int64_t groups, int64_t width, int64_t threads) {
    Shape shape(spans, count, tokens, heads, groups, width);
    if (half && tiles::granted()) {
        using T = bf16;
        tiles::attend(IN(q), q_stride, IN(k), IN(v), kv_stride, OUT(mixed), logs, scale, shape, threads);
    } else {
        EITHER(attend(IN(q), q_stride, IN(k), IN(v), kv_stride, OUT(mixed), logs, scale, shape, threads))
    }
}

void luthier_attend_backward(int64_t half, const void* gradient, const void* q, int64_t q_stride, const void* k,
                             const void* v, int64_t kv_stride, const void* mixed, const float* logs, void* of_q,
                             int64_t of_q_stride, void* of_k, void* of_v, int64_t of_kv_stride, float scale,
                             const Span* spans, int64_t count, int64_t tokens, int64_t heads, int64_t groups,
                             int64_t width, int64_t threads) {
    Shape shape(spans, count, tokens, heads, groups, width);
    if (half && tiles::granted()) {
        using T = bf16;
        tiles::attend_backward(IN(gradient), IN(q), q_stride, IN(k), IN(v), kv_stride, IN(mixed), logs, OUT(of_q),
                               of_q_stride, OUT(of_k), OUT(of_v), of_kv_stride, scale, shape, threads);
    } else {
        EITHER(attend_backward(IN(gradient), IN(q), q_stride, IN(k), IN(v), kv_stride, IN(mixed), logs, OUT(of_q),
                               of_q_stride, OUT(of_k), OUT(of_v), of_kv_stride, scale, shape, threads))
    }
}

int64_t luthier_has_amx() { return tiles::granted(); }

void luthier_project(int64_t, const bf16* x, const bf16* a, const bf16* w, const bf16* residual, bf16* low, bf16* out,
                     int64_t tokens, int64_t inputs, int64_t rank, int64_t outputs, int64_t threads) {
    tiles::project(x, a, w, residual, low, out, tokens, inputs, rank, outputs, threads);
}

void luthier_project_backward(int64_t, const bf16* g, const bf16* a, const bf16* w, bf16* of_low, bf16* of_x,
                              int64_t tokens, int64_t inputs, int64_t rank, int64_t outputs, int64_t threads) {
    tiles::project_backward(g, a, w, of_low, of_x, tokens, inputs, rank, outputs, threads);
}

void luthier_factors_backward(int64_t, const bf16* low, const bf16* of_low, const bf16* x, const bf16* g, float* of_a,
                     float* of_b, int64_t tokens, int64_t inputs, int64_t rank, int64_t outputs, int64_t threads) {
    tiles::factors_backward(low, of_low, x, g, of_a, of_b, tokens, inputs, rank, outputs, threads);
}

void luthier_head(int64_t, const bf16* x, const bf16* w, const int64_t* targets, float* found, uint8_t* likeliest,
                  bf16* of_x, int64_t rows, int64_t width, int64_t words, int64_t threads) {
    tiles::head(x, w, targets, found, likeliest, of_x, rows, width, words, threads);
}
}
