// All tokens of all branches as a tree of runs: branches with a common past share its runs.
//
// A run is a stretch of tokens without a fork. Every branch ends at the end of a run (its tip); runs are split where a
// branch ends or forks. The tree knows nothing of llama.cpp; the residency fields are kept by KvCache.
#pragma once

#include "sampling.h"
#include "sequence_pool.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace arts {

struct Branch;

// The filtered distribution of the token after `position`, kept so that later forks draw without decoding again.
struct Snapshot {
    std::int32_t position;
    std::shared_ptr<const SamplingParams> sampling;
    Candidates candidates;
};

struct Run {
    Run * parent = nullptr;
    std::vector<std::unique_ptr<Run>> children;

    std::int32_t start = 0; // position of tokens[0]
    std::vector<Token> tokens;
    std::vector<float> log_p_model; // as long as tokens; NaN for prompt tokens
    std::vector<float> log_p_sampling;
    std::vector<Snapshot> snapshots; // positions in (start, end]

    std::int32_t num_tips = 0;     // branches that end here
    std::vector<Branch *> running; // those of them that want the next token

    std::vector<std::uint32_t> cells; // of the first cells.size() tokens: those in the KV cache
    std::int32_t num_ever_cached = 0; // tokens that were in the cache at some time (decoding them again is counted)
    SequenceLease sequence;           // held by the leaves of the cached part of the tree
    std::int32_t num_holders = 0;     // leases at this run or below
    std::uint64_t last_used = 0;
    bool is_busy = false; // in the decode batch, or being prefilled

    std::int32_t size() const { return static_cast<std::int32_t>(tokens.size()); }
    std::int32_t end() const { return start + size(); }
    std::int32_t num_cached() const { return static_cast<std::int32_t>(cells.size()); }
    bool is_cached() const { return cells.size() == tokens.size(); }
    bool has_uncached() const { return cells.size() < tokens.size(); }
    bool is_root() const { return parent == nullptr; }

    const Snapshot * snapshot_at(std::int32_t position, const SamplingParams * sampling) const;
    // Appends one token with its log-probabilities.
    void push(Token token, float log_p_model_of, float log_p_sampling_of);
};

class PrefixTree {
public:
    PrefixTree();
    ~PrefixTree(); // not recursive: a tree may be 100,000 runs deep
    PrefixTree(const PrefixTree &) = delete;
    PrefixTree & operator=(const PrefixTree &) = delete;

    Run * root() { return root_.get(); }

    // The run that ends where `tokens` ends, made as needed; shares the longest prefix that is there.
    // `num_shared` gets the length of that prefix; `on_split` is told the lower part of every run that was cut.
    Run * insert_prompt(const std::vector<Token> & tokens, std::int32_t & num_shared, const std::function<void(Run *)> & on_split);
    Run * add_child(Run * parent);
    // Cuts the run so that one ends at `position` (start < position < end); returns the new upper part. `run` stays the
    // lower part, with its tips, children and lease.
    Run * split(Run * run, std::int32_t position);
    // Takes a run without tips and children out of the tree; returns its parent.
    Run * remove_leaf(Run * run);

private:
    std::unique_ptr<Run> root_;
};

// The run on the way from the root to `tip` that holds token `position - 1`.
Run * run_before(Run * tip, std::int32_t position);

} // namespace arts
