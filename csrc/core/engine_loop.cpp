// Engine: the decode loop.

#include "engine.h"

#include "error.h"
#include "rng.h"

#include <algorithm>

namespace arts {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

bool has_uncached(const Run & run) { return run.cells.size() < run.tokens.size(); }

BranchId first_id(const Run & run) { return run.running.front()->id; }

} // namespace

std::vector<Event> Engine::advance(double max_seconds, const std::function<bool()> & poll) {
    const std::lock_guard<std::mutex> lock(mutex_);
    require_open();
    const auto start = Clock::now();
    has_deadline_ = max_seconds >= 0;
    deadline_ = start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(std::clamp(max_seconds, 0.0, 1e9)));
    poll_ = &poll;
    try {
        while (events_.empty() && !(lanes_.empty() && waiting_.empty())) {
            if (!must_stop()) {
                fill_lanes();
                if (events_.empty() && !lanes_.empty()) {
                    decode_lanes();
                }
            }
            // Time is looked at after a decode, so that even a call without any gets the work one step further.
            if (events_.empty() && (must_stop() || is_late())) {
                is_interrupted_.store(false);
                events_.push_back({EventKind::Interrupted});
            }
        }
    } catch (...) {
        stats_.advance_s += seconds_since(start);
        poll_ = nullptr;
        throw;
    }
    poll_ = nullptr;
    stats_.advance_s += seconds_since(start);
    return std::exchange(events_, {});
}

bool Engine::must_stop() {
    return is_interrupted_.load() || (poll_ != nullptr && *poll_ && (*poll_)());
}

bool Engine::is_late() const { return has_deadline_ && Clock::now() >= deadline_; }

// Of the runs that wait: one whose prefix is in the cache before one whose is not, then the oldest branch, so that traces
// are finished, and their cells freed, before others are begun. The second says whether it is new: not yet begun here.
std::pair<Run *, bool> Engine::next_waiting() const {
    Run * best = nullptr;
    std::pair<int, BranchId> best_key;
    for (Run * run : waiting_) {
        if (deferred_.count(run) > 0) {
            continue;
        }
        const int rank = run->sequence || run->parent->sequence || !has_uncached(*run) ? 0 : 1;
        const std::pair<int, BranchId> key(rank, first_id(*run));
        if (best == nullptr || key < best_key) {
            best = run;
            best_key = key;
        }
    }
    return {best, best_key.first == 1};
}

// How many branches to run at once, as far as the loop is free to choose: with new ones.
std::size_t Engine::choose_rows() {
    if (!options_.tunes_rows) {
        return tuner_.max_rows();
    }
    std::size_t own_cells = 0;
    for (const Run * lane : lanes_) {
        own_cells += lane->cells.size();
    }
    const std::size_t high_water = cache_->cells().high_water();
    return tuner_.target(mean_trace_tokens_ / 2, static_cast<double>(high_water - std::min(high_water, own_cells)));
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
        while (lanes_.size() + prefills.size() < static_cast<std::size_t>(options_.max_rows)) {
            const auto [run, is_new] = next_waiting();
            if (run == nullptr || (is_new && lanes_.size() + prefills.size() >= target)) {
                break;
            }
            if (!has_uncached(*run)) {
                continue_cached(run);
            } else if (is_blocked(run)) {
                deferred_.insert(run);
            } else if (!admit(run, prefills, num_pending)) {
                break;
            }
        }
        prefill(prefills);
    } catch (...) {
        give_up(prefills);
        throw;
    }
}

