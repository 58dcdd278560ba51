#include "kv_cache.h"

#include "error.h"

#include <algorithm>

namespace arts {

KvCache::KvCache(const LlamaApi & api, llama_context * context, std::size_t num_sequences, bool pins_cells)
    : api_(api),
      memory_(api.llama_get_memory(context)),
      pins_cells_(pins_cells),
      pool_(pins_cells ? num_sequences / 2 : num_sequences),
      cells_(api.llama_n_ctx(context)),
      run_of_(pool_.capacity(), nullptr) {
    if (memory_ == nullptr) {
        fail(ErrorCode::InvalidArgument, "the context has no memory that can be forked (an encoder or diffusion model)");
    }
}

void KvCache::append_ids(const Run & run, std::vector<llama_seq_id> & ids) const {
    ids.push_back(run.sequence.id());
    if (pins_cells_) {
        ids.push_back(run.sequence.id() + static_cast<llama_seq_id>(pool_.capacity()));
    }
}

void KvCache::copy(llama_seq_id from, llama_seq_id to, std::int32_t end) {
    api_.llama_memory_seq_cp(memory_, from, to, 0, end);
    if (pins_cells_) {
        api_.llama_memory_seq_cp(memory_, from, to + static_cast<llama_seq_id>(pool_.capacity()), 0, end);
    }
    ++num_copies_;
    const llama_pos first = api_.llama_memory_seq_pos_min(memory_, to);
    const llama_pos last = api_.llama_memory_seq_pos_max(memory_, to);
    if (first != 0 || last != end - 1) {
        remove(to, 0);
        fail(ErrorCode::Decode, "a fork at position " + std::to_string(end) + " found positions [" + std::to_string(first) + ", " +
                                    std::to_string(last) + "] in the cache: this model's cache cannot be forked at an earlier position");
    }
}

void KvCache::remove(llama_seq_id id, std::int32_t begin) {
    api_.llama_memory_seq_rm(memory_, id, begin, -1);
    if (pins_cells_) {
        api_.llama_memory_seq_rm(memory_, id + static_cast<llama_seq_id>(pool_.capacity()), begin, -1);
    }
}

Run * KvCache::deepest_cached(Run * run) {
    while (!run->is_root() && run->cells.empty()) {
        run = run->parent;
    }
    return run;
}

Run * KvCache::holder(Run * run) {
    while (!run->sequence) {
        const auto child = std::find_if(run->children.begin(), run->children.end(), [](const auto & c) { return c->num_holders > 0; });
        ensure(child != run->children.end(), "a cached run is covered by a sequence");
        run = child->get();
    }
    return run;
}

void KvCache::add_holders(Run * run, std::int32_t change) {
    for (; run != nullptr; run = run->parent) {
        run->num_holders += change;
    }
}

void KvCache::hold(Run * run, SequenceLease lease) {
    run_of_[static_cast<std::size_t>(lease.id())] = run;
    run->sequence = std::move(lease);
}

bool KvCache::attach(Run * run) {
    if (run->sequence) {
        return true;
    }
    Run * source = deepest_cached(run);
    Run * owner = run == source ? run : run->parent; // or one in between, which was about to be decoded when it paused
    while (owner != source && !owner->sequence) {
        owner = owner->parent;
    }
    if (!owner->is_root() && owner->sequence && !owner->is_busy) {
        for (Run * below = run; below != owner; below = below->parent) {
            ++below->num_holders;
        }
        hold(run, std::move(owner->sequence));
        return true;
    }
    SequenceLease lease = pool_.lease();
    if (!lease) {
        return false;
    }
    if (!source->is_root()) {
        copy(holder(source)->sequence.id(), lease.id(), source->start + source->num_cached());
    }
    hold(run, std::move(lease));
    add_holders(run, +1);
    return true;
}

std::size_t KvCache::add_padding(Batch & batch, std::size_t count) {
    const std::size_t num_free = cells_.num_free() - std::min(cells_.num_free(), batch.size());
    count = std::min(count, num_free);
    padding_ = count > 0 ? pool_.lease() : SequenceLease();
    if (!padding_) {
        return 0;
    }
    for (std::size_t i = 0; i < count; ++i) {
        batch.add(0, static_cast<llama_pos>(i), 1, true);
        batch.ids().push_back(padding_.id());
    }
    num_padding_ = count;
    return count;
}

void KvCache::forget_padding() {
    padding_ = SequenceLease();
    num_padding_ = 0;
}

void KvCache::mark_decoded(const std::vector<Run *> & rows) {
    cells_.take(rows.size() + num_padding_, taken_);
    if (num_padding_ > 0) {
        api_.llama_memory_seq_rm(memory_, padding_.id(), 0, -1);
        cells_.give_back(taken_.data() + rows.size(), num_padding_);
        forget_padding();
    }
    for (std::size_t i = 0; i < rows.size(); ++i) {
        rows[i]->cells.push_back(taken_[i]);
        rows[i]->num_ever_cached = std::max(rows[i]->num_ever_cached, rows[i]->num_cached());
    }
}

void KvCache::drop(Run * leaf) {
    ensure(leaf->sequence && leaf->num_holders == 1, "only a leaf of the cached part is dropped");
    const llama_seq_id id = leaf->sequence.id();
    remove(id, leaf->start);
    cells_.give_back(leaf->cells.data(), leaf->cells.size());
    leaf->cells.clear();
    Run * parent = leaf->parent;
    SequenceLease lease = std::move(leaf->sequence);
    leaf->sequence = SequenceLease();
    if (parent->is_root() || parent->num_holders > 1) {
        remove(id, 0);
        run_of_[static_cast<std::size_t>(id)] = nullptr;
        add_holders(leaf, -1);
    } else {
        leaf->num_holders = 0;
        hold(parent, std::move(lease));
    }
}

void KvCache::drop_last_token(Run * leaf) {
    ensure(leaf->sequence && leaf->num_holders == 1 && !leaf->cells.empty(), "the last token of a cached leaf is dropped");
    remove(leaf->sequence.id(), leaf->start + leaf->num_cached() - 1);
    cells_.give_back(&leaf->cells.back(), 1);
    leaf->cells.pop_back();
}

void KvCache::settle(Run * run) {
    while (run->sequence && run->cells.empty() && !run->is_root()) {
        Run * parent = run->parent;
        drop(run);
        run = parent;
    }
}

bool KvCache::after_split(Run * upper, Run * lower) {
    if (!lower->sequence || !lower->cells.empty() || upper->cells.empty()) {
        return false;
    }
    lower->num_holders -= 1;
    hold(upper, std::move(lower->sequence));
    lower->sequence = SequenceLease();
    return true;
}

Run * KvCache::least_recently_used(bool or_waiting) const {
    Run * oldest = nullptr;
    for (Run * run : run_of_) {
        if (run == nullptr || run->is_busy || run->num_holders > 1 || (!or_waiting && !run->running.empty())) {
            continue;
        }
        if (oldest == nullptr || run->last_used < oldest->last_used) {
            oldest = run;
        }
    }
    return oldest;
}

void KvCache::restart() {
    ensure(cells_.num_used() == 0 && pool_.num_free() == pool_.capacity(), "only an empty cache starts anew");
    api_.llama_memory_clear(memory_, false);
    cells_ = CellMap(cells_.capacity());
    pool_.refill();
}

void KvCache::check() const {
    std::size_t num_leased = 0;
    for (std::size_t id = 0; id < run_of_.size(); ++id) {
        const Run * run = run_of_[id];
        const llama_pos last = api_.llama_memory_seq_pos_max(memory_, static_cast<llama_seq_id>(id));
        if (run == nullptr) {
            ensure(last == -1, "a free sequence is empty");
            continue;
        }
        ++num_leased;
        ensure(run->sequence && run->sequence.id() == static_cast<llama_seq_id>(id), "a lease is where the books say");
        const Run * deepest = run;
        while (!deepest->is_root() && deepest->cells.empty()) {
            deepest = deepest->parent;
        }
        ensure(last == deepest->start + deepest->num_cached() - 1, "a sequence ends where the books say");
        const llama_pos first = api_.llama_memory_seq_pos_min(memory_, static_cast<llama_seq_id>(id));
        ensure(last == -1 || first == 0, "a sequence starts at position 0");
        for (const Run * above = deepest->parent; above != nullptr; above = above->parent) {
            ensure(above->is_cached(), "the ancestors of a cached run are cached");
        }
    }
    ensure(num_leased == pool_.capacity() - pool_.num_free(), "every leased id has a run");
}

} // namespace arts
