// A pass of a Llama model for serving: tokens of several texts, each with its own adapter, from ids to logits.
//
// In bfloat16 on the matrix unit of x86 processors, in float32 on any: what differs is in `Floats` and `Halves`.
// Weights are kept as the products read them, in panels of 32 outputs. Sums are in float32 and so is what layers add
// to; what is multiplied is rounded. A token's numbers are the same bits whatever stands beside it in a pass.
//
// Names: T tokens, D width of the model, H heads, G groups of heads, K width of a head, I inner width. A size with a P
// is rounded up to 32, what is beyond being zero. `model.py` lays out what is passed, and `adapters.py` the adapters.

#include "vectors.h"
#include <new>

#if defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__linux__)
#define UNIT
#include "unit.h"
#endif

namespace {

constexpr int64_t ROWS_AT_ONCE = 32, COLUMNS = 32, BLOCK = 64;  // of a product; keys of a block of the cache
constexpr int64_t PART = 16;                                    // columns of an adapter's first factor at once
constexpr int64_t AT_ONCE = 640 * 1024;                         // bytes of panels that stay in a core's cache

inline int64_t up(int64_t count, int64_t multiple = COLUMNS) { return (count + multiple - 1) / multiple * multiple; }

template <class T> struct Term {  // of a sum of products: rows on the left, [32, depth], and a panel
    const T* left;
    int64_t stride, depth;
    const T* panel;
};

// ---- number formats. A panel of N columns is [depth, N]; of Halves, by tiles of 32 rows and 16 columns, by pairs ----

struct Floats {
    using T = float;
    struct Use { Use() {} };

    static int64_t at(int64_t k, int64_t n) { return k * COLUMNS + n; }  // in a panel of 32 columns
    // Into a block of keys [KP, 64], and of values [64, KP].
    static void put_key(T* block, int64_t place, const T* key, int64_t width) {
        for (int64_t i = 0; i < width; i++) block[i * BLOCK + place] = key[i];
    }
    static void put_value(T* block, int64_t place, const T* value, int64_t width) {
        memcpy(block + place * width, value, sizeof(T) * width);
    }

    static void put(T* to, V x) { *(AnyV*)to = x; }
    static float read(T x) { return x; }
    static V exponential(V x) { return ::exponential(x); }
    static float sum(V x) { return ::sum(x); }
    static float most(V x) { return ::most(x); }

    template <int64_t N> static void multiply(const Term<T>* terms, int count, int64_t rows, float* c, bool more = false,
                                              int64_t stride = N) {
        for (int64_t row = 0; row < rows; row += 4)
            for (int64_t n = 0; n < N; n += W) {
                V sums[4];
                for (int i = 0; i < 4; i++) sums[i] = more ? *(AnyV*)(c + (row + i) * stride + n) : V{};
                for (int term = 0; term < count; term++) {
                    const Term<T>& one = terms[term];
                    const T* left = one.left + row * one.stride;
                    for (int64_t k = 0; k < one.depth; k++) {
                        V right = *(const AnyV*)(one.panel + k * N + n);
                        for (int i = 0; i < 4; i++) sums[i] += left[i * one.stride + k] * right;
                    }
                }
                for (int i = 0; i < 4; i++) *(AnyV*)(c + (row + i) * stride + n) = sums[i];
            }
    }
    static void scores(const T* q, int64_t width, const T* keys, int64_t rows, float* c) {
        Term<T> term = {q, width, width, keys};
        multiply<BLOCK>(&term, 1, rows, c);
    }
    static void mix(const T* shares, const T* values, int64_t width, int64_t rows, float* out) {
        for (int64_t row = 0; row < rows; row++)
            for (int64_t i = 0; i < width; i += W) {
                V sum = *(AnyV*)(out + row * width + i);
                for (int64_t k = 0; k < BLOCK; k++) sum += shares[row * BLOCK + k] * *(const AnyV*)(values + k * width + i);
                *(AnyV*)(out + row * width + i) = sum;
            }
    }
};

#ifdef UNIT
struct Halves {
    using T = uint16_t;
    using Use = tiles::Use;

