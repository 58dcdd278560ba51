#include "vocabulary.h"

#include "error.h"

namespace arts {

Vocabulary::Vocabulary(const LlamaApi & api, const llama_vocab * vocab) {
    const std::int32_t size = vocab == nullptr ? 0 : api.llama_vocab_n_tokens(vocab);
    if (size <= 0) {
        fail(ErrorCode::InvalidArgument, "the model has no vocabulary");
    }
    pieces_.reserve(static_cast<std::size_t>(size));
    std::string buffer(256, '\0');
    for (Token token = 0; token < size; ++token) {
        const auto room = static_cast<std::int32_t>(buffer.size());
        std::int32_t length = api.llama_token_to_piece(vocab, token, buffer.data(), room, 0, false);
        if (length < 0) { // does not fit: -length is what it needs
            buffer.resize(static_cast<std::size_t>(-length));
            length = api.llama_token_to_piece(vocab, token, buffer.data(), -length, 0, false);
        }
        pieces_.emplace_back(buffer.data(), static_cast<std::size_t>(length > 0 ? length : 0));
        is_end_.push_back(api.llama_vocab_is_eog(vocab, token) ? 1 : 0);
    }
}

} // namespace arts
