// Engine: the runs of tokens that branches stand on, and who of them is in the loop.

#include "engine.h"

#include <algorithm>
#include <utility>

namespace arts {
namespace {

template <typename T>
void erase(std::vector<T *> & from, const T * item) {
    from.erase(std::remove(from.begin(), from.end(), item), from.end());
}

} // namespace

// A split moves the lease of a run that has none of its own tokens in the cache to the upper part; such a run is no lane
// any more.
void Engine::settle_split(Run * lower) {
    if (cache_->after_split(lower->parent, lower) && lower->is_busy) {
        leave_loop(lower);
        enqueue(lower);
    }
}

Run * Engine::split(Run * run, std::int32_t position) {
    Run * upper = tree_->split(run, position);
    settle_split(run);
    return upper;
}

Run * Engine::cut_at(Run * tip, std::int32_t position) {
    Run * run = run_before(tip, position);
    return run->end() == position ? run : split(run, position);
}

std::vector<const Run *> Engine::path_of(const Branch & branch) const {
    std::vector<const Run *> path;
    for (const Run * run = branch.tip; !run->is_root(); run = run->parent) {
        path.push_back(run);
    }
    std::reverse(path.begin(), path.end());
    return path;
}

void Engine::replay(Branch & branch) {
    branch.reader = StepReader();
    branch.boundaries.clear();
    branch.text_end = std::numeric_limits<std::size_t>::max();
    for (const Run * run : path_of(branch)) {
        for (std::int32_t i = std::max(0, branch.num_prompt - run->start); i < run->size(); ++i) {
            const Token token = run->tokens[static_cast<std::size_t>(i)];
            if (branch.reader.feed(vocabulary_.piece(token), *branch.rules) == TextOutcome::Boundary) {
                branch.boundaries.push_back(run->start + i + 1);
            }
        }
    }
}

void Engine::set_tip(Branch & branch, Run * tip) {
    if (branch.tip != nullptr) {
        --branch.tip->num_tips;
    }
    branch.tip = tip;
    ++tip->num_tips;
    tip->last_used = ++clock_;
}

void Engine::start_running(Branch & branch) {
    branch.state = BranchState::Running;
    join(branch);
}

// Lets a branch want the next token of the run that it stands on.
void Engine::join(Branch & branch) {
    auto & running = branch.tip->running;
    const auto goes_first = [](const Branch * a, const Branch * b) { return std::pair(a->since, a->id) < std::pair(b->since, b->id); };
    running.insert(std::upper_bound(running.begin(), running.end(), &branch, goes_first), &branch);
    if (running.size() == 1) {
        enqueue(branch.tip);
    }
}

void Engine::stop_running(Branch & branch) {
    if (branch.state != BranchState::Running) {
        return;
    }
    branch.state = branch.reason == StopReason::None ? BranchState::Paused : BranchState::Ended;
    branch.is_appending = false;
    branch.tip->last_used = ++clock_;
    erase(branch.tip->running, &branch);
    if (branch.tip->running.empty()) {
        leave_loop(branch.tip);
    }
}

void Engine::enqueue(Run * run) { waiting_.push_back(run); }

void Engine::leave_loop(Run * run) {
    run->is_busy = false;
    erase(lanes_, run);
    erase(waiting_, run);
}

void Engine::end(Branch & branch, StopReason reason) {
    stop_running(branch);
    branch.state = BranchState::Ended;
    branch.reason = reason;
    // The end of the trace is no boundary, nor is one after which nothing visible came.
    auto & boundaries = branch.boundaries;
    if (!boundaries.empty() && (boundaries.back() == branch.length() || !branch.reader.has_visible_step())) {
        boundaries.pop_back();
    }
    while (reason == StopReason::StopString && !boundaries.empty() && num_text_bytes(branch, boundaries.back()) >= branch.text_end) {
        boundaries.pop_back();
    }
    mean_trace_tokens_ += 0.1 * (branch.length() - branch.num_prompt - mean_trace_tokens_);
    events_.push_back({EventKind::TraceEnded, branch.id, branch.length(), reason});
}

void Engine::drop_exclusive(Branch & branch) {
    for (Run * run = branch.tip; !run->is_root(); run = run->parent) {
        const bool is_tip = run == branch.tip;
        if (run->num_tips != (is_tip ? 1 : 0) || run->children.size() != (is_tip ? 0u : 1u)) {
            return; // another branch ends here or goes through
        }
        run->snapshots.clear();
        if (run->sequence) {
            cache_->drop(run);
        }
    }
}

void Engine::prune_upwards(Run * run) {
    while (!run->is_root() && run->num_tips == 0 && run->children.empty()) {
        if (run->sequence) {
            cache_->drop(run);
        }
        run = tree_->remove_leaf(run);
    }
}

void Engine::forget_events(BranchId id) {
    events_.erase(std::remove_if(events_.begin(), events_.end(), [&](const Event & event) { return event.branch == id; }), events_.end());
}

} // namespace arts
