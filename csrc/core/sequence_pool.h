// Leases on llama.cpp's sequence ids.
#pragma once

#include "error.h"

#include <llama.h>

#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

namespace arts {

class SequencePool;

// Owns one sequence id until it is destroyed. Move-only; the pool must outlive it.
class SequenceLease {
public:
    SequenceLease() = default;
    SequenceLease(SequenceLease && other) noexcept : pool_(std::exchange(other.pool_, nullptr)), id_(other.id_) {}
    SequenceLease & operator=(SequenceLease && other) noexcept {
        std::swap(pool_, other.pool_);
        std::swap(id_, other.id_);
        return *this;
    }
    SequenceLease(const SequenceLease &) = delete;
    SequenceLease & operator=(const SequenceLease &) = delete;
    ~SequenceLease();

    explicit operator bool() const { return pool_ != nullptr; }
    llama_seq_id id() const { return id_; }

private:
    friend class SequencePool;
    SequenceLease(SequencePool * pool, llama_seq_id id) : pool_(pool), id_(id) {}

    SequencePool * pool_ = nullptr;
    llama_seq_id id_ = -1;
};

class SequencePool {
public:
    explicit SequencePool(std::size_t num_sequences) : capacity_(num_sequences) { refill(); }

    std::size_t capacity() const { return capacity_; }
    std::size_t num_free() const { return free_.size(); }

    // Empty if all ids are leased.
    SequenceLease lease() {
        if (free_.empty()) {
            return {};
        }
        const llama_seq_id id = free_.back();
        free_.pop_back();
        return SequenceLease(this, id);
    }

    // Leases ids in the order of a new pool again. Only while none is leased.
    void refill() {
        ensure(free_.empty() || free_.size() == capacity_, "no sequence is leased");
        free_.clear();
        for (std::size_t i = capacity_; i > 0; --i) {
            free_.push_back(static_cast<llama_seq_id>(i - 1));
        }
    }

private:
    friend class SequenceLease;
    std::size_t capacity_;
    std::vector<llama_seq_id> free_; // never grows beyond its first size, so giving back cannot throw
};

inline SequenceLease::~SequenceLease() {
    if (pool_ != nullptr) {
        pool_->free_.push_back(id_);
    }
}

} // namespace arts
