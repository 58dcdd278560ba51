// Engine: what a branch holds, and the books.

#include "engine.h"

#include "error.h"

#include <algorithm>

namespace arts {

std::vector<Token> Engine::tokens(BranchId id) {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::vector<Token> all;
    for (const Run * run : path_of(find(id))) {
        all.insert(all.end(), run->tokens.begin(), run->tokens.end());
    }
    return all;
}

void Engine::log_probs(BranchId id, std::vector<float> & model, std::vector<float> & sampling) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const Branch & branch = find(id);
    for (const Run * run : path_of(branch)) {
        const std::int32_t skip = std::clamp(branch.num_prompt - run->start, 0, run->size());
        model.insert(model.end(), run->log_p_model.begin() + skip, run->log_p_model.end());
        sampling.insert(sampling.end(), run->log_p_sampling.begin() + skip, run->log_p_sampling.end());
    }
}

std::vector<float> Engine::expected_log_probs(BranchId id) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const Branch & branch = find(id);
    std::vector<float> means;
    for (const Run * run : path_of(branch)) {
        means.insert(means.end(), run->expected_log_p.begin() + std::clamp(branch.num_prompt - run->start, 0, run->size()), run->expected_log_p.end());
    }
    return means;
}

std::vector<std::int32_t> Engine::boundaries(BranchId id) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return find(id).boundaries;
}

std::size_t Engine::num_text_bytes(const Branch & branch, std::int32_t end) const {
    std::size_t num_bytes = 0;
    for (const Run * run : path_of(branch)) {
        const std::int32_t last = std::min(run->size(), end - run->start);
        for (std::int32_t i = std::max(0, branch.num_prompt - run->start); i < last; ++i) {
            num_bytes += vocabulary_.piece(run->tokens[static_cast<std::size_t>(i)]).size();
        }
    }
    return num_bytes;
}

std::string Engine::text(BranchId id, std::int32_t start, std::int32_t end) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const Branch & branch = find(id);
    if (start < 0 || end > branch.length() || start > end) {
        fail(ErrorCode::InvalidArgument, "branch " + std::to_string(id) + " has no text from position " + std::to_string(start) + " to " +
                                             std::to_string(end) + "; it has positions 0 to " + std::to_string(branch.length()));
    }
    std::string bytes;
    for (const Run * run : path_of(branch)) {
        const std::int32_t last = std::min(run->size(), end - run->start);
        for (std::int32_t i = std::max(0, start - run->start); i < last; ++i) {
            const Token token = run->tokens[static_cast<std::size_t>(i)];
            if (!vocabulary_.is_end_of_generation(token)) {
                bytes.append(vocabulary_.piece(token));
            }
        }
    }
    if (branch.reason == StopReason::StopString && end > branch.num_prompt) {
        const std::size_t before = start > branch.num_prompt ? num_text_bytes(branch, start) : 0;
        const std::size_t prompt_bytes = start < branch.num_prompt ? bytes.size() - num_text_bytes(branch, end) : 0;
        const std::size_t keep = branch.text_end > before ? branch.text_end - before + prompt_bytes : 0;
        bytes.resize(std::min(bytes.size(), keep));
    }
    return bytes;
}

std::int32_t Engine::num_tokens(BranchId id) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return find(id).length();
}

std::int32_t Engine::num_prompt_tokens(BranchId id) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return find(id).num_prompt;
}

std::int32_t Engine::num_cached(BranchId id) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const Run * run = KvCache::deepest_cached(find(id).tip);
    return run->start + run->num_cached();
}

BranchState Engine::state(BranchId id) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return find(id).state;
}

Stats Engine::stats() {
    const std::lock_guard<std::mutex> lock(mutex_);
    Stats stats = stats_;
    stats.num_rows_max = options_.max_rows;
    if (is_open_) {
        stats.num_forks = cache_->num_copies();
        stats.num_cells_used = static_cast<std::int64_t>(cache_->cells().num_used());
        stats.num_cells_high_water = static_cast<std::int64_t>(cache_->cells().high_water());
        stats.num_cells_capacity = static_cast<std::int64_t>(cache_->cells().capacity());
        stats.num_sequences = static_cast<std::int64_t>(cache_->num_sequences());
        stats.num_sequences_used = stats.num_sequences - static_cast<std::int64_t>(cache_->num_free_sequences());
        stats.num_rows_target = static_cast<std::int64_t>(choose_rows());
        stats.num_branches = static_cast<std::int64_t>(branches_.size());
    }
    return stats;
}

void Engine::check() {
    const std::lock_guard<std::mutex> lock(mutex_);
    require_open();
    cache_->check();
    std::size_t num_cells = 0;
    std::size_t num_tips = 0;
    std::vector<const Run *> stack{tree_->root()};
    while (!stack.empty()) {
        const Run * run = stack.back();
        stack.pop_back();
        num_cells += run->cells.size();
        num_tips += static_cast<std::size_t>(run->num_tips);
        std::int32_t num_holders = run->sequence ? 1 : 0;
        for (const auto & child : run->children) {
            ensure(child->start == run->end(), "a child starts where its parent ends");
            ensure(child->cells.empty() || run->is_cached(), "the parent of a cached run is cached");
            num_holders += child->num_holders;
            stack.push_back(child.get());
        }
        ensure(num_holders == run->num_holders, "the holders below a run are counted");
        ensure(run->is_root() || run->cells.empty() || num_holders > 0, "a cached run is covered by a sequence");
        ensure(run->is_root() || run->num_tips > 0 || !run->children.empty(), "no dead run stays in the tree");
        for (const Reading & reading : run->readings) {
            ensure(run->start < reading.position && reading.position <= run->end(), "a run's readings lie in it");
            ensure(!reading.is_pending || reading.position > run->start + run->num_cached(), "what is decoded has been read");
        }
        ensure(run->running.empty() || static_cast<std::size_t>(run->num_tips) >= run->running.size(), "running branches end at their run");
    }
    ensure(num_cells == cache_->cells().num_used(), "cells used == distinct prefix tokens in the cache");
    ensure(num_tips == branches_.size(), "every branch has one tip");
}

} // namespace arts
