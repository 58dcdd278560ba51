// Engine: which runs become rows of the next decode, and what has to be in the cache for that.

#include "engine.h"

#include "error.h"
#include "rng.h"

#include <algorithm>
#include <tuple>

namespace arts {

// Of the runs that wait: one that has only given tokens; then the owner's who began first, and of these one whose prefix is in the cache before one whose is not,
// then the oldest branch. So trees and traces are finished, and their cells freed, before others are begun. The second says whether it is new: not yet begun here.
std::pair<Run *, bool> Engine::next_waiting() const {
    Run * best = nullptr;
    bool is_new = false;
    std::tuple<bool, BranchId, bool, BranchId> best_key;
    for (Run * run : waiting_) {
        if (deferred_.count(run) > 0) {
            continue;
        }
        const bool is_long = first_generating(*run) != nullptr; // given tokens are decoded in one go and free their row
        const bool is_begun = run->sequence || run->parent->sequence || !run->has_uncached();
        const auto [since, id] = order_of(*run);
        const auto key = std::make_tuple(is_long, since, !is_begun, id);
        if (best == nullptr || key < best_key) {
            best = run;
            best_key = key;
            is_new = is_long && !is_begun;
        }
    }
    return {best, is_new};
}

// How many branches to run at once, as far as the loop is free to choose: with new ones.
std::size_t Engine::choose_rows() {
    if (!options_.tunes_rows) {
        return tuner_.max_rows();
    }
    std::size_t own_cells = 0;
    std::int32_t longest = 0; // what a trace may grow to; past traces say what to expect of it
    for (const Run * lane : lanes_) {
        const Branch & branch = *lane->running.front();
        own_cells += lane->cells.size();
        longest = std::max(longest, branch.max_length - branch.num_prompt);
    }
    const double expected = longest > 0 ? std::min(mean_trace_tokens_, static_cast<double>(longest)) : mean_trace_tokens_;
    const std::size_t high_water = cache_->cells().high_water();
    return tuner_.target(expected / 2, static_cast<double>(high_water - std::min(high_water, own_cells)));
}

void Engine::fill_lanes() {
    if (waiting_.empty()) {
        return;
    }
    const std::size_t target = choose_rows();
    std::vector<Prefill> prefills;
    std::size_t num_pending = 0; // tokens of `prefills`
    deferred_.clear();
    try {
        while (true) {
            const auto [run, is_new] = next_waiting();
            const std::size_t num_rows = lanes_.size() + prefills.size();
            const bool is_full = num_rows >= static_cast<std::size_t>(options_.max_rows);
            if (run == nullptr || (is_new && num_rows >= target) || (is_full && first_generating(*run) != nullptr)) {
                break;
            }
            if (!run->has_uncached()) {
                // Who goes along others' tokens may cut the runs that `prefills` is about to decode: they come first.
                if (!prefills.empty() && !prefill(prefills)) {
                    break;
                }
                num_pending = 0;
                continue_cached(run);
            } else if (is_blocked(run)) {
                deferred_.insert(run);
            } else if ((is_full && !set_back_a_lane()) || !admit(run, prefills, num_pending)) {
                break;
            }
        }
        if (!prefills.empty()) {
            prefill(prefills);
        }
    } catch (...) {
        give_up(prefills);
        throw;
    }
}

// Whether a token before the run's last one is about to be decoded for another run.
bool Engine::is_blocked(Run * run) const {
    const Run * deepest = KvCache::deepest_cached(run);
    for (const Run * above = run; !above->is_root(); above = above->parent) {
        if (above->is_busy && above->has_uncached()) {
            return true;
        }
        if (above == deepest) {
            break;
        }
    }
    return false;
}

// Makes the run a lane, or the target of a prefill that makes it one. False: no room now.
bool Engine::admit(Run * run, std::vector<Prefill> & prefills, std::size_t & num_pending) {
    Run * source = KvCache::deepest_cached(run);
    std::size_t num_missing = 0;
    Prefill prefill{run, {}};
    for (Run * above = run;; above = above->parent) {
        const std::size_t missing = above->tokens.size() - above->cells.size();
        num_missing += missing;
        if (missing > (above == run ? 1u : 0u)) {
            prefill.path.push_back(above);
        }
        if (above == source || above->is_root()) {
            break;
        }
    }
    std::reverse(prefill.path.begin(), prefill.path.end());
    const bool is_alone = lanes_.empty() && prefills.empty();
    // The lanes at work get some room to grow, lest what is admitted now is thrown out at once.
    const std::size_t slack = is_alone ? 0 : 16 * (lanes_.size() + prefills.size() + 1);
    const bool was_busy = std::exchange(source->is_busy, !source->is_root()); // neither may make room for itself
    run->is_busy = true;
    const bool has_room = make_room(num_missing + num_pending + slack, is_alone);
    run->is_busy = false;
    source->is_busy = source != run && was_busy;
    if (!has_room) {
        if (is_alone) {
            end_all(run, StopReason::CacheFull);
        }
        return is_alone;
    }
    if (!attach(run, is_alone)) {
        return false;
    }
    waiting_.erase(std::find(waiting_.begin(), waiting_.end(), run));
    run->is_busy = true;
    if (prefill.path.empty()) {
        lanes_.push_back(run);
        return true;
    }
    for (Run * above : prefill.path) {
        above->is_busy = true;
    }
    num_pending += num_missing;
    prefills.push_back(std::move(prefill));
    return true;
}

bool Engine::make_room(std::size_t num_cells, bool is_alone) {
    while (cache_->cells().num_free() < num_cells) {
        Run * victim = cache_->least_recently_used(is_alone);
        if (victim == nullptr) {
            return false;
        }
        cache_->drop(victim);
        ++stats_.num_parked;
    }
    return true;
}

bool Engine::attach(Run * run, bool is_alone) {
    while (!cache_->attach(run)) {
        Run * victim = cache_->least_recently_used(is_alone);
        if (victim == nullptr) {
            return false;
        }
        cache_->drop(victim); // its id is free now, or its parent's and the next to go
        ++stats_.num_parked;
    }
    return true;
}

// A run that is wholly in the cache, but whose next token's row is gone: its branches draw from the candidates that were
// kept; without any, its last token is decoded again.
void Engine::continue_cached(Run * run) {
    finish_appends(run);
    std::vector<Branch *> members;
    std::vector<Candidate> draws;
    std::vector<Branch *> others;
    for (Branch * branch : std::vector<Branch *>(run->running)) {
        if (branch->awaits_value) {
            if (run->is_lost(run->end(), false)) {
                others.push_back(branch);
            } else {
                end_step(*branch);
            }
            continue;
        }
        if (branch->withheld) {
            members.push_back(branch);
            draws.push_back(*branch->withheld);
            continue;
        }
        const Candidate * drawn = known_draw(run, run->end(), *branch);
        if (drawn == nullptr) {
            others.push_back(branch);
            continue;
        }
        members.push_back(branch);
        draws.push_back(*drawn);
    }
    if (!others.empty()) {
        if (run->num_holders == 1 && run->sequence) {
            cache_->drop_last_token(run);
            if (run->cells.empty()) {
                cache_->settle(run);
            }
        } else { // others build on its last cell: a twin of its last token goes beside it
            Run * parent = run->size() > 1 ? split(run, run->end() - 1) : run->parent;
            Run * twin = tree_->add_child(parent);
            twin->push(run->last());
            if (const Reading * reading = run->reading_at(run->end())) {
                twin->readings.push_back(*reading);
            }
            twin->num_ever_cached = 1;
            for (Branch * branch : others) {
                run->running.erase(std::find(run->running.begin(), run->running.end(), branch));
                set_tip(*branch, twin);
                twin->running.push_back(branch);
            }
            if (run->running.empty()) {
                leave_loop(run);
            }
            enqueue(twin);
        }
    }
    if (!members.empty()) {
        apply(run, members, draws);
    }
}

// Makes room among the rows of the next decode: the youngest branch that generates sits out, and loses nothing by it.
bool Engine::set_back_a_lane() {
    Run * youngest = nullptr;
    for (Run * lane : lanes_) {
        if (first_generating(*lane) != nullptr && (youngest == nullptr || order_of(*lane) > order_of(*youngest))) {
            youngest = lane;
        }
    }
    if (youngest != nullptr) {
        leave_loop(youngest);
        enqueue(youngest);
    }
    return youngest != nullptr;
}

} // namespace arts
