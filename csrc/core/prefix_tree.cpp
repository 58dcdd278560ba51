#include "prefix_tree.h"

#include "error.h"

#include <algorithm>
#include <limits>

namespace arts {
namespace {

template <typename T>
std::vector<T> cut_front(std::vector<T> & from, std::size_t count) {
    count = std::min(count, from.size());
    std::vector<T> front(from.begin(), from.begin() + static_cast<std::ptrdiff_t>(count));
    from.erase(from.begin(), from.begin() + static_cast<std::ptrdiff_t>(count));
    return front;
}

// How many tokens of `run` agree with tokens[run.start:].
std::int32_t common_length(const Run & run, const std::vector<Token> & tokens) {
    std::int32_t length = 0;
    const auto limit = std::min<std::int32_t>(run.size(), static_cast<std::int32_t>(tokens.size()) - run.start);
    while (length < limit && run.tokens[static_cast<std::size_t>(length)] == tokens[static_cast<std::size_t>(run.start + length)]) {
        ++length;
    }
    return length;
}

// The child that shares most with tokens[parent.end:]; of equals, the one that is in the cache.
Run * best_child(const Run & parent, const std::vector<Token> & tokens, const PrefixTree::Limit & limit, std::int32_t & length) {
    Run * best = nullptr;
    length = 0;
    for (const auto & child : parent.children) {
        const std::int32_t equal = common_length(*child, tokens);
        const std::int32_t common = equal > 0 && limit ? limit(*child, equal) : equal;
        if (common > length || (common == length && common > 0 && child->num_cached() > best->num_cached())) {
            best = child.get();
            length = common;
        }
    }
    return best;
}

} // namespace

const Snapshot * Run::snapshot_at(std::int32_t position, const SamplingParams * sampling) const {
    auto snapshot = std::lower_bound(snapshots.begin(), snapshots.end(), position, [](const Snapshot & s, std::int32_t p) { return s.position < p; });
    for (; snapshot != snapshots.end() && snapshot->position == position; ++snapshot) {
        if (snapshot->sampling.get() == sampling) {
            return &*snapshot;
        }
    }
    return nullptr;
}

bool Run::holds(std::int32_t position, const Candidate & drawn) const {
    const auto index = static_cast<std::size_t>(position - start);
    return tokens[index] == drawn.token && log_p_model[index] == drawn.log_p_model && log_p_sampling[index] == drawn.log_p_sampling;
}

Run * Run::child_of(const Candidate & drawn) const {
    for (const auto & child : children) {
        if (child->size() > 0 && child->holds(child->start, drawn)) {
            return child.get();
        }
    }
    return nullptr;
}

void Run::keep(Snapshot snapshot) {
    const auto same = std::find_if(snapshots.rbegin(), snapshots.rend(), [&](const Snapshot & s) { return s.position != snapshot.position || s.sampling == snapshot.sampling; });
    if (same != snapshots.rend() && same->position == snapshot.position) {
        *same = std::move(snapshot);
    } else {
        snapshots.push_back(std::move(snapshot));
    }
}

Reading * Run::reading_at(std::int32_t position) {
    const auto found = std::lower_bound(readings.begin(), readings.end(), position, [](const Reading & r, std::int32_t p) { return r.position < p; });
    return found != readings.end() && found->position == position ? &*found : nullptr;
}

bool Run::is_pending_at(std::int32_t position) {
    const Reading * reading = readings.empty() ? nullptr : reading_at(position);
    return reading != nullptr && reading->is_pending;
}

bool Run::has_read(std::int32_t position, bool keeps_state) {
    const Reading * reading = reading_at(position);
    return reading != nullptr && !reading->is_pending && (!keeps_state || reading->keeps_state);
}

Reading & Run::add_reading(std::int32_t position) {
    const auto place = std::lower_bound(readings.begin(), readings.end(), position, [](const Reading & r, std::int32_t p) { return r.position < p; });
    if (place != readings.end() && place->position == position) {
        return *place;
    }
    Reading reading;
    reading.position = position;
    return *readings.insert(place, std::move(reading));
}

void Run::push(const Candidate & drawn) {
    tokens.push_back(drawn.token);
    log_p_model.push_back(drawn.log_p_model);
    log_p_sampling.push_back(drawn.log_p_sampling);
    expected_log_p.push_back(drawn.expected_log_p);
}

Candidate Run::last() const {
    return {tokens.back(), log_p_model.back(), log_p_sampling.back(), expected_log_p.back()};
}

PrefixTree::PrefixTree() : root_(std::make_unique<Run>()) {}

PrefixTree::~PrefixTree() {
    std::vector<std::unique_ptr<Run>> doomed;
    doomed.push_back(std::move(root_));
    while (!doomed.empty()) {
        std::unique_ptr<Run> run = std::move(doomed.back());
        doomed.pop_back();
        for (auto & child : run->children) {
            doomed.push_back(std::move(child));
        }
    }
}

Run * PrefixTree::insert(Run * from, const std::vector<Token> & tokens, std::int32_t & num_shared, const OnSplit & on_split, const Limit & limit) {
    const auto length = static_cast<std::int32_t>(tokens.size());
    Run * run = from;
    while (run->end() < length) {
        std::int32_t common = 0;
        Run * child = best_child(*run, tokens, limit, common);
        if (child == nullptr) {
            break;
        }
        run = child;
        if (common < child->size()) {
            run = split(child, child->start + common);
            on_split(child);
        }
    }
    num_shared = run->end();
    if (num_shared < length) {
        run = add_child(run);
        run->tokens.assign(tokens.begin() + num_shared, tokens.end());
        run->log_p_model.assign(run->tokens.size(), std::numeric_limits<float>::quiet_NaN());
        run->log_p_sampling = run->expected_log_p = run->log_p_model;
    }
    return run;
}

Run * PrefixTree::add_child(Run * parent) {
    auto child = std::make_unique<Run>();
    child->parent = parent;
    child->start = parent->end();
    parent->children.push_back(std::move(child));
    return parent->children.back().get();
}

Run * PrefixTree::split(Run * run, std::int32_t position) {
    ensure(run->start < position && position < run->end(), "a run is split inside");
    const auto count = static_cast<std::size_t>(position - run->start);
    auto upper = std::make_unique<Run>();
    upper->parent = run->parent;
    upper->start = run->start;
    upper->tokens = cut_front(run->tokens, count);
    upper->log_p_model = cut_front(run->log_p_model, count);
    upper->log_p_sampling = cut_front(run->log_p_sampling, count);
    upper->expected_log_p = cut_front(run->expected_log_p, count);
    upper->cells = cut_front(run->cells, count);
    upper->num_ever_cached = std::min(run->num_ever_cached, upper->size());
    upper->num_holders = run->num_holders;
    upper->last_used = run->last_used;
    run->num_ever_cached -= upper->num_ever_cached;
    run->start = position;

    const auto below = std::stable_partition(run->snapshots.begin(), run->snapshots.end(),
                                             [&](const Snapshot & snapshot) { return snapshot.position <= position; });
    upper->snapshots.assign(std::make_move_iterator(run->snapshots.begin()), std::make_move_iterator(below));
    run->snapshots.erase(run->snapshots.begin(), below);
    const auto later = std::find_if(run->readings.begin(), run->readings.end(), [&](const Reading & reading) { return reading.position > position; });
    upper->readings.assign(std::make_move_iterator(run->readings.begin()), std::make_move_iterator(later));
    run->readings.erase(run->readings.begin(), later);

    auto & siblings = run->parent->children;
    const auto slot = std::find_if(siblings.begin(), siblings.end(), [&](const auto & child) { return child.get() == run; });
    ensure(slot != siblings.end(), "a run is its parent's child");
    upper->children.push_back(std::move(*slot));
    *slot = std::move(upper);
    run->parent = slot->get();
    return slot->get();
}

Run * PrefixTree::remove_leaf(Run * run) {
    ensure(!run->is_root() && run->num_tips == 0 && run->children.empty() && !run->sequence, "only a dead leaf is removed");
    Run * parent = run->parent;
    auto & siblings = parent->children;
    const auto slot = std::find_if(siblings.begin(), siblings.end(), [&](const auto & child) { return child.get() == run; });
    ensure(slot != siblings.end(), "a run is its parent's child");
    siblings.erase(slot);
    return parent;
}

Run * run_before(Run * tip, std::int32_t position) {
    Run * run = tip;
    while (!run->is_root() && run->start >= position) {
        run = run->parent;
    }
    return run;
}

} // namespace arts
