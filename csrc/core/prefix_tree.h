// All tokens of all branches as a tree of runs: branches with a common past share its runs.
//
// A run is a stretch of tokens without a fork. Every branch ends at the end of a run (its tip); runs are split where a
// branch ends or forks. The tree knows nothing of llama.cpp; the residency fields are kept by KvCache.
#pragma once

#include "sampling.h"
#include "sequence_pool.h"

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <vector>

namespace arts {

struct Branch;

// The filtered distribution of the token after `position`, or its likeliest part: later forks and traces draw from it
// without decoding again.
struct Snapshot {
    std::int32_t position;
    std::shared_ptr<const SamplingParams> sampling;
    KeptCandidates candidates;
};

// What is read off the row of the token before `position`, once and for all branches of that prefix.
struct Reading {
    std::int32_t position = 0;
    bool is_pending = false;  // until that token is decoded
    bool keeps_state = false;
    double value = std::numeric_limits<double>::quiet_NaN();
    std::vector<float> state; // the hidden state, if it is kept
};

struct Run {
    Run * parent = nullptr;
    std::vector<std::unique_ptr<Run>> children;

    std::int32_t start = 0; // position of tokens[0]
    std::vector<Token> tokens;
    std::vector<float> log_p_model; // as long as tokens; NaN for prompt tokens
    std::vector<float> log_p_sampling;
    std::vector<float> expected_log_p; // of the row that the token was drawn from
    std::vector<Snapshot> snapshots; // positions in (start, end], ascending
    std::vector<Reading> readings;   // the same, ascending

    std::int32_t num_tips = 0;     // branches that end here
    std::vector<Branch *> running; // those of them that want the next token, in the order in which branches go

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
    // Whether the token at `position` was this draw from a row: the token and its probabilities, to the last bit.
    bool holds(std::int32_t position, const Candidate & drawn) const;
    Reading * reading_at(std::int32_t position);
    bool is_pending_at(std::int32_t position);
    bool has_read(std::int32_t position, bool keeps_state);
    // Whether what is wanted of a position can no longer be read: its token is in the cache, and its row is gone.
    bool is_lost(std::int32_t position, bool keeps_state) { return position <= start + num_cached() && !has_read(position, keeps_state); }
    // The reading of a position in (start, end], made as needed.
    Reading & add_reading(std::int32_t position);
    // The child that begins with this draw; null if there is none.
    Run * child_of(const Candidate & drawn) const;
    // Keeps a snapshot of the end; it replaces one of the same sampling.
    void keep(Snapshot snapshot);
    // Appends one token as it was drawn.
    void push(const Candidate & drawn);
    // The last token, as it was drawn.
    Candidate last() const;
};

class PrefixTree {
public:
    using OnSplit = std::function<void(Run *)>;
    using Limit = std::function<std::int32_t(Run &, std::int32_t)>;

    PrefixTree();
    ~PrefixTree(); // not recursive: a tree may be 100,000 runs deep
    PrefixTree(const PrefixTree &) = delete;
    PrefixTree & operator=(const PrefixTree &) = delete;

    Run * root() { return root_.get(); }

    // The run at or below `from` that ends where `tokens` ends, made as needed; shares the longest prefix that is there.
    // `tokens` begins with the path to `from`. `num_shared` gets the length of the prefix; `on_split` is told the lower
    // part of every run that was cut; `limit` says how much of so many equal tokens of a run may be shared (empty: all).
    Run * insert(Run * from, const std::vector<Token> & tokens, std::int32_t & num_shared, const OnSplit & on_split, const Limit & limit = {});
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
