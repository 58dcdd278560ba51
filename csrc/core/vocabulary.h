// What each token of a model looks like, read once.
#pragma once

#include "llama_api.h"
#include "sampling.h"

#include <string>
#include <string_view>
#include <vector>

namespace arts {

class Vocabulary {
public:
    Vocabulary(const LlamaApi & api, const llama_vocab * vocab);

    std::size_t size() const { return pieces_.size(); }
    bool has(Token token) const { return token >= 0 && static_cast<std::size_t>(token) < pieces_.size(); }
    // Bytes of the token; empty for control tokens.
    std::string_view piece(Token token) const { return pieces_[static_cast<std::size_t>(token)]; }
    bool is_end_of_generation(Token token) const { return is_end_[static_cast<std::size_t>(token)] != 0; }

private:
    std::vector<std::string> pieces_;
    std::vector<char> is_end_;
};

} // namespace arts