// Whether a token before the run's last one is about to be decoded for another run.
bool Engine::is_blocked(Run * run) const {
    const Run * deepest = KvCache::deepest_cached(run);
    for (const Run * above = run; !above->is_root(); above = above->parent) {
        if (above->is_busy && has_uncached(*above)) {
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
    std::vector<Branch *> members;
    std::vector<Draw> draws;
    std::vector<Branch *> others;
    for (Branch * branch : run->running) {
        const Snapshot * snapshot = run->snapshot_at(run->end(), branch->sampling.get());
        if (snapshot == nullptr) {
            others.push_back(branch);
            continue;
        }
        const Candidate & drawn = draw(snapshot->candidates, uniform(branch->seed, branch->stream, static_cast<std::uint32_t>(run->end())));
        members.push_back(branch);
        draws.push_back({drawn.token, drawn.log_p_model, drawn.log_p_sampling});
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
            twin->push(run->tokens.back(), run->log_p_model.back(), run->log_p_sampling.back());
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

void Engine::prefill(std::vector<Prefill> & prefills) {
    std::vector<Run *> rows;
    const auto flush = [&] {
        if (!rows.empty()) {
            decode(rows);
            rows.clear();
            batch_.clear();
        }
    };
    batch_.clear();
    bool is_stopped = false;
    for (Prefill & prefill : prefills) {
        for (Run * run : prefill.path) {
            const std::int32_t end = run == prefill.lane ? run->size() - 1 : run->size();
            for (std::int32_t i = run->num_cached(); i < end && !is_stopped; ++i) {
                batch_.add(run->tokens[static_cast<std::size_t>(i)], run->start + i, cache_->ids_per_row(), false);
                cache_->append_ids(*prefill.lane, batch_.ids());
                (i < run->num_ever_cached ? stats_.num_tokens_redecoded : stats_.num_tokens_prefilled) += 1;
                rows.push_back(run);
                if (rows.size() == static_cast<std::size_t>(options_.max_prefill_rows)) {
                    flush();
                    is_stopped = must_stop() || is_late();
                }
            }
        }
    }
    flush();
    if (is_stopped) {
        give_up(prefills);
        return;
    }
    for (Prefill & prefill : prefills) {
        for (Run * run : prefill.path) {
            run->is_busy = false;
        }
        prefill.lane->is_busy = true;
        lanes_.push_back(prefill.lane);
    }
    prefills.clear();
}

// Puts the targets of unfinished prefills back; what was decoded of them stays.
void Engine::give_up(std::vector<Prefill> & prefills) {
    for (Prefill & prefill : prefills) {
        for (Run * run : prefill.path) {
            run->is_busy = false;
        }
        prefill.lane->is_busy = false;
        cache_->settle(prefill.lane);
        enqueue(prefill.lane);
    }
    prefills.clear();
    batch_.clear();
}

void Engine::decode_lanes() {
    enforce_quotas();
    make_room_for_lanes();
    if (lanes_.empty() || !events_.empty()) {
        return;
    }
    batch_.clear();
    for (Run * lane : lanes_) {
        batch_.add(lane->tokens.back(), lane->end() - 1, cache_->ids_per_row(), true);
        cache_->append_ids(*lane, batch_.ids());
        ++quotas_[lane->running.front()->owner].spent;
        (lane->num_ever_cached == lane->size() ? stats_.num_tokens_redecoded : stats_.num_tokens_decoded) += 1;
    }
    const std::size_t num_wanted = options_.tunes_rows ? tuner_.padded(lanes_.size(), cache_->cells().high_water()) : lanes_.size();
    stats_.num_rows_padding += static_cast<std::int64_t>(cache_->add_padding(batch_, num_wanted - lanes_.size()));
    const std::size_t num_rows = batch_.size();
    const double seconds = decode(lanes_);
    tuner_.record(num_rows, cache_->cells().high_water(), seconds);
    sample_lanes();
}

// A branch whose owner may not decode another token leaves the loop before it does.
void Engine::enforce_quotas() {
    std::unordered_map<std::int64_t, std::int64_t> planned;
    for (std::size_t i = 0; i < lanes_.size();) {
        Run * lane = lanes_[i];
        const std::int64_t owner = lane->running.front()->owner;
        const Quota & quota = quotas_[owner];
        if (quota.limit < 0 || quota.spent + planned[owner] < quota.limit) {
            ++planned[owner];
            ++i;
            continue;
        }
        for (Branch * branch : std::vector<Branch *>(lane->running)) {
            if (branch->owner == owner) {
                stop_running(*branch); // takes the lane out with its last branch
                events_.push_back({EventKind::LimitReached, branch->id, branch->length(), StopReason::BudgetTokens});
            }
        }
    }
}

void Engine::make_room_for_lanes() {
    while (cache_->cells().num_free() < lanes_.size()) {
        const bool is_alone = lanes_.size() == 1;
        if (make_room(lanes_.size(), is_alone)) {
            return;
        }
        if (is_alone) {
            end_all(lanes_.front(), StopReason::CacheFull);
            return;
        }
        preempt(*std::max_element(lanes_.begin(), lanes_.end(), [](const Run * a, const Run * b) { return first_id(*a) < first_id(*b); }));
    }
}

void Engine::preempt(Run * lane) {
    leave_loop(lane);
    cache_->drop(lane);
    enqueue(lane);
    ++stats_.num_parked;
    for (const Branch * branch : lane->running) {
        events_.push_back({EventKind::CachePressure, branch->id, branch->length()});
    }
}

void Engine::end_all(Run * run, StopReason reason) {
    for (Branch * branch : std::vector<Branch *>(run->running)) {
        end(*branch, reason);
    }
}

// Decodes batch_; rows[i] is the run that row i's token belongs to. Returns how long it took.
double Engine::decode(const std::vector<Run *> & rows) {
    const auto start = Clock::now();
    const std::int32_t status = api_.llama_decode(context_, batch_.view());
    if (status != 0) {
        cache_->forget_padding();
        stats_.decode_s += seconds_since(start);
        const std::string why = status == 1 ? "the KV cache has no room, although " + std::to_string(cache_->cells().num_free()) + " cells should be free"
                                            : "status " + std::to_string(status);
        fail(ErrorCode::Decode, "llama_decode refused a batch of " + std::to_string(rows.size()) + " rows (" + why + "); close the engine and load the model again");
    }
    cache_->mark_decoded(rows); // while a GPU is still at work
    ++stats_.num_decode_calls;
    api_.llama_synchronize(context_);
    const double seconds = seconds_since(start);
    stats_.decode_s += seconds;
    return seconds;
}

bool Engine::wants_snapshot(const Run & run, const Branch & branch) const {
    constexpr std::size_t max_unfiltered_vocabulary = 1024; // 12 bytes a candidate
    const bool is_small = branch.sampling->filters() || vocabulary_.size() <= max_unfiltered_vocabulary;
    const bool is_fork_point = run.end() == branch.num_prompt || (!branch.boundaries.empty() && branch.boundaries.back() == run.end()) ||
                               run.num_tips > static_cast<std::int32_t>(run.running.size());
    return is_small && is_fork_point && run.snapshot_at(run.end(), branch.sampling.get()) == nullptr;
}

void Engine::sample_lanes() {
    const auto start = Clock::now();
    struct Group {
        Run * run;
        std::vector<Branch *> members;
    };
    std::vector<Group> groups; // of tasks_, one to one
    tasks_.clear();
    for (std::size_t row = 0; row < lanes_.size(); ++row) {
        Run * lane = lanes_[row];
        lane->last_used = ++clock_;
        const std::size_t first = groups.size();
        for (Branch * branch : lane->running) {
            const auto group = std::find_if(groups.begin() + static_cast<std::ptrdiff_t>(first), groups.end(),
                                            [&](const Group & g) { return g.members.front()->sampling == branch->sampling; });
            const auto index = static_cast<std::size_t>(group - groups.begin());
            if (group == groups.end()) {
                groups.push_back({lane, {}});
                SampleTask task;
                task.logits = api_.llama_get_logits_ith(context_, static_cast<std::int32_t>(row));
                ensure(task.logits != nullptr, "every lane has a row of logits");
                task.params = branch->sampling.get();
                if (branch->sampling->needs_history()) {
                    for (const Run * run : path_of(*branch)) {
                        task.history.insert(task.history.end(), run->tokens.begin(), run->tokens.end());
                    }
                }
                tasks_.push_back(std::move(task));
            }
            groups[index].members.push_back(branch);
            tasks_[index].quantiles.push_back(uniform(branch->seed, branch->stream, static_cast<std::uint32_t>(lane->end())));
            tasks_[index].keeps_candidates = tasks_[index].keeps_candidates || wants_snapshot(*lane, *branch);
        }
    }
    sampler_.run(tasks_);
    for (std::size_t i = 0; i < groups.size(); ++i) {
        if (tasks_[i].keeps_candidates) {
            groups[i].run->snapshots.push_back({groups[i].run->end(), groups[i].members.front()->sampling, std::move(tasks_[i].candidates)});
        }
    }
    for (std::size_t i = 0; i < groups.size(); ++i) {
        apply(groups[i].run, groups[i].members, tasks_[i].draws);
    }
    stats_.sample_s += seconds_since(start);
}

// Appends what each member drew. Members that drew the same stay together; if all that end at this run did, the run
// itself grows, otherwise each outcome becomes a child run.
void Engine::apply(Run * run, const std::vector<Branch *> & members, const std::vector<Draw> & draws) {
    struct Outcome {
        Draw draw;
        const SamplingParams * sampling;
        std::vector<Branch *> members;
    };
    std::vector<Outcome> outcomes;
    for (std::size_t i = 0; i < members.size(); ++i) {
        const SamplingParams * sampling = members[i]->sampling.get();
        const auto found = std::find_if(outcomes.begin(), outcomes.end(),
                                        [&](const Outcome & o) { return o.draw.token == draws[i].token && o.sampling == sampling; });
        if (found == outcomes.end()) {
            outcomes.push_back({draws[i], sampling, {members[i]}});
        } else {
            found->members.push_back(members[i]);
        }
    }
    const bool grows = outcomes.size() == 1 && run->children.empty() && run->num_tips == static_cast<std::int32_t>(members.size());
    for (const Outcome & outcome : outcomes) {
        Run * target = grows ? run : tree_->add_child(run);
        target->push(outcome.draw.token, outcome.draw.log_p_model, outcome.draw.log_p_sampling);
        if (!grows) {
            for (Branch * branch : outcome.members) {
                run->running.erase(std::find(run->running.begin(), run->running.end(), branch));
                set_tip(*branch, target);
            }
            target->running = outcome.members;
            enqueue(target);
        }
        for (Branch * branch : outcome.members) {
            read_token(*branch, outcome.draw.token);
        }
    }
    if (!grows && run->running.empty()) {
        leave_loop(run);
    }
}

void Engine::read_token(Branch & branch, Token token) {
    if (vocabulary_.is_end_of_generation(token)) {
        end(branch, StopReason::EndOfText);
        return;
    }
    const TextOutcome outcome = branch.reader.feed(vocabulary_.piece(token), *branch.rules);
    if (outcome == TextOutcome::Stop) {
        branch.text_end = branch.reader.stop_begin();
        end(branch, StopReason::StopString);
        return;
    }
    if (outcome == TextOutcome::Boundary) {
        branch.boundaries.push_back(branch.length());
    }
    if (branch.length() >= branch.max_length) {
        end(branch, branch.is_bound_by_context ? StopReason::ContextFull : StopReason::MaxTokens);
    } else if (outcome == TextOutcome::Boundary && branch.pauses_on_step) {
        stop_running(branch);
        events_.push_back({EventKind::StepEnded, branch.id, branch.length()});
    }
}

} // namespace arts
