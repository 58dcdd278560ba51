// Engine: values of prefixes, and tokens that are given instead of drawn.

#include "engine.h"

#include "error.h"

#include <algorithm>
#include <cmath>

namespace arts {
namespace {

std::string number(std::int64_t value) { return std::to_string(value); }

void require_finite(const char * name, float value) {
    if (!std::isfinite(value)) {
        fail(ErrorCode::InvalidArgument, std::string(name) + " holds " + std::to_string(value) + ", but must be finite");
    }
}

} // namespace

void Engine::set_linear_head(std::vector<float> weight, float bias) {
    if (static_cast<std::int64_t>(weight.size()) != num_embd_) {
        fail(ErrorCode::InvalidArgument, "the head has " + number(static_cast<std::int64_t>(weight.size())) + " weights, but the model's hidden state has " +
                                             number(num_embd_) + " elements; take a head that was trained on this model");
    }
    for (const float element : weight) {
        require_finite("the head's weight", element);
    }
    require_finite("the head's bias", bias);
    set_head({std::move(weight), -1, static_cast<double>(bias)});
}

void Engine::set_token_head(Token token, float bias) {
    if (!vocabulary_.has(token)) {
        fail(ErrorCode::InvalidArgument, "the head's token is " + number(token) + ", but must be in the vocabulary [0, " +
                                             number(static_cast<std::int64_t>(vocabulary_.size())) + ")");
    }
    require_finite("the head's bias", bias);
    set_head({{}, token, static_cast<double>(bias)});
}

void Engine::remove_head() { set_head({}); }

void Engine::set_head(ValueHead head) {
    const std::lock_guard<std::mutex> lock(mutex_);
    require_open();
    if (!branches_.empty()) {
        fail(ErrorCode::InvalidArgument, "the value head cannot change while " + number(static_cast<std::int64_t>(branches_.size())) +
                                             " branches are open, lest their values mix; close them first");
    }
    head_ = std::move(head);
}

void Engine::check_append(const Branch & branch, const std::vector<Token> & tokens, const std::vector<std::int32_t> & marks, bool keeps_states) const {
    if (branch.state == BranchState::Running) {
        fail(ErrorCode::InvalidArgument, "branch " + number(branch.id) + " is running; pause it before appending to it");
    }
    if (!tokens.empty() && branch.state == BranchState::Ended) {
        fail(ErrorCode::InvalidArgument, "branch " + number(branch.id) + " has ended (" + name_of(branch.reason) + ") and cannot grow; fork or truncate it at an earlier position");
    }
    for (const Token token : tokens) {
        if (!vocabulary_.has(token)) {
            fail(ErrorCode::InvalidArgument, "token " + number(token) + " is not in the vocabulary [0, " + number(static_cast<std::int64_t>(vocabulary_.size())) + ")");
        }
    }
    const std::int64_t length = branch.length() + static_cast<std::int64_t>(tokens.size());
    if (length > options_.max_trace_tokens) {
        fail(ErrorCode::ContextOverflow, "branch " + number(branch.id) + " would have " + number(length) + " tokens, but a trace holds at most " +
                                             number(options_.max_trace_tokens) + "; append fewer or load the model with a larger context size");
    }
    for (const std::int32_t mark : marks) {
        if (mark < 1 || mark > length) {
            fail(ErrorCode::InvalidArgument, "the mark " + number(mark) + " is no position of branch " + number(branch.id) + ", which has positions 1 to " + number(length));
        }
    }
    if (!marks.empty() && !head_.is_set() && !keeps_states) {
        fail(ErrorCode::InvalidArgument, "positions are marked, but there is nothing to read there: set a value head, or keep the hidden states");
    }
}

void Engine::append(BranchId id, const std::vector<Token> & tokens, std::vector<std::int32_t> marks, bool keeps_states) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Branch & branch = find(id);
    check_append(branch, tokens, marks, keeps_states);
    std::sort(marks.begin(), marks.end());
    renew_lost(branch, marks, keeps_states);
    if (!tokens.empty()) {
        extend(branch, tokens, marks, keeps_states);
    }
    for (const std::int32_t mark : marks) {
        Run * run = run_before(branch.tip, mark);
        if (!run->has_read(mark, keeps_states)) {
            Reading & reading = run->add_reading(mark);
            reading.is_pending = true;
            reading.keeps_state = reading.keeps_state || keeps_states;
        }
    }
    branch.is_appending = true;
    start_running(branch);
}