    static int64_t at(int64_t k, int64_t n) {
        return k / 32 * 1024 + n / 16 * 512 + k % 32 / 2 * 32 + n % 16 * 2 + k % 2;
    }
    static void put_key(T* block, int64_t place, const T* key, int64_t width) {
        for (int64_t i = 0; i < width; i += 2) memcpy(block + i * BLOCK + 2 * place, key + i, 2 * sizeof(T));
    }
    static void put_value(T* block, int64_t place, const T* value, int64_t width) {
        T* to = block + place / 2 * 2 * width + place % 2;
        for (int64_t i = 0; i < width; i++) to[2 * i] = value[i];
    }

    static void put(T* to, V x) { *(AnyS*)to = tiles::narrow(x); }
    static float read(T x) { return one((const bf16*)&x); }
    static V exponential(V x) { return tiles::exponential(x); }
    static float sum(V x) { return _mm512_reduce_add_ps((__m512)x); }
    static float most(V x) { return _mm512_reduce_max_ps((__m512)x); }

    // Into tiles 0 and 1, and for more than 16 rows 2 and 3; what is added is the same for a row whatever their number.
    template <int64_t N, bool MORE> static inline void add(const Term<T>& one) {
        const T *left = one.left, *lower = left + 16 * one.stride, *panel = one.panel;
        for (int64_t k = 0; k < one.depth; k += 32, panel += 32 * N) {
            _tile_loadd(4, left + k, 2 * one.stride);
            if (MORE) _tile_loadd(5, lower + k, 2 * one.stride);
            if (MORE) _tile_stream_loadd(6, panel, 64); else _tile_loadd(6, panel, 64);
            _tile_dpbf16ps(0, 4, 6);
            if (MORE) _tile_dpbf16ps(2, 5, 6);
            if (N == 16) continue;
            if (MORE) _tile_stream_loadd(7, panel + 512, 64); else _tile_loadd(7, panel + 512, 64);
            _tile_dpbf16ps(1, 4, 7);
            if (MORE) _tile_dpbf16ps(3, 5, 7);
        }
    }
    template <int64_t N> static void multiply(const Term<T>* terms, int count, int64_t rows, float* c) {
        const bool more = rows > 16;
        _tile_zero(0);
        _tile_zero(1);
        if (more) _tile_zero(2);
        if (more) _tile_zero(3);
        for (int term = 0; term < count; term++)
            if (more) add<N, true>(terms[term]); else add<N, false>(terms[term]);
        _tile_stored(0, c, 4 * N);
        if (N > 16) _tile_stored(1, c + 16, 4 * N);
        if (more) _tile_stored(2, c + 16 * N, 4 * N);
        if (more && N > 16) _tile_stored(3, c + 16 * N + 16, 4 * N);
    }
    // c [32, columns] (+)= a [32, depth] b, 16 rows or 32.
    template <bool ADD> static void block(float* c, int64_t columns, const T* a, const T* b, int64_t depth, int64_t rows) {
        if (rows > 16) return tiles::product<ADD>(c, columns, a, depth, b, columns, 32, columns, depth);
        for (int64_t n = 0; n < columns; n += 32) {
            if (ADD) _tile_loadd(0, c + n, 4 * columns); else _tile_zero(0);
            if (ADD) _tile_loadd(1, c + n + 16, 4 * columns); else _tile_zero(1);
            for (int64_t k = 0; k < depth; k += 32) {
                _tile_loadd(4, a + k, 2 * depth);
                _tile_loadd(6, b + k * columns + 2 * n, 4 * columns);
                _tile_dpbf16ps(0, 4, 6);
                _tile_loadd(7, b + k * columns + 2 * n + 32, 4 * columns);
                _tile_dpbf16ps(1, 4, 7);
            }
            _tile_stored(0, c + n, 4 * columns);
            _tile_stored(1, c + n + 16, 4 * columns);
        }
    }
    static void scores(const T* q, int64_t width, const T* keys, int64_t rows, float* c) {
        block<false>(c, BLOCK, q, keys, width, rows);
    }
    static void mix(const T* shares, const T* values, int64_t width, int64_t rows, float* out) {
        block<true>(out, width, shares, values, BLOCK, rows);
    }
};
#endif

// ---- what is passed: addresses and numbers, 8 bytes each ----

template <class T> struct Layer {
    const float* norm;
    const T* qkv;
    const float* bias;  // [HK + 2GK] or null
    const T* out;
    const float* second_norm;
    const T *gate_up, *down;
};

enum Group { QKV, OUT, GATE_UP, DOWN };

template <class T> struct Adapter {
    struct Factors {
        int64_t rank, depth, first, second;  // rank: columns of A, a multiple of 16; depth: of B's panels; where they are
        const int64_t* starts;               // [panels]: from which column of x A each panel multiplies
    };
    const T* data;  // all layers, `size` numbers each
    int64_t size;
    Factors groups[4];
};

struct Text {  // of the tokens of a pass, `count` from `begin` on; it has `past` before them
    int64_t begin, count, past, block, adapter;  // block: which of `blocks` is its first; adapter: -1 for none
};

template <class T> struct Pass {
    // The model: float32 where nothing else is said; embeddings null when they are the output layer's weights.
    int64_t depth, width, heads, groups, head, inner, words;
    const Layer<T>* layers;
    const float* norm;
    const T *output, *embeddings;
    const float *cos, *sin;  // [places, K / 2]
    // The cache: for each layer blocks of keys [G, KP, 64] and values [G, 64, KP].
    T* const* keys;
    T* const* values;
    const Adapter<T>* const* adapters;
    // The pass. `rows`: the tokens of which the logits [N, words], or the last states [N, D], are asked for.
    int64_t tokens, texts;
    const int32_t* ids;
    const Text* text;
    const int32_t* blocks;
    int64_t asked, hidden;
    const int32_t* rows;
    float* made;
    int64_t threads;
};

// ---- the pass ----

struct Run {  // rows of one adapter among 32
    int64_t adapter, from, to;
};

template <class T> struct Scratch {  // of one thread
    float *scores, *out, *turned;    // [32, 64], [32, KP], [KP]
    T *asks, *shares, *rounded;      // [32, KP], [32, 64], [KP]

    explicit Scratch(int64_t width)
        : scores(of<float>(BLOCK)), out(of<float>(width)), turned(of<float>(width)), asks(of<T>(width)),
          shares(of<T>(BLOCK)), rounded(of<T>(width)) {}
    ~Scratch() { free(scores), free(out), free(turned), free(asks), free(shares), free(rounded); }

    template <class Number> static Number* of(int64_t columns) {
        Number* made = (Number*)memory(ROWS_AT_ONCE * columns);
        memset(made, 0, sizeof(Number) * ROWS_AT_ONCE * columns);
        return made;
    }
};

template <class F> class Forward {
    using T = typename F::T;
    const Pass<T>& p;
    const float epsilon, scale;
    const int64_t wide, mixed_wide, inner_wide, head_wide, joined, low_wide;  // D, HK, I, K and HK + 2GK rounded up
    int64_t blocks;
    std::vector<Run> runs;
    std::vector<int64_t> first_run;  // of each block of 32 rows
    std::vector<int64_t> places, text_of;
    std::vector<std::pair<int64_t, int64_t>> tasks;  // of attention: a text and the first of 32 rows
    float *x, *qkv;
    T *normed, *asked, *mixed, *active, *low;

  public:
    Forward(const Pass<T>& p, float epsilon)
        : p(p), epsilon(epsilon), scale(1 / __builtin_sqrtf(p.head)), wide(up(p.width)), mixed_wide(up(p.heads * p.head)),
          inner_wide(up(p.inner)), head_wide(up(p.head)), joined(up((p.heads + 2 * p.groups) * p.head)), low_wide(widest()),
          blocks(up(p.tokens) / ROWS_AT_ONCE), places(p.tokens), text_of(p.tokens) {
        for (int64_t text = 0; text < p.texts; text++) {
            for (int64_t i = 0; i < p.text[text].count; i++) {
                places[p.text[text].begin + i] = p.text[text].past + i;
                text_of[p.text[text].begin + i] = text;
            }
            const int64_t asking = p.text[text].count * (p.heads / p.groups);  // a row for each token and head of a group
            for (int64_t row = 0; row < asking; row += ROWS_AT_ONCE) tasks.push_back({text, row});
        }
        for (int64_t block = 0; block < blocks; block++) {
            first_run.push_back(runs.size());
            for (int64_t row = 0; row < rows_of(block, p.tokens); row++) {
                const int64_t adapter = p.text[text_of[block * ROWS_AT_ONCE + row]].adapter;
                if (adapter < 0) continue;
                const bool goes_on = int64_t(runs.size()) > first_run.back() && runs.back().adapter == adapter;
                if (goes_on && runs.back().to == row) runs.back().to++;
                else runs.push_back({adapter, row, row + 1});
            }
        }
        first_run.push_back(runs.size());
        const int64_t rows = blocks * ROWS_AT_ONCE, ends = up(p.asked);
        char* at = room((4 * (wide + joined) + sizeof(T) * (wide + p.heads * head_wide + mixed_wide + inner_wide)) * rows +
                        sizeof(T) * (ends * wide + runs.size() * ROWS_AT_ONCE * low_wide) + 8 * 64);
        take(at, x, rows * wide), take(at, qkv, rows * joined), take(at, normed, rows * wide);
        take(at, asked, ends * wide), take(at, mixed, rows * mixed_wide), take(at, active, rows * inner_wide);
        take(at, queries, rows * p.heads * head_wide), take(at, low, runs.size() * ROWS_AT_ONCE * low_wide);
        if (mixed_wide > p.heads * p.head) memset(mixed, 0, sizeof(T) * rows * mixed_wide);
        if (inner_wide > up(p.inner, PART)) memset(active, 0, sizeof(T) * rows * inner_wide);
    }

    void run() {
#pragma omp parallel num_threads(p.threads)
        {
            typename F::Use use;
            Scratch<T> scratch(head_wide);
            begin();
            for (int64_t layer = 0; layer < p.depth; layer++) {
                const Layer<T>& of = p.layers[layer];
                normalise_all(of.norm);
                project(normed, wide, of.qkv, joined, layer, QKV, [&](auto row, auto count, auto panel, auto c) {
                    float* to = qkv + row * joined + panel * COLUMNS;
                    for (int64_t r = 0; r < count; r++, to += joined, c += COLUMNS)
                        for (int64_t n = 0; n < COLUMNS; n += W)
                            put(to + n, get(c + n) + (of.bias ? get(of.bias + panel * COLUMNS + n) : V{}));
                });
                turn(layer, scratch);
                attend(layer, scratch);
                auto add = [&](int64_t row, int64_t count, int64_t panel, const float* c) {
                    float* to = x + row * wide + panel * COLUMNS;
                    for (int64_t r = 0; r < count; r++, to += wide, c += COLUMNS)
                        for (int64_t n = 0; n < COLUMNS; n += W) put(to + n, get(to + n) + get(c + n));
                };
                project(mixed, mixed_wide, of.out, p.width, layer, OUT, add);
                normalise_all(of.second_norm);
                const int64_t both = 2 * up(p.inner, PART);
                project(normed, wide, of.gate_up, both, layer, GATE_UP, [&](auto row, auto count, auto panel, auto c) {
                    T* to = active + row * inner_wide + panel * PART;
                    for (int64_t r = 0; r < count; r++, to += inner_wide, c += COLUMNS)
                        for (int64_t n = 0; n < PART; n += W) {
                            V gate = get(c + n);
                            F::put(to + n, gate / (1 + exponential(-gate)) * get(c + PART + n));
                        }
                });
                project(active, inner_wide, of.down, p.width, layer, DOWN, add);
            }
            end();
        }
    }

  private:
    T* queries;  // [T, H, KP]

    static V get(const float* from) { return *(const AnyV*)from; }
    static void put(float* to, V x) { *(AnyV*)to = x; }

    static char* room(size_t bytes) {  // stays from pass to pass; each thread that passes has its own
        static thread_local std::vector<char> kept;
        if (kept.size() < bytes + 64) kept.resize(bytes + 64);
        return kept.data() + (64 - (uintptr_t)kept.data() % 64) % 64;
    }
    template <class Number> static void take(char*& at, Number*& to, int64_t count) {
        to = (Number*)at;
        at += up(sizeof(Number) * count, 64);
    }
    static int64_t rows_of(int64_t block, int64_t rows) { return least(ROWS_AT_ONCE, rows - block * ROWS_AT_ONCE); }

    int64_t widest() const {  // columns of x A that are read, of any adapter
        int64_t most = 0;
        for (int64_t text = 0; text < p.texts; text++) {
            if (p.text[text].adapter < 0) continue;
            for (const auto& group : p.adapters[p.text[text].adapter]->groups)
                most = std::max(most, group.rank + group.depth);
        }
        return up(most);
    }

    void begin() {
#pragma omp for schedule(static) nowait
        for (int64_t row = 0; row < p.tokens; row++) {
            const int64_t id = p.ids[row];
            const T *own = p.embeddings + id * p.width, *panel = p.output + id / COLUMNS * COLUMNS * wide;
            float* to = x + row * wide;
            for (int64_t i = 0; i < p.width; i++) to[i] = F::read(p.embeddings ? own[i] : panel[F::at(i, id % COLUMNS)]);
            for (int64_t i = p.width; i < wide; i++) to[i] = 0;
        }
        // What a block held before may be no number, which times nothing would still be none.
#pragma omp for schedule(static)
        for (int64_t layer = 0; layer < p.depth; layer++)
            for (int64_t row = 0; row < p.tokens; row++)
                if (places[row] % BLOCK == 0)
                    memset(p.values[layer] + block_of(row, places[row]), 0, sizeof(T) * p.groups * BLOCK * head_wide);
    }

    int64_t block_of(int64_t row, int64_t place) const {
        const Text& text = p.text[text_of[row]];
        return p.blocks[text.block + place / BLOCK] * p.groups * BLOCK * head_wide;
    }

    float factor(const float* row) const {
        V squares = {};
        for (int64_t i = 0; i < wide; i += W) squares += get(row + i) * get(row + i);
        return 1 / __builtin_sqrtf(F::sum(squares) / p.width + epsilon);
    }

    void normalise(const float* row, const float* weight, T* to) const {
        const float by = factor(row);
        for (int64_t i = 0; i < wide; i += W) F::put(to + i, get(row + i) * by * get(weight + i));
    }

    void normalise_all(const float* weight) {
#pragma omp for schedule(static)
        for (int64_t row = 0; row < p.tokens; row++) normalise(x + row * wide, weight, normed + row * wide);
    }

    // x A of every run; rows that are not the run's are zero.
    void lower(const T* left, int64_t depth, int64_t layer, Group group) {
#pragma omp for schedule(dynamic)
        for (size_t task = 0; task < runs.size() * (low_wide / PART); task++) {
            const int64_t run = task / (low_wide / PART), column = task % (low_wide / PART) * PART;
            const Adapter<T>& adapter = *p.adapters[runs[run].adapter];
            const auto& factors = adapter.groups[group];
            T* to = low + run * ROWS_AT_ONCE * low_wide + column;
            const int64_t block = std::upper_bound(first_run.begin(), first_run.end(), run) - first_run.begin() - 1;
            alignas(64) float c[ROWS_AT_ONCE * PART] = {};
            if (column < factors.rank) {
                const T* panel = adapter.data + layer * adapter.size + factors.first + column * depth;
                Term<T> term = {left + block * ROWS_AT_ONCE * depth, depth, depth, panel};
                F::template multiply<PART>(&term, 1, rows_of(block, p.tokens), c);
            }
            for (int64_t r = 0; r < ROWS_AT_ONCE; r++)
                for (int64_t n = 0; n < PART; n += W) {
                    const bool own = runs[run].from <= r && r < runs[run].to;
                    F::put(to + r * low_wide + n, own ? get(c + r * PART + n) : V{});
                }
        }
    }

    template <class Finish> void project(const T* left, int64_t depth, const T* panels, int64_t columns,
                                         int64_t layer, Group group, Finish finish) {
        if (!runs.empty()) lower(left, depth, layer, group);
        multiply(left, depth, panels, up(columns) / COLUMNS, p.tokens, finish, [&](int64_t block, int64_t panel, Term<T>* to) {
            int count = 0;
            for (int64_t run = first_run[block]; run < first_run[block + 1]; run++) {
                const Adapter<T>& adapter = *p.adapters[runs[run].adapter];
                const auto& factors = adapter.groups[group];
                if (!factors.rank) continue;
                to[count++] = {low + run * ROWS_AT_ONCE * low_wide + factors.starts[panel], low_wide, factors.depth,
                               adapter.data + layer * adapter.size + factors.second + panel * factors.depth * COLUMNS};
            }
            return count;
        });
    }

    // `finish` gets every 32 rows and 32 columns of left times panels, and what `more` adds.
    template <class Finish, class More> void multiply(const T* left, int64_t depth, const T* panels, int64_t number,
                                                      int64_t rows, Finish finish, More more) {
        const int64_t row_blocks = up(rows) / ROWS_AT_ONCE, threads = omp_get_num_threads();
        int64_t parts = least(number, row_blocks > 1 ? std::max<int64_t>(1, number * depth * COLUMNS * sizeof(T) / AT_ONCE)
                                                     : threads);
        int64_t splits = row_blocks > 1 ? least(row_blocks, threads / std::gcd(parts, threads)) : 1;
        Term<T> terms[ROWS_AT_ONCE + 1];
        alignas(64) float c[ROWS_AT_ONCE * COLUMNS];
#pragma omp for schedule(dynamic)
        for (int64_t task = 0; task < parts * splits; task++) {
            const int64_t part = task / splits, split = task % splits;
            for (int64_t block = row_blocks * split / splits; block < row_blocks * (split + 1) / splits; block++)
                for (int64_t panel = number * part / parts; panel < number * (part + 1) / parts; panel++) {
                    terms[0] = {left + block * ROWS_AT_ONCE * depth, depth, depth, panels + panel * depth * COLUMNS};
                    const int count = 1 + more(block, panel, terms + 1);
                    F::template multiply<COLUMNS>(terms, count, rows_of(block, rows), c);
                    finish(block * ROWS_AT_ONCE, rows_of(block, rows), panel, c);
                }
        }
    }

    // Su et al., 2021; keys and values to the cache.
    void turn(int64_t layer, const Scratch<T>& scratch) {
        const int64_t half = p.head / 2, all = p.heads + 2 * p.groups;
        float* turned = scratch.turned;
#pragma omp for schedule(static)
        for (int64_t task = 0; task < p.tokens * all; task++) {
            const int64_t row = task / all, one = task % all, place = places[row], group = (one - p.heads) % p.groups;
            const float *from = qkv + row * joined + one * p.head, *cos = p.cos + place * half, *sin = p.sin + place * half;
            const bool value = one >= p.heads + p.groups;
            for (int64_t i = 0; i < half; i++) {
                turned[i] = value ? from[i] : from[i] * cos[i] - from[half + i] * sin[i];
                turned[half + i] = value ? from[half + i] : from[half + i] * cos[i] + from[i] * sin[i];
            }
            for (int64_t i = p.head; i < head_wide; i++) turned[i] = 0;
            T* to = one < p.heads ? queries + (row * p.heads + one) * head_wide : scratch.rounded;
            for (int64_t i = 0; i < head_wide; i += W) F::put(to + i, get(turned + i));
            if (one < p.heads) continue;
            T* block = (value ? p.values : p.keys)[layer] + block_of(row, place) + group * BLOCK * head_wide;
            (value ? F::put_value : F::put_key)(block, place % BLOCK, scratch.rounded, head_wide);
        }
    }

    // A row of scores [64], of which `seen` count, to shares; what is known of the row so far is kept up.
    void to_shares(const float* scores, T* shares, int64_t seen, float& top, float& total, float* out) const {
        V kept[BLOCK / W], most_of = all(top), counted;
        for (int64_t i = 0; i < W; i++) counted[i] = i;
        for (int64_t i = 0; i < BLOCK / W; i++, counted += W) {
            V score = get(scores + i * W) * scale;
            kept[i] = counted < all(float(seen)) ? score : all(-1e30f);
            most_of = larger(kept[i], most_of);
        }
        const float now = F::most(most_of), before = F::exponential(all(top - now))[0];
        V sums = {};
        for (int64_t i = 0; i < BLOCK / W; i++) {
            V share = F::exponential(kept[i] - now);
            sums += share;
            F::put(shares + i * W, share);
        }
        if (before != 1)
            for (int64_t i = 0; i < head_wide; i += W) put(out + i, get(out + i) * before);
        total = total * before + F::sum(sums);
        top = now;
    }

    void attend(int64_t layer, const Scratch<T>& scratch) {
        const int64_t each = p.heads / p.groups, block_size = BLOCK * head_wide;
        T *asks = scratch.asks, *shares = scratch.shares;
        float *scores = scratch.scores, *out = scratch.out;
#pragma omp for schedule(dynamic)
        for (int64_t task = int64_t(tasks.size()) * p.groups - 1; task >= 0; task--) {
            const auto [at, first] = tasks[task / p.groups];
            const Text& text = p.text[at];
            const int64_t group = task % p.groups, count = least(ROWS_AT_ONCE, text.count * each - first);
            float tops[ROWS_AT_ONCE], totals[ROWS_AT_ONCE] = {};
            for (float& top : tops) top = -1e30f;
            memset(out, 0, 4 * ROWS_AT_ONCE * head_wide);
            for (int64_t r = 0; r < count; r++)
                memcpy(asks + r * head_wide,
                       queries + ((text.begin + (first + r) / each) * p.heads + group * each + (first + r) % each) * head_wide,
                       sizeof(T) * head_wide);
            const int64_t last = text.past + (first + count - 1) / each;
            for (int64_t block = 0; block <= last / BLOCK; block++) {
                const int64_t held = (p.blocks[text.block + block] * p.groups + group) * block_size;
                F::scores(asks, head_wide, p.keys[layer] + held, count, scores);
                for (int64_t r = 0; r < count; r++) {
                    const int64_t seen = text.past + (first + r) / each + 1 - block * BLOCK;
                    if (seen > 0)
                        to_shares(scores + r * BLOCK, shares + r * BLOCK, least(seen, BLOCK), tops[r], totals[r],
                                  out + r * head_wide);
                    else memset(shares + r * BLOCK, 0, sizeof(T) * BLOCK);
                }
                F::mix(shares, p.values[layer] + held, head_wide, count, out);
            }
            for (int64_t r = 0; r < count; r++) {
                T* to = mixed + (text.begin + (first + r) / each) * mixed_wide + (group * each + (first + r) % each) * p.head;
                for (int64_t i = 0; i < head_wide; i += W) F::put(asks + i, get(out + r * head_wide + i) / totals[r]);
                memcpy(to, asks, sizeof(T) * p.head);
            }
        }
    }

    void end() {
#pragma omp for schedule(static)
        for (int64_t i = 0; i < p.asked; i++) {
            const float* row = x + p.rows[i] * wide;
            if (!p.hidden) {
                normalise(row, p.norm, asked + i * wide);
                continue;
            }
            const float by = factor(row);
            for (int64_t n = 0; n < p.width; n++) p.made[i * p.width + n] = row[n] * by * p.norm[n];
        }
        if (p.hidden || !p.asked) return;
        auto keep = [&](int64_t row, int64_t count, int64_t panel, const float* c) {
            const int64_t columns = least(COLUMNS, p.words - panel * COLUMNS);
            for (int64_t r = 0; r < count; r++)
                memcpy(p.made + (row + r) * p.words + panel * COLUMNS, c + r * COLUMNS, 4 * columns);
        };
        multiply(asked, wide, p.output, up(p.words) / COLUMNS, p.asked, keep, [](int64_t, int64_t, Term<T>*) { return 0; });
    }
};

}  // namespace

extern "C" {

int64_t luthier_has_matrix_unit() {
#ifdef UNIT
    return tiles::granted();
#else
    return false;
#endif
}

// `half`: numbers are bfloat16, which takes the matrix unit. False when there is no memory.
int64_t luthier_forward(int64_t half, float epsilon, const void* pass) {
    try {
#ifdef UNIT
        if (half) {
            Forward<Halves>(*(const Pass<uint16_t>*)pass, epsilon).run();
            return true;
        }
#endif
        Forward<Floats>(*(const Pass<float>*)pass, epsilon).run();
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}
}
