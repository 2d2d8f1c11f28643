// How the work of a pass is divided: the tasks of `forward.cpp`, and their memory.

#pragma once

#include "formats.h"
#include "pass.h"

namespace {

inline int64_t rows_in(int64_t block, int64_t rows) { return min64(ROWS, rows - block * ROWS); }

struct AdapterRun {  // consecutive rows of one adapter within a block of 32 rows
    int64_t adapter, from, to;
};

struct Tasks {
    std::vector<AdapterRun> runs;
    std::vector<int64_t> first_run;               // of each block of 32 rows, and the number of runs
    std::vector<int64_t> positions, sequence_of;  // of each token
    std::vector<std::pair<int64_t, int64_t>> attention_tasks;  // a sequence, and the first of 32 (token, head) rows

    template <class T>
    explicit Tasks(const ForwardPass<T>& p) : positions(p.token_count), sequence_of(p.token_count) {
        const int64_t blocks = round_up(p.token_count) / ROWS;
        for (int64_t index = 0; index < p.sequence_count; index++) {
            for (int64_t i = 0; i < p.sequences[index].count; i++) {
                positions[p.sequences[index].begin + i] = p.sequences[index].past + i;
                sequence_of[p.sequences[index].begin + i] = index;
            }
            const int64_t query_rows = p.sequences[index].count * (p.heads / p.kv_heads);
            for (int64_t row = 0; row < query_rows; row += ROWS) attention_tasks.push_back({index, row});
        }
        for (int64_t block = 0; block < blocks; block++) {
            first_run.push_back(runs.size());
            for (int64_t row = 0; row < rows_in(block, p.token_count); row++) {
                const int64_t adapter = p.sequences[sequence_of[block * ROWS + row]].adapter;
                if (adapter < 0) continue;
                const bool same = int64_t(runs.size()) > first_run.back() && runs.back().adapter == adapter;
                if (same && runs.back().to == row) runs.back().to++;
                else runs.push_back({adapter, row, row + 1});
            }
        }
        first_run.push_back(runs.size());
    }

    int64_t block_of(int64_t run) const {
        return std::upper_bound(first_run.begin(), first_run.end(), run) - first_run.begin() - 1;
    }
};

template <class T> int64_t widest_low(const ForwardPass<T>& p) {  // columns of x A that are read, of any adapter
    int64_t widest = 0;
    for (int64_t index = 0; index < p.sequence_count; index++) {
        if (p.sequences[index].adapter < 0) continue;
        for (const auto& factors : p.adapters[p.sequences[index].adapter]->projections)
            widest = std::max(widest, factors.rank + factors.panel_rank);
    }
    return round_up(widest);
}

// Memory that is reused from pass to pass, aligned to 64 bytes; each thread has its own for each `Use`.
template <class Use> char* thread_memory(size_t bytes) {
    static thread_local std::vector<char> memory;
    if (memory.size() < bytes + 64) memory.resize(bytes + 64);
    return memory.data() + (64 - (uintptr_t)memory.data() % 64) % 64;
}
template <class Number> void take(char*& free_memory, Number*& to, int64_t count) {
    to = (Number*)free_memory;
    free_memory += round_up(sizeof(Number) * count, 64);
}

template <class T> struct Scratch {      // of one thread
    float *scores, *out, *rotated;       // [2, 32, 64], [32, P], [P]
    T *queries, *probabilities, *rounded;  // [32, P], [32, 64], [P]

    explicit Scratch(int64_t width)
        : scores(zeros<float>(2 * BLOCK)), out(zeros<float>(width)), rotated(zeros<float>(width)),
          queries(zeros<T>(width)), probabilities(zeros<T>(BLOCK)), rounded(zeros<T>(width)) {}
    ~Scratch() { free(scores), free(out), free(rotated), free(queries), free(probabilities), free(rounded); }

    template <class Number> static Number* zeros(int64_t columns) {
        Number* memory = (Number*)alloc_floats(ROWS * columns);
        memset(memory, 0, sizeof(Number) * ROWS * columns);
        return memory;
    }
};

}  // namespace
