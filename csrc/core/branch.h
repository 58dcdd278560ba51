// One branch: a prompt and what was generated after it. Its tokens lie in the prefix tree.
#pragma once

#include "prefix_tree.h"
#include "row_sampler.h"
#include "step_rules.h"

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace arts {

using BranchId = std::int64_t;

enum class BranchState { Paused, Running, Ended };

enum class StopReason { None, EndOfText, StopString, MaxTokens, ContextFull, CacheFull, BudgetTokens };

enum class EventKind { StepEnded, TraceEnded, Appended, LimitReached, CachePressure, Interrupted };

struct Event {
    EventKind kind;
    BranchId branch = -1;
    std::int32_t position = 0;
    StopReason reason = StopReason::None;
};

// The names that Python uses (arts_lite.types).
const char * name_of(BranchState state);
const char * name_of(StopReason reason);
const char * name_of(EventKind kind);

struct Branch {
    BranchId id = -1;
    Run * tip = nullptr;
    std::int32_t num_prompt = 0;
    std::int32_t max_length = 0; // prompt + max_tokens, or the context, whichever is shorter
    bool is_bound_by_context = false;
    std::shared_ptr<const SamplingParams> sampling;
    std::shared_ptr<const StepRules> rules;
    std::uint64_t seed = 0;
    std::uint64_t stream = 0;
    std::int64_t owner = 0;
    BranchId since = -1; // the branch with which its owner began: whoever began first goes first

    BranchState state = BranchState::Paused;
    bool pauses_on_step = false;
    bool is_appending = false;    // runs only until all that it holds is decoded
    bool awaits_value = false;    // a step has ended; its event waits for the value of the step's last token
    std::optional<Candidate> withheld; // the next token, drawn from the row that this value was read off
    StopReason reason = StopReason::None;
    StepReader reader;
    std::size_t text_end = std::numeric_limits<std::size_t>::max(); // bytes of text before the stop string
    std::vector<std::int32_t> boundaries;
    std::map<std::int32_t, std::uint32_t> num_forks_at; // numbers the children of a position: their streams differ

    std::int32_t length() const { return tip->end(); }
};

// The first branch that wants the next token of a run; there is one.
inline BranchId first_id(const Run & run) { return run.running.front()->id; }

// Who goes first: the branches of one owner together, the owner who began first before the others; then by age.
inline std::pair<BranchId, BranchId> order_of(const Run & run) { return {run.running.front()->since, first_id(run)}; }

// The first of those branches that wants to draw from its row; null if all only have it decoded.
inline Branch * first_generating(const Run & run) {
    for (Branch * branch : run.running) {
        if (!branch->is_appending) {
            return branch;
        }
    }
    return nullptr;
}

} // namespace arts
