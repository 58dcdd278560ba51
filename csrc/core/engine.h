// Branches over one llama_context, advanced together.
//
// One lane is one row of the decode batch: a run whose last token is still to be decoded, wanted by one branch or by
// several that are still equal. After each decode every branch draws its own next token from its lane's row; branches
// that draw differently part, which is where a fork costs a sequence copy (of metadata) and nothing else.
//
// A branch may also be given tokens. It is a lane, too, for one decode: the last of them, once the others are prefilled;
// what is wanted of its row (and of marked rows among the others) is read then.
#pragma once

#include "batch.h"
#include "branch.h"
#include "kv_cache.h"
#include "llama_api.h"
#include "row_sampler.h"
#include "row_tuner.h"
#include "value_head.h"
#include "vocabulary.h"

#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>

namespace arts {

struct EngineOptions {
    std::int32_t max_trace_tokens = 0;
    std::int32_t max_rows = 16;
    std::int32_t first_rows = 16; // branches to run at once until the loop has learned what pays
    std::int32_t max_prefill_rows = 512;
    std::int32_t num_threads = 1;
    std::int32_t num_sequences = 256;
    bool pins_cells = false;
    bool tunes_rows = true; // measure which batch sizes are fast, and choose them
    bool is_reproducible = false; // what is decoded is a function of the calls since there was no branch, of no clock
};

struct Stats {
    std::int64_t num_tokens_decoded = 0, num_tokens_prefilled = 0, num_tokens_redecoded = 0, num_tokens_shared = 0;
    std::int64_t num_rows_padding = 0, num_decode_calls = 0, num_forks = 0, num_parked = 0;
    double decode_s = 0, sample_s = 0, advance_s = 0;
    std::int64_t num_cells_used = 0, num_cells_high_water = 0, num_cells_capacity = 0;
    std::int64_t num_sequences_used = 0, num_sequences = 0, num_branches = 0, num_rows_target = 0, num_rows_max = 0;
};

class Engine {
public:
    Engine(const LlamaApi & api, llama_context * context, EngineOptions options);

    BranchId open(const std::vector<Token> & tokens, std::shared_ptr<const SamplingParams> sampling, std::shared_ptr<const StepRules> rules,
                  std::uint64_t seed, std::uint64_t stream, std::int32_t max_tokens, std::int64_t owner);
    BranchId fork(BranchId branch, std::int32_t position);
    void truncate(BranchId branch, std::int32_t position);
    void run(BranchId branch, bool pauses_on_step);
    // Makes a branch that is not running longer by given tokens and has everything of it decoded; reads a value (and
    // keeps the hidden state, if asked) at the last token of tokens[0:mark] for every mark. Ends with an event.
    void append(BranchId branch, const std::vector<Token> & tokens, std::vector<std::int32_t> marks, bool keeps_states);
    void pause(BranchId branch);
    void park(BranchId branch);
    void close(BranchId branch);

    // Decodes until there is an event; `poll` is called between decode calls and interrupts by returning true.
    // max_seconds < 0: no limit; looked at after each decode call, so that 0 decodes once. Empty if nothing is running.
    std::vector<Event> advance(double max_seconds, const std::function<bool()> & poll);
    void interrupt() { is_interrupted_.store(true); }

    // While there is no branch. With a head, the values of steps and traces are read as they are generated.
    void set_linear_head(std::vector<float> weight, float bias);
    void set_token_head(Token token, float bias);
    void remove_head();
    std::int32_t num_embd() const { return num_embd_; }
    // NaN where none was read.
    std::vector<double> values(BranchId branch, const std::vector<std::int32_t> & positions);
    std::vector<double> step_values(BranchId branch);
    // Rows of num_embd() floats. Throws InvalidArgument where none was kept.
    std::vector<float> hidden_states(BranchId branch, const std::vector<std::int32_t> & positions);

    void set_quota(std::int64_t owner, std::int64_t max_tokens);
    std::int64_t quota_spent(std::int64_t owner);
    void forget_owner(std::int64_t owner);

    std::vector<Token> tokens(BranchId branch);
    void log_probs(BranchId branch, std::vector<float> & model, std::vector<float> & sampling);
    std::vector<float> expected_log_probs(BranchId branch);
    std::vector<std::int32_t> boundaries(BranchId branch);
    std::string text(BranchId branch, std::int32_t start, std::int32_t end);
    std::int32_t num_tokens(BranchId branch);
    std::int32_t num_prompt_tokens(BranchId branch);
    std::int32_t num_cached(BranchId branch);
    BranchState state(BranchId branch);
    Stats stats();
    void check();
    void shutdown();

private:
    struct Account { // of an owner
        std::int64_t spent = 0;
        std::int64_t limit = -1; // -1: none
        std::int64_t num_branches = 0;
        BranchId since = -1; // the first branch since it had none
    };
    struct Prefill {
        Run * lane;
        std::vector<Run *> path; // runs with tokens to decode, from the root's side
    };
    struct Group { // branches that draw from one row under the same parameters
        Run * run;
        std::vector<Branch *> members;
    };
    using Clock = std::chrono::steady_clock;
    static double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

