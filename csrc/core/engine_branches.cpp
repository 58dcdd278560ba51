// Engine: branches from open to close, and the books about them.

#include "engine.h"

#include "error.h"
#include "rng.h"

#include <algorithm>
#include <cmath>

namespace arts {
namespace {

std::string number(std::int64_t value) { return std::to_string(value); }

bool equal(const SamplingParams & a, const SamplingParams & b) {
    return a.temperature == b.temperature && a.top_k == b.top_k && a.top_p == b.top_p && a.min_p == b.min_p &&
           a.repeat_penalty == b.repeat_penalty && a.repeat_last_n == b.repeat_last_n && a.logit_bias == b.logit_bias;
}

} // namespace

Engine::Engine(const LlamaApi & api, llama_context * context, EngineOptions options)
    : api_(api),
      context_(context),
      options_(std::move(options)),
      vocabulary_(api, api.llama_model_get_vocab(api.llama_get_model(context))),
      sampler_(vocabulary_.size(), static_cast<std::size_t>(options_.num_threads)),
      tuner_(static_cast<std::size_t>(std::max(options_.max_rows, 0)), static_cast<std::size_t>(std::max(options_.first_rows, 1))),
      num_embd_(api.llama_model_n_embd_out(api.llama_get_model(context))),
      max_reading_rows_(std::min({256u, api.llama_n_batch(context), api.llama_n_seq_max(context)})) {
    options_.tunes_rows = options_.tunes_rows && !options_.is_reproducible;
    const auto require = [](bool holds, const std::string & what) {
        if (!holds) {
            fail(ErrorCode::InvalidArgument, what);
        }
    };
    const auto num_cells = static_cast<std::int32_t>(api_.llama_n_ctx(context));
    const auto num_sequences = static_cast<std::int32_t>(api_.llama_n_seq_max(context));
    const auto num_batch = static_cast<std::int32_t>(std::min(api_.llama_n_batch(context), api_.llama_n_ubatch(context)));
    require(options_.num_sequences >= 2 && options_.num_sequences <= num_sequences,
            "num_sequences is " + number(options_.num_sequences) + ", but must be in [2, " + number(num_sequences) + "], the context's n_seq_max");
    const auto max_lanes = options_.pins_cells ? options_.num_sequences / 2 : options_.num_sequences;
    require(options_.max_rows >= 1 && options_.max_rows <= std::min(max_lanes, num_batch),
            "max_rows is " + number(options_.max_rows) + ", but must be in [1, " + number(std::min(max_lanes, num_batch)) + "]");
    require(options_.max_prefill_rows >= 1 && options_.max_prefill_rows <= num_batch,
            "max_prefill_rows is " + number(options_.max_prefill_rows) + ", but must be in [1, " + number(num_batch) + "], the context's n_ubatch");
    require(options_.max_trace_tokens >= 2 && options_.max_trace_tokens <= num_cells,
            "max_trace_tokens is " + number(options_.max_trace_tokens) + ", but must be in [2, " + number(num_cells) + "], the context's cells");
    cache_.emplace(api_, context_, static_cast<std::size_t>(options_.num_sequences), options_.pins_cells);
    tree_.emplace();
}

void Engine::require_open() const {
    if (!is_open_) {
        fail(ErrorCode::BranchClosed, "the engine is closed; load the model again to go on");
    }
}

Branch & Engine::find(BranchId branch) {
    require_open();
    const auto found = branches_.find(branch);
    if (found == branches_.end()) {
        fail(ErrorCode::BranchClosed, "branch " + number(branch) + " is closed or was never opened; open or fork a new one");
    }
    return *found->second;
}

// Branches are merged while they are equal only if they share their parameters' address.
std::shared_ptr<const SamplingParams> Engine::intern(const std::shared_ptr<const SamplingParams> & sampling) {
    interned_.erase(std::remove_if(interned_.begin(), interned_.end(), [](const auto & known) { return known.use_count() == 1; }), interned_.end());
    for (const auto & known : interned_) {
        if (equal(*known, *sampling)) {
            return known;
        }
    }
    interned_.push_back(std::make_shared<const SamplingParams>(*sampling));
    return interned_.back();
}

void Engine::check_prompt(const std::vector<Token> & tokens, const SamplingParams & sampling, std::int32_t max_tokens) const {
    if (tokens.empty()) {
        fail(ErrorCode::InvalidArgument, "the prompt has no tokens; it needs at least one");
    }
    for (const Token token : tokens) {
        if (!vocabulary_.has(token)) {
            fail(ErrorCode::InvalidArgument, "token " + number(token) + " is not in the vocabulary [0, " + number(static_cast<std::int64_t>(vocabulary_.size())) + ")");
        }
    }
    for (const auto & bias : sampling.logit_bias) {
        if (!vocabulary_.has(bias.first)) {
            fail(ErrorCode::InvalidArgument, "logit_bias names token " + number(bias.first) + ", which is not in the vocabulary [0, " +
                                                 number(static_cast<std::int64_t>(vocabulary_.size())) + ")");
        }
    }
    if (max_tokens < 1) {
        fail(ErrorCode::InvalidArgument, "max_tokens is " + number(max_tokens) + ", but must be >= 1");
    }
    const auto num_banned = std::count_if(sampling.logit_bias.begin(), sampling.logit_bias.end(), [this](const auto & bias) {
        return bias.second == -std::numeric_limits<float>::infinity() && bias.first != head_.token;
    });
    if (static_cast<std::size_t>(num_banned) + (head_.token >= 0 ? 1 : 0) >= vocabulary_.size()) {
        fail(ErrorCode::InvalidArgument, "all tokens are banned (the value head's among them); leave at least one");
    }
    if (static_cast<std::int64_t>(tokens.size()) >= options_.max_trace_tokens) {
        fail(ErrorCode::ContextOverflow, "the prompt has " + number(static_cast<std::int64_t>(tokens.size())) + " tokens, but a trace (prompt and answer) holds at most " +
                                             number(options_.max_trace_tokens) + "; shorten it or load the model with a larger context size");
    }
}

BranchId Engine::open(const std::vector<Token> & tokens, std::shared_ptr<const SamplingParams> sampling, std::shared_ptr<const StepRules> rules,
                      std::uint64_t seed, std::uint64_t stream, std::int32_t max_tokens, std::int64_t owner) {
    const std::lock_guard<std::mutex> lock(mutex_);
    require_open();
    check_prompt(tokens, *sampling, max_tokens);
    if (options_.is_reproducible && branches_.empty()) {
        cache_->restart(); // forgets where free cells lay, and the order of free ids
    }
    auto branch = std::make_unique<Branch>();
    branch->id = next_id_++;
    branch->num_prompt = static_cast<std::int32_t>(tokens.size());
    branch->is_bound_by_context = max_tokens > options_.max_trace_tokens - branch->num_prompt;
    branch->max_length = branch->is_bound_by_context ? options_.max_trace_tokens : branch->num_prompt + max_tokens;
    branch->sampling = intern(sampling);
    branch->rules = std::move(rules);
    branch->seed = seed;
    branch->stream = child_stream(seed, stream, 0, 0);
    std::int32_t num_shared = 0;
    Run * tip = tree_->insert(tree_->root(), tokens, num_shared, [this](Run * lower) { settle_split(lower); });
    stats_.num_tokens_shared += num_shared;
    set_tip(*branch, tip);
    return add(std::move(branch), owner);
}

BranchId Engine::add(std::unique_ptr<Branch> branch, std::int64_t owner) {
    const BranchId id = branch->id;
    Account & account = accounts_[owner];
    if (account.num_branches++ == 0) {
        account.since = id;
    }
    branch->owner = owner;
    branch->since = account.since;
    branches_.emplace(id, std::move(branch));
    return id;
}

BranchId Engine::fork(BranchId parent_id, std::int32_t position) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Branch & parent = find(parent_id);
    if (position < 1 || position > parent.length()) {
        fail(ErrorCode::InvalidArgument, "branch " + number(parent_id) + " cannot fork at position " + number(position) + "; it has positions 1 to " + number(parent.length()));
    }
    if (position == parent.length() && parent.reason == StopReason::EndOfText) {
        fail(ErrorCode::InvalidArgument, "branch " + number(parent_id) + " ended with its token " + number(position - 1) + "; fork it earlier");
    }
    auto child = std::make_unique<Branch>();
    child->id = next_id_++;
    child->num_prompt = std::min(parent.num_prompt, position);
    child->max_length = parent.max_length;
    child->is_bound_by_context = parent.is_bound_by_context;
    child->sampling = parent.sampling;
    child->rules = parent.rules;
    child->seed = parent.seed;
    child->stream = child_stream(parent.seed, parent.stream, static_cast<std::uint32_t>(position), parent.num_forks_at[position]++);
    set_tip(*child, cut_at(parent.tip, position));
    replay(*child);
    stats_.num_tokens_shared += position;
    return add(std::move(child), parent.owner);
}

