// The functions of llama.cpp that the core calls, as a table of addresses.
//
// The core does not link libllama: the host passes the addresses of the library that is already loaded (so a CUDA or
// Metal build is used as it is), and the tests pass a stub.
#pragma once

#include <llama.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace arts {

#define ARTS_LLAMA_FUNCTIONS(X)     \
    X(llama_decode)                 \
    X(llama_synchronize)            \
    X(llama_get_logits_ith)         \
    X(llama_get_embeddings_ith)     \
    X(llama_set_embeddings)         \
    X(llama_get_memory)             \
    X(llama_get_model)              \
    X(llama_memory_clear)           \
    X(llama_memory_seq_cp)          \
    X(llama_memory_seq_rm)          \
    X(llama_memory_seq_pos_min)     \
    X(llama_memory_seq_pos_max)     \
    X(llama_model_get_vocab)        \
    X(llama_model_n_embd_out)       \
    X(llama_vocab_n_tokens)         \
    X(llama_vocab_is_eog)           \
    X(llama_token_to_piece)         \
    X(llama_n_ctx)                  \
    X(llama_n_batch)                \
    X(llama_n_ubatch)               \
    X(llama_n_seq_max)              \
    X(llama_max_parallel_sequences)

struct LlamaApi {
#define ARTS_DECLARE(name) decltype(&::name) name = nullptr;
    ARTS_LLAMA_FUNCTIONS(ARTS_DECLARE)
#undef ARTS_DECLARE

    // Throws InvalidArgument if an address is missing.
    static LlamaApi from_addresses(const std::map<std::string, std::uintptr_t> & addresses);
    static std::vector<std::string> required_symbols();
    // Struct sizes and field offsets that this build relies on, as "struct.size" and "struct.field".
    static std::map<std::string, std::int64_t> abi();
};

} // namespace arts
