// The rows of one llama_decode call.
#pragma once

#include <llama.h>

#include <cstdint>
#include <vector>

namespace arts {

class Batch {
public:
    void clear() {
        tokens_.clear();
        positions_.clear();
        num_ids_.clear();
        ids_.clear();
        is_output_.clear();
    }

    std::size_t size() const { return tokens_.size(); }

    // Starts a row; push its sequence ids to ids() right after, `num_ids` of them.
    void add(llama_token token, llama_pos position, std::size_t num_ids, bool is_output) {
        tokens_.push_back(token);
        positions_.push_back(position);
        num_ids_.push_back(static_cast<std::int32_t>(num_ids));
        is_output_.push_back(is_output ? 1 : 0);
    }
    std::vector<llama_seq_id> & ids() { return ids_; }

    // Valid until the next change.
    llama_batch view() {
        id_pointers_.clear();
        std::size_t offset = 0;
        for (const std::int32_t count : num_ids_) {
            id_pointers_.push_back(ids_.data() + offset);
            offset += static_cast<std::size_t>(count);
        }
        return {static_cast<std::int32_t>(tokens_.size()), tokens_.data(), nullptr, positions_.data(), num_ids_.data(),
                id_pointers_.data(), is_output_.data()};
    }

private:
    std::vector<llama_token> tokens_;
    std::vector<llama_pos> positions_;
    std::vector<std::int32_t> num_ids_;
    std::vector<llama_seq_id> ids_;
    std::vector<llama_seq_id *> id_pointers_;
    std::vector<std::int8_t> is_output_;
};

} // namespace arts
