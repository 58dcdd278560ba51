// Engine: the decode loop.

#include "engine.h"

#include "error.h"

#include <algorithm>

namespace arts {

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

void Engine::decode_lanes() {
    if (options_.is_reproducible) { // whoever paused at a step and came back, and when, leaves no trace
        std::sort(lanes_.begin(), lanes_.end(), [](const Run * a, const Run * b) { return first_id(*a) < first_id(*b); });
    }
    enforce_quotas();
    make_room_for_lanes();
    if (lanes_.empty() || !events_.empty()) {
        return;
    }
    batch_.clear();
    bool has_states = false;
    for (Run * lane : lanes_) {
        ensure(lane->num_cached() == lane->size() - 1, "a lane has its last token left to decode");
        batch_.add(lane->tokens.back(), lane->end() - 1, cache_->ids_per_row(), true);
        cache_->append_ids(*lane, batch_.ids());
        const Branch * generating = first_generating(*lane);
        if (generating != nullptr) {
            ++accounts_[generating->owner].spent; // given tokens are free, as prompts are
        }
        std::int64_t & count = generating != nullptr ? stats_.num_tokens_decoded : stats_.num_tokens_prefilled;
        (lane->num_ever_cached == lane->size() ? stats_.num_tokens_redecoded : count) += 1;
        has_states = has_states || reads_states(*lane, lane->end());
    }
    const std::size_t num_wanted = options_.tunes_rows ? tuner_.padded(lanes_.size(), cache_->cells().high_water()) : lanes_.size();
    stats_.num_rows_padding += static_cast<std::int64_t>(cache_->add_padding(batch_, num_wanted - lanes_.size()));
    const std::size_t num_rows = batch_.size();
    const double seconds = decode(lanes_, has_states);
    tuner_.record(num_rows, cache_->cells().high_water(), seconds);
    sample_lanes();
}

// A branch whose owner may not decode another token leaves the loop before it does.
void Engine::enforce_quotas() {
    std::unordered_map<std::int64_t, std::int64_t> planned;
    for (std::size_t i = 0; i < lanes_.size();) {
        Run * lane = lanes_[i];
        const Branch * generating = first_generating(*lane);
        if (generating == nullptr) {
            ++i;
            continue;
        }
        const std::int64_t owner = generating->owner;
        const Account & account = accounts_[owner];
        if (account.limit < 0 || account.spent + planned[owner] < account.limit) {
            ++planned[owner];
            ++i;
            continue;
        }
        for (Branch * branch : std::vector<Branch *>(lane->running)) {
            if (branch->owner == owner && !branch->is_appending) {
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
        preempt(*std::max_element(lanes_.begin(), lanes_.end(), [](const Run * a, const Run * b) { return order_of(*a) < order_of(*b); }));
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

// Decodes batch_; rows[i] is the run that row i's token belongs to. With hidden states every row is an output. Returns
// how long it took.
double Engine::decode(const std::vector<Run *> & rows, bool with_states) {
    const auto start = Clock::now();
    if (with_states != is_embedding_) {
        api_.llama_set_embeddings(context_, with_states);
        is_embedding_ = with_states;
    }
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

} // namespace arts
