// A mirror of llama.cpp's KV cell allocator (llama_kv_cache::find_slot, unified, non-contiguous), which has no public
// API: how many cells are used, and how far up the highest one lies (attention walks over all cells below it).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace arts {

class CellMap {
public:
    explicit CellMap(std::size_t capacity) : is_used_(capacity, 0) {}

    std::size_t capacity() const { return is_used_.size(); }
    std::size_t num_used() const { return num_used_; }
    std::size_t num_free() const { return capacity() - num_used_; }
    std::size_t high_water() const { return high_water_; }

    // The cells that llama.cpp gives to the next ubatch of `count` tokens, in batch order; count <= num_free().
    void take(std::size_t count, std::vector<std::uint32_t> & cells);
    // One llama_memory_seq_rm that frees these cells.
    void give_back(const std::uint32_t * cells, std::size_t count);

private:
    std::vector<std::uint8_t> is_used_;
    std::size_t num_used_ = 0;
    std::size_t high_water_ = 0;
    std::size_t head_ = 0;
};

} // namespace arts
