#include "stub_llama.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <thread>
#include <utility>

namespace stub {
namespace {

// The whole test program uses one context at a time per thread of tests; handles carry it.
Context & of(const void * handle) { return *const_cast<Context *>(static_cast<const Context *>(handle)); }

void require(bool holds, const char * what) {
    if (!holds) {
        throw std::logic_error(std::string("misuse of llama.cpp: ") + what);
    }
}

std::uint64_t mix(std::uint64_t x) {
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdULL;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ULL;
    return x ^ (x >> 33);
}

std::uint64_t hash(const std::vector<llama_token> & tokens) {
    std::uint64_t state = 1;
    for (const llama_token token : tokens) {
        state = mix(state * 31 + static_cast<std::uint64_t>(token) + 1);
    }
    return state;
}

llama_pos last_position(const Context & context, llama_seq_id sequence) {
    llama_pos last = -1;
    for (const Cell & cell : context.cells) {
        if (cell.sequences.count(sequence) > 0) {
            last = std::max(last, cell.position);
        }
    }
    return last;
}

std::vector<std::size_t> find_slot(const Context & context, std::size_t count) {
    std::size_t at = context.head > context.num_used() + 2 * count ? 0 : context.head;
    std::vector<std::size_t> slot;
    for (std::size_t tested = 0; slot.size() < count && tested <= 2 * context.cells.size(); ++tested) {
        at = at >= context.cells.size() ? 0 : at;
        if (context.cells[at].sequences.empty() && std::find(slot.begin(), slot.end(), at) == slot.end()) {
            slot.push_back(at);
        }
        ++at;
    }
    return slot;
}

void check_rows(const Context & context, const llama_batch & batch) {
    require(batch.n_tokens >= 1 && batch.n_tokens <= static_cast<std::int32_t>(context.options.num_batch), "1 to n_batch rows");
    std::map<llama_seq_id, llama_pos> last;
    for (std::int32_t i = 0; i < batch.n_tokens; ++i) {
        require(batch.token[i] >= 0 && batch.token[i] < context.options.num_vocab, "tokens lie in the vocabulary");
        require(batch.n_seq_id[i] >= 1, "a row has a sequence");
        for (std::int32_t j = 0; j < batch.n_seq_id[i]; ++j) {
            const llama_seq_id sequence = batch.seq_id[i][j];
            require(sequence >= 0 && sequence < static_cast<llama_seq_id>(context.options.num_sequences), "sequence ids lie below n_seq_max");
            const auto known = last.find(sequence);
            const llama_pos before = known == last.end() ? last_position(context, sequence) : known->second;
            require(batch.pos[i] == before + 1, "positions follow one another");
            last[sequence] = batch.pos[i];
        }
    }
}

std::int32_t decode(llama_context * handle, llama_batch batch) {
    Context & context = of(handle);
    if (context.fail_next_with != 0) {
        return std::exchange(context.fail_next_with, 0);
    }
    check_rows(context, batch);
    if (context.slow_unless > 0 && batch.n_tokens % context.slow_unless != 0) {
        ++context.num_slow_calls;
        std::this_thread::sleep_for(std::chrono::milliseconds(3));
    }
    const std::vector<std::size_t> slot = find_slot(context, static_cast<std::size_t>(batch.n_tokens));
    if (slot.size() < static_cast<std::size_t>(batch.n_tokens)) {
        return 1;
    }
    context.rows.assign(static_cast<std::size_t>(batch.n_tokens), {});
    context.states = context.rows;
    const auto is_output = [&](std::int32_t i) { return batch.logits[i] != 0 || context.has_embeddings; };
    std::int32_t num_outputs = 0;
    for (std::int32_t i = 0; i < batch.n_tokens; ++i) {
        num_outputs += is_output(i);
    }
    require(num_outputs <= static_cast<std::int32_t>(context.options.num_sequences), "at most n_outputs_max outputs");
    context.num_outputs += num_outputs;
    for (std::int32_t i = 0; i < batch.n_tokens; ++i) {
        Cell & cell = context.cells[slot[static_cast<std::size_t>(i)]];
        cell.position = batch.pos[i];
        cell.token = batch.token[i];
        cell.origin = mix(static_cast<std::uint64_t>(batch.n_tokens) * 1000 + static_cast<std::uint64_t>(i));
        cell.sequences.insert(batch.seq_id[i], batch.seq_id[i] + batch.n_seq_id[i]);
        if (is_output(i)) {
            const std::vector<llama_token> tokens = context.tokens_of(batch.seq_id[i][0]);
            context.rows[static_cast<std::size_t>(i)] = Context::logits(context.options, tokens);
            context.blur(context.rows[static_cast<std::size_t>(i)], batch.seq_id[i][0]);
            if (context.has_embeddings) {
                context.states[static_cast<std::size_t>(i)] = Context::state(context.options, tokens);
            }
        }
    }
    context.head = slot.back() + 1;
    ++context.num_decodes;
    return 0;
}

bool remove(llama_memory_t memory, llama_seq_id sequence, llama_pos begin, llama_pos end) {
    Context & context = of(memory);
    require(sequence >= 0 && sequence < 256, "seq_rm of a sequence id below 256");
    std::size_t first_freed = context.cells.size();
    for (std::size_t i = 0; i < context.cells.size(); ++i) {
        Cell & cell = context.cells[i];
        if (cell.position >= begin && (end < 0 || cell.position < end) && cell.sequences.erase(sequence) > 0 && cell.sequences.empty()) {
            first_freed = std::min(first_freed, i);
        }
    }
    context.head = std::min(context.head, first_freed);
    return true;
}

void copy(llama_memory_t memory, llama_seq_id from, llama_seq_id to, llama_pos begin, llama_pos end) {
    Context & context = of(memory);
    require(from >= 0 && from < 256 && to >= 0 && to < 256 && from != to, "seq_cp between two ids below 256");
    require(begin == 0 && end > 0 && end - 1 <= last_position(context, from), "a copy is a prefix of a living sequence");
    require(last_position(context, to) == -1, "a copy goes to an empty sequence");
    for (Cell & cell : context.cells) {
        if (cell.position < end && cell.sequences.count(from) > 0) {
            cell.sequences.insert(to);
        }
    }
}

void clear(llama_memory_t memory, bool) {
    Context & context = of(memory);
    context.cells.assign(context.cells.size(), {});
    context.head = 0;
}

llama_pos first(llama_memory_t memory, llama_seq_id sequence) { return last_position(of(memory), sequence) < 0 ? -1 : 0; }

llama_pos last(llama_memory_t memory, llama_seq_id sequence) { return last_position(of(memory), sequence); }

float * logits_of(llama_context * handle, std::int32_t row) {
    auto & rows = of(handle).rows;
    require(row >= 0 && static_cast<std::size_t>(row) < rows.size() && !rows[static_cast<std::size_t>(row)].empty(), "logits of an output row");
    return rows[static_cast<std::size_t>(row)].data();
}

float * state_of(llama_context * handle, std::int32_t row) {
    auto & states = of(handle).states;
    require(row >= 0 && static_cast<std::size_t>(row) < states.size() && !states[static_cast<std::size_t>(row)].empty(), "hidden state of a row that has one");
    return states[static_cast<std::size_t>(row)].data();
}

std::int32_t piece(const llama_vocab * vocab, llama_token token, char * buffer, std::int32_t room, std::int32_t, bool) {
    std::string text = "<" + std::to_string(token) + ">";
    if (token == of(vocab).options.num_vocab - 1) {
        text = "";
    } else if (token < 26) {
        text = std::string(1, static_cast<char>('a' + token));
    } else if (token <= space) {
        text = token == blank_line ? "\n\n" : token == newline ? "\n" : " ";
    }
    if (static_cast<std::int32_t>(text.size()) > room) {
        return -static_cast<std::int32_t>(text.size());
    }
    std::memcpy(buffer, text.data(), text.size());
    return static_cast<std::int32_t>(text.size());
}

} // namespace

Context::Context(Options options_) : options(options_), cells(options_.num_cells) {}

Context::~Context() = default;

std::vector<float> Context::state(const Options & options, const std::vector<llama_token> & tokens) {
    std::vector<float> state(static_cast<std::size_t>(options.num_embd));
    for (std::size_t i = 0; i < state.size(); ++i) {
        state[i] = static_cast<float>(mix(hash(tokens) + 1000003 * i) % 2000) / 1000.0f - 1.0f;
    }
    return state;
}

std::vector<float> Context::logits(const Options & options, const std::vector<llama_token> & tokens) {
    const std::uint64_t state = hash(tokens);
    std::vector<float> row(static_cast<std::size_t>(options.num_vocab));
    for (std::size_t i = 0; i < row.size(); ++i) {
        row[i] = options.sharpness * static_cast<float>(mix(state + i) % 1000) / 1000.0f;
    }
    return row;
}

std::vector<llama_token> Context::tokens_of(llama_seq_id sequence) const {
    std::map<llama_pos, llama_token> by_position;
    for (const Cell & cell : cells) {
        if (cell.sequences.count(sequence) > 0) {
            require(by_position.emplace(cell.position, cell.token).second, "one cell a position");
        }
    }
    std::vector<llama_token> tokens;
    for (const auto & [position, token] : by_position) {
        require(position == static_cast<llama_pos>(tokens.size()), "no gap in a sequence");
        tokens.push_back(token);
    }
    return tokens;
}

void Context::blur(std::vector<float> & row, llama_seq_id sequence) const {
    if (options.sloppiness == 0.0f) {
        return;
    }
    std::uint64_t state = mix(high_water() * 256 + static_cast<std::uint64_t>(sequence));
    for (std::size_t i = 0; i < cells.size(); ++i) {
        if (cells[i].sequences.count(sequence) > 0) {
            state = mix(state * 31 + i + cells[i].origin);
        }
    }
    for (std::size_t i = 0; i < row.size(); ++i) {
        row[i] += options.sloppiness * static_cast<float>(mix(state + i) % 1000) / 1000.0f;
    }
}

std::size_t Context::num_used() const {
    return static_cast<std::size_t>(std::count_if(cells.begin(), cells.end(), [](const Cell & cell) { return !cell.sequences.empty(); }));
}

std::size_t Context::high_water() const {
    for (std::size_t i = cells.size(); i > 0; --i) {
        if (!cells[i - 1].sequences.empty()) {
            return i;
        }
    }
    return 0;
}

arts::LlamaApi api() {
    arts::LlamaApi api;
    api.llama_decode = decode;
    api.llama_synchronize = [](llama_context *) {};
    api.llama_get_logits_ith = logits_of;
    api.llama_get_embeddings_ith = state_of;
    api.llama_set_embeddings = [](llama_context * context, bool value) { of(context).has_embeddings = value; };
    api.llama_model_n_embd_out = [](const llama_model * model) { return of(model).options.num_embd; };
    api.llama_get_memory = [](const llama_context * context) { return reinterpret_cast<llama_memory_t>(const_cast<llama_context *>(context)); };
    api.llama_get_model = [](const llama_context * context) { return reinterpret_cast<const llama_model *>(context); };
    api.llama_memory_clear = clear;
    api.llama_memory_seq_cp = copy;
    api.llama_memory_seq_rm = remove;
    api.llama_memory_seq_pos_min = first;
    api.llama_memory_seq_pos_max = last;
    api.llama_model_get_vocab = [](const llama_model * model) { return reinterpret_cast<const llama_vocab *>(model); };
    api.llama_vocab_n_tokens = [](const llama_vocab * vocab) { return of(vocab).options.num_vocab; };
    api.llama_vocab_is_eog = [](const llama_vocab * vocab, llama_token token) { return token == of(vocab).options.num_vocab - 1; };
    api.llama_token_to_piece = piece;
    api.llama_n_ctx = [](const llama_context * context) { return of(context).options.num_cells; };
    api.llama_n_batch = [](const llama_context * context) { return of(context).options.num_batch; };
    api.llama_n_ubatch = [](const llama_context * context) { return of(context).options.num_batch; };
    api.llama_n_seq_max = [](const llama_context * context) { return of(context).options.num_sequences; };
    api.llama_max_parallel_sequences = [] { return std::size_t{256}; };
    return api;
}

} // namespace stub
