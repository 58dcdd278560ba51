// Engine: from rows of logits to the next tokens of the branches.

#include "engine.h"

#include "error.h"
#include "rng.h"

#include <algorithm>

namespace arts {
namespace {

// More candidates than these (12 bytes each) are not kept; a late fork decodes its last token again instead.
constexpr std::size_t max_snapshot = 1024;

} // namespace

bool Engine::is_fork_point(const Run & run, const Branch & branch) const {
    return run.end() == branch.num_prompt || (!branch.boundaries.empty() && branch.boundaries.back() == run.end()) ||
           run.num_tips > static_cast<std::int32_t>(run.running.size());
}

bool Engine::wants_snapshot(const Run & run, const Branch & branch) const {
    const bool is_small = branch.sampling->filters() || vocabulary_.size() <= max_snapshot;
    return is_small && is_fork_point(run, branch) && run.snapshot_at(run.end(), branch.sampling.get()) == nullptr;
}

void Engine::sample_lanes() {
    const auto start = Clock::now();
    std::vector<Group> groups = read_lanes();
    sampler_.run(tasks_);
    for (std::size_t i = 0; i < groups.size(); ++i) {
        if (tasks_[i].keeps_candidates && tasks_[i].candidates.size() <= max_snapshot) {
            groups[i].run->snapshots.push_back({groups[i].run->end(), groups[i].members.front()->sampling, std::move(tasks_[i].candidates)});
        }
    }
    for (std::size_t i = 0; i < groups.size(); ++i) {
        Group & group = groups[i];
        const std::int32_t position = group.run->end();
        withhold(group.run, group.members, tasks_[i].draws);
        if (!group.members.empty()) {
            apply(group.run, group.members, tasks_[i].draws);
        }
        const auto has_ended = [](const Branch * branch) { return branch->state == BranchState::Ended; };
        if (std::any_of(group.members.begin(), group.members.end(), has_ended)) {
            keep_value(group.run, position, group.value);
        }
    }
    stats_.sample_s += seconds_since(start);
}

// Reads the values of the rows just decoded, and makes a task of each group that draws from one: tasks_, one to one.
std::vector<Engine::Group> Engine::read_lanes() {
    std::vector<Group> groups;
    tasks_.clear();
    const std::vector<Run *> rows = lanes_; // which lose those that end here
    for (std::size_t row = 0; row < rows.size(); ++row) {
        Run * lane = rows[row];
        lane->last_used = ++clock_;
        const double value = read_row(lane, lane->end(), row);
        finish_appends(lane);
        const std::size_t first = groups.size();
        for (Branch * branch : lane->running) {
            const auto group = std::find_if(groups.begin() + static_cast<std::ptrdiff_t>(first), groups.end(),
                                            [&](const Group & g) { return g.members.front()->sampling == branch->sampling; });
            const auto index = static_cast<std::size_t>(group - groups.begin());
            if (group == groups.end()) {
                groups.push_back({lane, {}, value});
                tasks_.push_back(make_task(*branch, row));
            }
            groups[index].members.push_back(branch);
            tasks_[index].quantiles.push_back(uniform(branch->seed, branch->stream, static_cast<std::uint32_t>(lane->end())));
            tasks_[index].keeps_candidates = tasks_[index].keeps_candidates || wants_snapshot(*lane, *branch);
            if (is_fork_point(*lane, *branch)) {
                keep_value(lane, lane->end(), value);
            }
        }
    }
    return groups;
}

SampleTask Engine::make_task(const Branch & branch, std::size_t row) {
    SampleTask task;
    task.logits = api_.llama_get_logits_ith(context_, static_cast<std::int32_t>(row));
    ensure(task.logits != nullptr, "every lane has a row of logits");
    task.params = branch.sampling.get();
    if (branch.sampling->needs_history()) {
        for (const Run * run : path_of(branch)) {
            task.history.insert(task.history.end(), run->tokens.begin(), run->tokens.end());
        }
    }
    return task;
}

// Takes the branches whose step has ended out: they pause before what they have just drawn.
void Engine::withhold(Run * run, std::vector<Branch *> & members, std::vector<Draw> & draws) {
    for (std::size_t i = 0; i < members.size();) {
        if (!members[i]->awaits_value) {
            ++i;
            continue;
        }
        members[i]->withheld = draws[i];
        end_step(*members[i]);
        const auto at = static_cast<std::ptrdiff_t>(i);
        members.erase(members.begin() + at);
        draws.erase(draws.begin() + at);
    }
    ensure(members.empty() || !run->running.empty(), "who goes on is still running");
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
            branch->withheld.reset();
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
        branch.awaits_value = head_.is_set(); // one decode later, which the step's last token needs in any case
        if (!branch.awaits_value) {
            end_step(branch);
        }
    }
}

} // namespace arts
