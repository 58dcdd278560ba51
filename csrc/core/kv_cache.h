// Which runs of the prefix tree have their KV cells in llama.cpp's cache, and which sequence ids hold them.
//
// Invariants: cells used == sum of the runs' cached tokens == distinct prefix tokens alive (a token that a late fork draws
// or decodes anew beside an equal sibling counts as one of its own). A run with cached tokens has all its ancestors
// cached. Each leaf of the cached part of the tree holds exactly one sequence, which covers the whole
// path from the root to it; inner runs hold none.
#pragma once

#include "batch.h"
#include "cell_map.h"
#include "llama_api.h"
#include "prefix_tree.h"
#include "sequence_pool.h"

#include <vector>

namespace arts {

class KvCache {
public:
    // `pins_cells`: every cell is held by a second, shadow sequence. llama.cpp recycles a cell of a sliding-window model
    // that only one sequence holds and that its window has passed, even in a full-size cache, and would break forks at
    // an earlier position without a word; cells that two sequences hold are left alone. Costs half of the ids.
    KvCache(const LlamaApi & api, llama_context * context, std::size_t num_sequences, bool pins_cells);

    const CellMap & cells() const { return cells_; }
    std::size_t num_sequences() const { return pool_.capacity(); }
    std::size_t num_free_sequences() const { return pool_.num_free(); }
    std::int64_t num_copies() const { return num_copies_; }

    // The sequence ids that a row of this run's sequence carries.
    void append_ids(const Run & run, std::vector<llama_seq_id> & ids) const;
    std::size_t ids_per_row() const { return pins_cells_ ? 2 : 1; }

    // Deepest run from `run` upwards with a cached token; the root if there is none.
    static Run * deepest_cached(Run * run);
    // Gives `run` a sequence that covers its longest cached prefix. False if no sequence id is free.
    // Throws Error(Decode) if the cache no longer has that prefix.
    bool attach(Run * run);
    // Adds rows to a batch that only make it longer, in a sequence of their own. Returns how many there was room for.
    std::size_t add_padding(Batch & batch, std::size_t count);
    // Books a decoded batch: rows[i] is the run that got a cell for its next token; after them came the padding, which
    // is taken out of the cache again.
    void mark_decoded(const std::vector<Run *> & rows);
    // Forgets padding that was never decoded.
    void forget_padding();

    // Frees the cells of a leaf of the cached part; its sequence goes to its parent, or back to the pool if another
    // sequence covers the parent.
    void drop(Run * leaf);
    // Frees the last cell of a leaf.
    void drop_last_token(Run * leaf);
    // Lets a run that holds a sequence but none of its own tokens hand it to its ancestors.
    void settle(Run * run);
    // Call after PrefixTree::split. True if the lease moved from the lower to the upper part.
    bool after_split(Run * upper, Run * lower);

    // The least recently used leaf that is not busy and, unless `or_waiting`, wanted by no running branch; or null.
    Run * least_recently_used(bool or_waiting) const;

    // Makes an empty cache, llama.cpp's included, lay out cells and choose ids as a new one does.
    void restart();

    // Throws Error(Internal) if llama.cpp's positions and the books differ.
    void check() const;

private:
    void copy(llama_seq_id from, llama_seq_id to, std::int32_t end);
    void remove(llama_seq_id id, std::int32_t begin);
    static Run * holder(Run * run);
    static void add_holders(Run * run, std::int32_t change);
    void hold(Run * run, SequenceLease lease);

    const LlamaApi & api_;
    llama_memory_t memory_;
    bool pins_cells_;
    SequencePool pool_;
    CellMap cells_;
    std::vector<Run *> run_of_; // by sequence id; null if free
    std::vector<std::uint32_t> taken_;
    SequenceLease padding_;
    std::size_t num_padding_ = 0;
    std::int64_t num_copies_ = 0;
};

} // namespace arts
