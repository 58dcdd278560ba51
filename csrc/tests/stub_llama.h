// A stand-in for llama.cpp: a strict unified KV cache and logits that are a pure function of a sequence's tokens.
//
// What llama.cpp accepts silently though it is wrong (gaps, repeated positions, copies onto a living sequence), or what
// makes it abort (more outputs than sequences), throws here. Cells are allocated as llama_kv_cache::find_slot does, so that the mirror in CellMap can be compared.
#pragma once

#include "core/llama_api.h"

#include <cstdint>
#include <set>
#include <stdexcept>
#include <vector>

namespace stub {

struct Options {
    std::uint32_t num_cells = 256;
    std::uint32_t num_batch = 64;
    std::uint32_t num_sequences = 16;
    std::int32_t num_embd = 6;
    std::int32_t num_vocab = 40; // tokens 0..25 are 'a'..'z', 26 is "\n\n", 27 "\n", 28 " ", then "<n>"; the last ends
    float sharpness = 3.0f;      // scale of the logits
    float sloppiness = 0.0f;     // scale of what a row's logits owe to the batch's shape and to where its cells lie
};

constexpr std::int32_t blank_line = 26, newline = 27, space = 28;

struct Cell {
    llama_pos position = -1;
    llama_token token = -1;
    std::uint64_t origin = 0; // the shape of the batch that it was decoded in, and its place there
    std::set<llama_seq_id> sequences;
};

class Context {
public:
    explicit Context(Options options);
    ~Context();
    Context(const Context &) = delete;
    Context & operator=(const Context &) = delete;

    // To be passed where a llama_context * is wanted.
    llama_context * handle() { return reinterpret_cast<llama_context *>(this); }

    // The logits after these tokens: the model.
    static std::vector<float> logits(const Options & options, const std::vector<llama_token> & tokens);

    // The hidden state of the last of these tokens.
    static std::vector<float> state(const Options & options, const std::vector<llama_token> & tokens);

    std::vector<llama_token> tokens_of(llama_seq_id sequence) const;
    // Adds what kernels do to a row: they sum in an order that depends on the batch's shape and on where cells lie.
    void blur(std::vector<float> & row, llama_seq_id sequence) const;
    std::size_t num_used() const;
    std::size_t high_water() const;

    Options options;
    std::vector<Cell> cells;
    std::size_t head = 0;
    std::vector<std::vector<float>> rows; // of the last decode; empty: not an output
    std::vector<std::vector<float>> states; // the same; empty: decoded without hidden states
    bool has_embeddings = false;
    int num_decodes = 0;
    int num_outputs = 0; // in all decodes
    int fail_next_with = 0; // status of the next decode
    int num_slow_calls = 0; // decodes whose number of rows is no multiple of slow_unless
    int slow_unless = 0;    // if set: such decodes take a few milliseconds longer
};

// The table that the core is given instead of libllama's.
arts::LlamaApi api();

} // namespace stub