void Engine::truncate(BranchId id, std::int32_t position) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Branch & branch = find(id);
    if (branch.state == BranchState::Running) {
        fail(ErrorCode::InvalidArgument, "branch " + number(id) + " is running; pause it before truncating it");
    }
    if (position < 1 || position > branch.length()) {
        fail(ErrorCode::InvalidArgument, "branch " + number(id) + " cannot be cut at position " + number(position) + "; it has positions 1 to " + number(branch.length()));
    }
    if (position == branch.length()) {
        return;
    }
    forget_events(id); // of what it no longer is
    Run * old_tip = branch.tip;
    set_tip(branch, cut_at(old_tip, position));
    branch.num_prompt = std::min(branch.num_prompt, position);
    branch.state = BranchState::Paused;
    branch.reason = StopReason::None;
    branch.awaits_value = false;
    branch.withheld.reset();
    replay(branch);
    prune_upwards(old_tip);
}

void Engine::run(BranchId id, bool pauses_on_step) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Branch & branch = find(id);
    if (branch.state == BranchState::Ended) {
        fail(ErrorCode::InvalidArgument, "branch " + number(id) + " has ended (" + name_of(branch.reason) + ") and cannot run; fork or truncate it at an earlier position");
    }
    if (branch.is_appending) {
        fail(ErrorCode::InvalidArgument, "branch " + number(id) + " still has appended tokens decoded; wait for its event, or pause it");
    }
    branch.pauses_on_step = pauses_on_step;
    branch.awaits_value = branch.awaits_value && pauses_on_step;
    if (branch.state == BranchState::Running) {
        return;
    }
    if (branch.length() >= branch.max_length) {
        end(branch, branch.is_bound_by_context ? StopReason::ContextFull : StopReason::MaxTokens);
        return;
    }
    start_running(branch);
}

