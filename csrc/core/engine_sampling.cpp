// Engine: from rows of logits to the next tokens of the branches.

#include "engine.h"

#include "error.h"
#include "rng.h"

#include <algorithm>
#include <utility>

namespace arts {

bool Engine::is_fork_point(const Run & run, const Branch & branch) const {
    return run.end() == branch.num_prompt || (!branch.boundaries.empty() && branch.boundaries.back() == run.end()) ||
           run.num_tips > static_cast<std::int32_t>(run.running.size());
}

// What to keep of a row for those who draw from it later. A long list of candidates is not worth making for that.
SampleTask::Keeps Engine::wants_kept(const Run & run, const Branch & branch) const {
    const bool is_listed = branch.sampling->filters() || vocabulary_.size() <= 1024;
    const Snapshot * known = is_listed ? run.snapshot_at(run.end(), branch.sampling.get()) : nullptr;
    if (!is_listed || (known != nullptr && known->candidates.is_whole())) {
        return SampleTask::Keeps::Nothing;
    }
    return is_fork_point(run, branch) ? SampleTask::Keeps::All : known != nullptr ? SampleTask::Keeps::Nothing : SampleTask::Keeps::Likeliest;
}

void Engine::sample_lanes() {
    const auto start = Clock::now();
    std::vector<Group> groups = read_lanes();
    try {
        sampler_.run(tasks_);
    } catch (...) { // the rows are lost: decoded again, unless who cannot be drawn for is closed before
        for (Run * lane : std::exchange(lanes_, {})) {
            lane->is_busy = false;
            enqueue(lane);
        }
        throw;
    }
    for (std::size_t i = 0; i < groups.size(); ++i) {
        if (!tasks_[i].kept.is_empty()) {
            groups[i].run->keep({groups[i].run->end(), groups[i].members.front()->sampling, std::move(tasks_[i].kept)});
        }
    }
    for (std::size_t i = 0; i < groups.size(); ++i) {
        Group & group = groups[i];
        withhold(group.run, group.members, tasks_[i].draws);
        if (!group.members.empty()) {
            apply(group.run, group.members, tasks_[i].draws);
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
                groups.push_back({lane, {}});
                tasks_.push_back(make_task(*branch, row));
            }
            groups[index].members.push_back(branch);
            tasks_[index].quantiles.push_back(uniform(branch->seed, branch->stream, static_cast<std::uint32_t>(lane->end())));
            tasks_[index].keeps = std::max(tasks_[index].keeps, wants_kept(*lane, *branch));
            keep_value(lane, lane->end(), value); // whoever follows later may stop here
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
void Engine::withhold(Run * run, std::vector<Branch *> & members, std::vector<Candidate> & draws) {
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

} // namespace arts