// What was not read when a token was decoded is read from a copy of it; what follows it is decoded anew, too.
void Engine::renew_lost(Branch & branch, const std::vector<std::int32_t> & marks, bool keeps_states) {
    const auto lost = std::find_if(marks.begin(), marks.end(), [&](std::int32_t mark) {
        return mark <= branch.length() && run_before(branch.tip, mark)->is_lost(mark, keeps_states);
    });
    if (lost == marks.end()) {
        return;
    }
    Run * old_tip = branch.tip;
    Run * parent = cut_at(old_tip, *lost - 1);
    std::vector<const Run *> path = path_of(branch);
    path.erase(path.begin(), std::find_if(path.begin(), path.end(), [&](const Run * run) { return run->start >= *lost - 1; }));
    Run * copy = tree_->add_child(parent);
    for (const Run * run : path) {
        copy->tokens.insert(copy->tokens.end(), run->tokens.begin(), run->tokens.end());
        copy->log_p_model.insert(copy->log_p_model.end(), run->log_p_model.begin(), run->log_p_model.end());
        copy->log_p_sampling.insert(copy->log_p_sampling.end(), run->log_p_sampling.begin(), run->log_p_sampling.end());
        copy->expected_log_p.insert(copy->expected_log_p.end(), run->expected_log_p.begin(), run->expected_log_p.end());
        copy->snapshots.insert(copy->snapshots.end(), run->snapshots.begin(), run->snapshots.end());
        copy->readings.insert(copy->readings.end(), run->readings.begin(), run->readings.end());
    }
    copy->num_ever_cached = copy->size();
    set_tip(branch, copy);
    prune_upwards(old_tip);
}

void Engine::extend(Branch & branch, const std::vector<Token> & tokens, const std::vector<std::int32_t> & marks, bool keeps_states) {
    std::vector<Token> all;
    for (const Run * run : path_of(branch)) {
        all.insert(all.end(), run->tokens.begin(), run->tokens.end());
    }
    all.insert(all.end(), tokens.begin(), tokens.end());
    const auto until_lost = [&](Run & run, std::int32_t equal) {
        for (const std::int32_t mark : marks) {
            if (mark > run.start && mark <= run.start + equal && run.is_lost(mark, keeps_states)) {
                return mark - 1 - run.start;
            }
        }
        return equal;
    };
    const std::int32_t length = branch.length();
    std::int32_t num_shared = 0;
    Run * tip = tree_->insert(branch.tip, all, num_shared, [this](Run * lower) { settle_split(lower); }, until_lost);
    stats_.num_tokens_shared += num_shared - length;
    set_tip(branch, tip);
    branch.withheld.reset();
    branch.awaits_value = false;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        if (branch.reader.feed(vocabulary_.piece(tokens[i]), *branch.rules) == TextOutcome::Boundary) {
            branch.boundaries.push_back(length + static_cast<std::int32_t>(i) + 1);
        }
    }
}

// All tokens of the run, and so those before it, are decoded: that is what such branches wait for.
void Engine::finish_appends(Run * run) {
    for (Branch * branch : std::vector<Branch *>(run->running)) {
        if (branch->is_appending) {
            stop_running(*branch);
            events_.push_back({EventKind::Appended, branch->id, branch->length()});
        }
    }
}

void Engine::end_step(Branch & branch) {
    branch.awaits_value = false;
    stop_running(branch);
    events_.push_back({EventKind::StepEnded, branch.id, branch.length()});
}

