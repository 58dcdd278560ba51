#include "llama_api.h"

#include "error.h"

#include <cstddef>

namespace arts {

LlamaApi LlamaApi::from_addresses(const std::map<std::string, std::uintptr_t> & addresses) {
    LlamaApi api;
#define ARTS_BIND(name)                                                                                            \
    {                                                                                                              \
        const auto found = addresses.find(#name);                                                                  \
        if (found == addresses.end() || found->second == 0) {                                                      \
            fail(ErrorCode::InvalidArgument, "libllama has no function '" #name "', which this build needs");      \
        }                                                                                                          \
        api.name = reinterpret_cast<decltype(api.name)>(found->second);                                            \
    }
    ARTS_LLAMA_FUNCTIONS(ARTS_BIND)
#undef ARTS_BIND
    return api;
}

std::vector<std::string> LlamaApi::required_symbols() {
    return {
#define ARTS_NAME(name) #name,
        ARTS_LLAMA_FUNCTIONS(ARTS_NAME)
#undef ARTS_NAME
    };
}

std::map<std::string, std::int64_t> LlamaApi::abi() {
#define ARTS_SIZE(type) {#type ".size", static_cast<std::int64_t>(sizeof(type))}
#define ARTS_FIELD(type, field) {#type "." #field, static_cast<std::int64_t>(offsetof(type, field))}
    return {
        ARTS_SIZE(llama_batch),
        ARTS_FIELD(llama_batch, n_tokens),
        ARTS_FIELD(llama_batch, token),
        ARTS_FIELD(llama_batch, embd),
        ARTS_FIELD(llama_batch, pos),
        ARTS_FIELD(llama_batch, n_seq_id),
        ARTS_FIELD(llama_batch, seq_id),
        ARTS_FIELD(llama_batch, logits),
        ARTS_SIZE(llama_model_params),
        ARTS_FIELD(llama_model_params, n_gpu_layers),
        ARTS_FIELD(llama_model_params, vocab_only),
        ARTS_SIZE(llama_context_params),
        ARTS_FIELD(llama_context_params, n_ctx),
        ARTS_FIELD(llama_context_params, n_batch),
        ARTS_FIELD(llama_context_params, n_ubatch),
        ARTS_FIELD(llama_context_params, n_seq_max),
        ARTS_FIELD(llama_context_params, n_threads),
        ARTS_FIELD(llama_context_params, type_k),
        ARTS_FIELD(llama_context_params, type_v),
        ARTS_FIELD(llama_context_params, embeddings),
        ARTS_FIELD(llama_context_params, swa_full),
        ARTS_FIELD(llama_context_params, kv_unified),
    };
#undef ARTS_FIELD
#undef ARTS_SIZE
}

} // namespace arts