    // engine_branches.cpp
    Branch & find(BranchId branch);
    void require_open() const;
    BranchId add(std::unique_ptr<Branch> branch, std::int64_t owner);
    std::shared_ptr<const SamplingParams> intern(const std::shared_ptr<const SamplingParams> & sampling);
    void check_prompt(const std::vector<Token> & tokens, const SamplingParams & sampling, std::int32_t max_tokens) const;
    std::size_t num_text_bytes(const Branch & branch, std::int32_t end) const;

    // engine_runs.cpp
    Run * cut_at(Run * tip, std::int32_t position);
    Run * split(Run * run, std::int32_t position);
    void replay(Branch & branch);
    void set_tip(Branch & branch, Run * tip);
    void enqueue(Run * run);
    void leave_loop(Run * run);
    void start_running(Branch & branch);
    void join(Branch & branch);
    void stop_running(Branch & branch);
    void settle_split(Run * lower);
    void prune_upwards(Run * run);
    void end(Branch & branch, StopReason reason);
    void forget_events(BranchId branch);
    std::vector<const Run *> path_of(const Branch & branch) const;
    void drop_exclusive(Branch & branch);

    // engine_admission.cpp
    void fill_lanes();
    std::size_t choose_rows();
    std::pair<Run *, bool> next_waiting() const;
    bool is_blocked(Run * run) const;
    bool admit(Run * run, std::vector<Prefill> & prefills, std::size_t & num_pending);
    bool make_room(std::size_t num_cells, bool is_alone);
    bool attach(Run * run, bool is_alone);
    void continue_cached(Run * run);
    bool set_back_a_lane();

    // engine_prefill.cpp
    bool prefill(std::vector<Prefill> & prefills);
    bool decode_prefills(const std::vector<Prefill> & prefills, bool is_reading);
    void give_up(std::vector<Prefill> & prefills);

    // engine_loop.cpp
    bool must_stop();
    bool is_late() const;
    void decode_lanes();
    void enforce_quotas();
    void make_room_for_lanes();
    void preempt(Run * lane);
    void end_all(Run * run, StopReason reason);
    double decode(const std::vector<Run *> & rows, bool with_states);

    // engine_sampling.cpp
    void sample_lanes();
    std::vector<Group> read_lanes();
    SampleTask make_task(const Branch & branch, std::size_t row);
    void withhold(Run * run, std::vector<Branch *> & members, std::vector<Candidate> & draws);
    bool is_fork_point(const Run & run, const Branch & branch) const;
    SampleTask::Keeps wants_kept(const Run & run, const Branch & branch) const;

    // engine_tokens.cpp
    void apply(Run * run, const std::vector<Branch *> & members, const std::vector<Candidate> & draws);
    enum class Outcome { GoesOn, EndOfText, StopString, LengthReached, StepEnded };
    Outcome read_token(Branch & branch, Token token, std::int32_t position);
    void obey(Branch & branch, Outcome outcome);
    const Candidate * known_draw(Run * run, std::int32_t position, const Branch & branch) const;
    void follow(Branch & branch, Run * run);

    // engine_values.cpp
    void set_head(ValueHead head);
    void check_append(const Branch & branch, const std::vector<Token> & tokens, const std::vector<std::int32_t> & marks, bool keeps_states) const;
    void renew_lost(Branch & branch, const std::vector<std::int32_t> & marks, bool keeps_states);
    void extend(Branch & branch, const std::vector<Token> & tokens, const std::vector<std::int32_t> & marks, bool keeps_states);
    void finish_appends(Run * run);
    void end_step(Branch & branch);
    bool reads_states(Run & run, std::int32_t position) const;
    double read_row(Run * run, std::int32_t position, std::size_t row);
    void keep_value(Run * run, std::int32_t position, double value) const;
    Reading * find_reading(const Branch & branch, std::int32_t position) const;

    LlamaApi api_;
    llama_context * context_; // not owned
    EngineOptions options_;
    std::mutex mutex_;
    std::atomic<bool> is_interrupted_{false};
    bool is_open_ = true;

    Vocabulary vocabulary_;
    RowSampler sampler_;
    RowTuner tuner_;
    ValueHead head_;
    std::int32_t num_embd_;
    std::size_t max_reading_rows_; // of one decode call in which every row is an output
    bool is_embedding_ = false;    // llama.cpp's mode: hidden states are put out beside the logits
    std::optional<KvCache> cache_; // its pool outlives the leases in the tree
    std::optional<PrefixTree> tree_;
    std::unordered_map<BranchId, std::unique_ptr<Branch>> branches_;
    std::vector<std::shared_ptr<const SamplingParams>> interned_;
    std::unordered_map<std::int64_t, Account> accounts_;
    BranchId next_id_ = 0;

    std::vector<Run *> lanes_;   // rows of the next decode
    std::vector<Run *> waiting_; // runs that running branches want, not in lanes_
    std::unordered_set<const Run *> deferred_;
    std::vector<Event> events_;
    Batch batch_;
    std::vector<SampleTask> tasks_;
    Stats stats_;
    double mean_trace_tokens_ = 192; // of the traces that ended; what an unfinished one may still become
    std::uint64_t clock_ = 0; // for last_used
    Clock::time_point deadline_;
    bool has_deadline_ = false;
    const std::function<bool()> * poll_ = nullptr;
};

} // namespace arts