void Engine::pause(BranchId id) {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_running(find(id));
}

void Engine::park(BranchId id) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Branch & branch = find(id);
    stop_running(branch);
    ++stats_.num_parked;
    drop_exclusive(branch);
}

void Engine::close(BranchId id) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Branch & branch = find(id);
    stop_running(branch);
    Run * tip = branch.tip;
    --tip->num_tips;
    forget_events(id);
    const auto account = accounts_.find(branch.owner);
    if (account != accounts_.end() && account->second.num_branches > 0) { // it may have been forgotten meanwhile
        --account->second.num_branches;
    }
    branches_.erase(id);
    prune_upwards(tip);
}

void Engine::set_quota(std::int64_t owner, std::int64_t max_tokens) {
    const std::lock_guard<std::mutex> lock(mutex_);
    require_open();
    if (max_tokens < 0) {
        fail(ErrorCode::InvalidArgument, "the quota is " + number(max_tokens) + " tokens, but must be >= 0");
    }
    Account & account = accounts_[owner];
    account.limit = account.spent + max_tokens;
}

std::int64_t Engine::quota_spent(std::int64_t owner) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = accounts_.find(owner);
    return found == accounts_.end() ? 0 : found->second.spent;
}

void Engine::forget_owner(std::int64_t owner) {
    const std::lock_guard<std::mutex> lock(mutex_);
    accounts_.erase(owner);
}

void Engine::shutdown() {
    interrupt();
    const std::lock_guard<std::mutex> lock(mutex_);
    is_open_ = false;
    lanes_.clear();
    waiting_.clear();
    branches_.clear();
    tree_.reset();
    cache_.reset();
}

} // namespace arts
