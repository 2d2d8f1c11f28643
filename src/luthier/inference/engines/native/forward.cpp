// A pass of a Llama model for serving: tokens of several texts, each with its own adapter, from ids to logits.
//
// In bfloat16 on the matrix unit of x86 processors, in float32 on any: what differs is in `formats.h`.
// Weights are kept as the products read them, in panels of 32 outputs. Sums are in float32 and so is what layers add
// to; what is multiplied is rounded. A token's numbers are the same bits whatever stands beside it in a pass.
//
// Names: T tokens, D width of the model, H heads, G groups of heads, K width of a head, I inner width. A size with a P
// is rounded up to 32, what is beyond being zero. `model.py` lays out what is passed, and `adapters.py` the adapters.

#include "formats.h"
#include <new>

namespace {

constexpr int64_t AT_ONCE = 640 * 1024;  // bytes of panels that stay in a core's cache

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
        int64_t rank, depth;           // columns of A, a multiple of 16; depth of B's panels
        int64_t first, second;         // where A and B are in a layer
        const int64_t* starts;         // [panels]: from which column of x A each panel multiplies
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
    const float *cos, *sin;  // [places, K], of which the second half is the first once more
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
        : p(p), epsilon(epsilon), scale(1 / __builtin_sqrtf(p.head)), wide(up(p.width)),
          mixed_wide(up(p.heads * p.head)), inner_wide(up(p.inner)), head_wide(up(p.head)),
          joined(up((p.heads + 2 * p.groups) * p.head)), low_wide(widest()), blocks(up(p.tokens) / ROWS_AT_ONCE),
          places(p.tokens), text_of(p.tokens) {
        for (int64_t text = 0; text < p.texts; text++) {
            for (int64_t i = 0; i < p.text[text].count; i++) {
                places[p.text[text].begin + i] = p.text[text].past + i;
                text_of[p.text[text].begin + i] = text;
            }
            const int64_t asking = p.text[text].count * (p.heads / p.groups);  // rows: tokens and heads of a group
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
        const int64_t of_row = 4 * (wide + joined) + sizeof(T) * (wide + p.heads * head_wide + mixed_wide + inner_wide);
        char* at = room(of_row * rows + sizeof(T) * (ends * wide + runs.size() * ROWS_AT_ONCE * low_wide) + 8 * 64);
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
            for (int64_t i = 0; i < p.width; i++)
                to[i] = F::read(p.embeddings ? own[i] : panel[F::at(i, id % COLUMNS)]);
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
        auto adapters = [&](int64_t block, int64_t panel, Term<T>* to) {
            int count = 0;
            for (int64_t run = first_run[block]; run < first_run[block + 1]; run++) {
                const Adapter<T>& adapter = *p.adapters[runs[run].adapter];
                const auto& factors = adapter.groups[group];
                if (!factors.rank) continue;
                to[count++] = {low + run * ROWS_AT_ONCE * low_wide + factors.starts[panel], low_wide, factors.depth,
                               adapter.data + layer * adapter.size + factors.second + panel * factors.depth * COLUMNS};
            }
            return count;
        };
        multiply(left, depth, panels, up(columns) / COLUMNS, p.tokens, finish, adapters);
    }

    // `finish` gets every 32 rows and 32 columns of left times panels, and what `more` adds.
    template <class Finish, class More> void multiply(const T* left, int64_t depth, const T* panels, int64_t number,
                                                      int64_t rows, Finish finish, More more) {
        const int64_t row_blocks = up(rows) / ROWS_AT_ONCE, threads = omp_get_num_threads();
        const int64_t in_cache = std::max<int64_t>(1, number * depth * COLUMNS * sizeof(T) / AT_ONCE);
        const int64_t parts = least(number, row_blocks > 1 ? in_cache : threads);
        const int64_t splits = row_blocks > 1 ? least(row_blocks, threads / std::gcd(parts, threads)) : 1;
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
            const float *from = qkv + row * joined + one * p.head;
            const float *cos = p.cos + place * p.head, *sin = p.sin + place * p.head;
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
            auto token = [&](int64_t r) { return text.begin + (first + r) / each; };
            auto head = [&](int64_t r) { return group * each + (first + r) % each; };
            for (int64_t r = 0; r < count; r++)
                memcpy(asks + r * head_wide, queries + (token(r) * p.heads + head(r)) * head_wide,
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
                for (int64_t i = 0; i < head_wide; i += W) F::put(asks + i, get(out + r * head_wide + i) / totals[r]);
                memcpy(mixed + token(r) * mixed_wide + head(r) * p.head, asks, sizeof(T) * p.head);
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
        auto no_more = [](int64_t, int64_t, Term<T>*) { return 0; };
        multiply(asked, wide, p.output, up(p.words) / COLUMNS, p.asked, keep, no_more);
    }
};

}  // namespace

extern "C" {

int64_t luthier_has_amx() {
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
