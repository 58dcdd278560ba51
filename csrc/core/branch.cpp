#include "branch.h"

namespace arts {

const char * name_of(BranchState state) {
    switch (state) {
        case BranchState::Paused: return "paused";
        case BranchState::Running: return "running";
        case BranchState::Ended: return "ended";
    }
    return "";
}

const char * name_of(StopReason reason) {
    switch (reason) {
        case StopReason::None: return "";
        case StopReason::EndOfText: return "end_of_text";
        case StopReason::StopString: return "stop_string";
        case StopReason::MaxTokens: return "max_tokens";
        case StopReason::ContextFull: return "context_full";
        case StopReason::CacheFull: return "cache_full";
        case StopReason::BudgetTokens: return "budget_tokens";
    }
    return "";
}

const char * name_of(EventKind kind) {
    switch (kind) {
        case EventKind::StepEnded: return "step_ended";
        case EventKind::TraceEnded: return "trace_ended";
        case EventKind::Appended: return "appended";
        case EventKind::LimitReached: return "limit_reached";
        case EventKind::CachePressure: return "cache_pressure";
        case EventKind::Interrupted: return "interrupted";
    }
    return "";
}

} // namespace arts