// Whether the row of the token before `position` has to come with its hidden state.
bool Engine::reads_states(Run & run, std::int32_t position) const {
    const Reading * reading = run.reading_at(position);
    const bool is_pending = reading != nullptr && reading->is_pending;
    return (is_pending && reading->keeps_state) || (head_.is_linear() && (is_pending || first_generating(run) != nullptr));
}

// Reads what is wanted of a row of the last decode; returns its value, or NaN. Takes the head's token out of the row.
double Engine::read_row(Run * run, std::int32_t position, std::size_t row) {
    const auto index = static_cast<std::int32_t>(row);
    Reading * reading = run->reading_at(position);
    const bool is_pending = reading != nullptr && reading->is_pending;
    const float * state = nullptr;
    if (is_embedding_) {
        state = api_.llama_get_embeddings_ith(context_, index);
        ensure(state != nullptr, "a row that is read has its hidden state");
    }
    double value = std::numeric_limits<double>::quiet_NaN();
    if (head_.is_linear() && state != nullptr) {
        value = head_.of_state(state);
    } else if (head_.token >= 0) {
        float * logits = api_.llama_get_logits_ith(context_, index);
        ensure(logits != nullptr, "a row that is read has logits");
        value = head_.of_logits(logits);
        logits[head_.token] = -std::numeric_limits<float>::infinity();
    }
    if (is_pending) {
        reading->is_pending = false;
        reading->value = std::isnan(reading->value) ? value : reading->value;
        if (reading->keeps_state) {
            reading->state.assign(state, state + num_embd_);
        }
    }
    return value;
}

void Engine::keep_value(Run * run, std::int32_t position, double value) const {
    if (head_.is_set() && !run->has_read(position, false)) { // what was read first stays: decoded again, it may differ in the last digits
        run->add_reading(position).value = value;
    }
}

Reading * Engine::find_reading(const Branch & branch, std::int32_t position) const {
    if (position < 1 || position > branch.length()) {
        fail(ErrorCode::InvalidArgument, "branch " + number(branch.id) + " has no position " + number(position) + "; it has positions 1 to " + number(branch.length()));
    }
    return run_before(branch.tip, position)->reading_at(position);
}

std::vector<double> Engine::values(BranchId id, const std::vector<std::int32_t> & positions) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const Branch & branch = find(id);
    std::vector<double> values;
    for (const std::int32_t position : positions) {
        const Reading * reading = find_reading(branch, position);
        values.push_back(reading == nullptr ? std::numeric_limits<double>::quiet_NaN() : reading->value);
    }
    return values;
}

// At each boundary; of an ended trace, also at its last token or, as that is mostly not decoded, the one before it.
std::vector<double> Engine::step_values(BranchId id) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const Branch & branch = find(id);
    const auto value_at = [&](std::int32_t position) {
        const Reading * reading = position < 1 ? nullptr : find_reading(branch, position);
        return reading == nullptr ? std::numeric_limits<double>::quiet_NaN() : reading->value;
    };
    std::vector<double> values;
    for (const std::int32_t boundary : branch.boundaries) {
        values.push_back(value_at(boundary));
    }
    if (branch.reason != StopReason::None) {
        const double last = value_at(branch.length());
        values.push_back(std::isnan(last) ? value_at(branch.length() - 1) : last);
    }
    return values;
}

std::vector<float> Engine::hidden_states(BranchId id, const std::vector<std::int32_t> & positions) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const Branch & branch = find(id);
    std::vector<float> rows;
    for (const std::int32_t position : positions) {
        const Reading * reading = find_reading(branch, position);
        if (reading == nullptr || reading->state.empty()) {
            fail(ErrorCode::InvalidArgument, "branch " + number(id) + " keeps no hidden state at position " + number(position) +
                                                 "; mark it when appending, keep the states, and wait for the event");
        }
        rows.insert(rows.end(), reading->state.begin(), reading->state.end());
    }
    return rows;
}

} // namespace arts
