// Engine: prompts and given tokens, decoded in large batches up to the last token, which a lane decodes.

#include "engine.h"

namespace arts {

// Tokens before the first one whose row is to be read go first, and alone: they need no outputs, and with hidden states
// every row of a call is one. False if it had to stop: the targets wait again.
bool Engine::prefill(std::vector<Prefill> & prefills) {
    if (!decode_prefills(prefills, false) || !decode_prefills(prefills, true)) {
        give_up(prefills);
        return false;
    }
    for (Prefill & prefill : prefills) {
        for (Run * run : prefill.path) {
            run->is_busy = false;
        }
        prefill.lane->is_busy = true;
        lanes_.push_back(prefill.lane);
    }
    prefills.clear();
    return true;
}

// Decodes what is missing of the prefills up to the first row that is to be read, or (`is_reading`) all that is left.
// False if it has to stop before the end.
bool Engine::decode_prefills(const std::vector<Prefill> & prefills, bool is_reading) {
    const auto max_prefill = static_cast<std::size_t>(options_.max_prefill_rows);
    const std::size_t max_rows = is_reading ? std::min(max_prefill, max_reading_rows_) : max_prefill;
    std::vector<Run *> rows;
    std::vector<std::int32_t> positions; // that the rows end, where they are to be read; otherwise 0
    bool has_states = false;
    const auto flush = [&] {
        if (!rows.empty()) {
            decode(rows, has_states);
            for (std::size_t row = 0; row < rows.size(); ++row) {
                if (positions[row] > 0) {
                    read_row(rows[row], positions[row], row);
                }
            }
        }
        rows.clear();
        positions.clear();
        batch_.clear();
        has_states = false;
    };
    batch_.clear();
    for (const Prefill & prefill : prefills) {
        bool is_reached = false; // the first row to be read
        for (Run * run : prefill.path) {
            const std::int32_t end = run == prefill.lane ? run->size() - 1 : run->size();
            for (std::int32_t i = run->num_cached(); i < end && !is_reached; ++i) {
                const std::int32_t position = run->start + i + 1;
                const bool is_read = run->is_pending_at(position);
                is_reached = is_read && !is_reading;
                if (is_reached) {
                    break;
                }
                batch_.add(run->tokens[static_cast<std::size_t>(i)], run->start + i, cache_->ids_per_row(), is_read);
                cache_->append_ids(*prefill.lane, batch_.ids());
                (i < run->num_ever_cached ? stats_.num_tokens_redecoded : stats_.num_tokens_prefilled) += 1;
                rows.push_back(run);
                positions.push_back(is_read ? position : 0);
                has_states = has_states || (is_read && reads_states(*run, position));
                if (rows.size() == max_rows) {
                    flush();
                    if (must_stop() || (is_late() && !options_.is_reproducible)) {
                        return false;
                    }
                }
            }
        }
    }
    flush();
    return true;
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

} // namespace arts
