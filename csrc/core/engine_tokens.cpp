// Engine: what happens to the branches that have drawn a token.

#include "engine.h"

#include "rng.h"

#include <algorithm>

namespace arts {

// Appends what each member drew. Members that drew the same stay together; if all that end at this run did, the run
// itself grows. Otherwise each outcome is a child run: one that is there already, if an earlier branch drew the same.
void Engine::apply(Run * run, const std::vector<Branch *> & members, const std::vector<Candidate> & draws) {
    struct Group {
        Candidate drawn;
        const SamplingParams * sampling;
        std::vector<Branch *> members;
    };
    std::vector<Group> groups;
    for (std::size_t i = 0; i < members.size(); ++i) {
        const SamplingParams * sampling = members[i]->sampling.get();
        const auto found = std::find_if(groups.begin(), groups.end(), [&](const Group & g) { return g.drawn.token == draws[i].token && g.sampling == sampling; });
        if (found == groups.end()) {
            groups.push_back({draws[i], sampling, {members[i]}});
        } else {
            found->members.push_back(members[i]);
        }
    }
    const bool grows = groups.size() == 1 && run->children.empty() && run->num_tips == static_cast<std::int32_t>(members.size());
    for (const Group & group : groups) {
        for (Branch * branch : group.members) {
            branch->withheld.reset();
            if (!grows) {
                run->running.erase(std::find(run->running.begin(), run->running.end(), branch));
            }
        }
        if (!grows && run->child_of(group.drawn) != nullptr) {
            for (Branch * branch : group.members) {
                follow(*branch, run->child_of(group.drawn)); // which may be split each time
            }
            continue;
        }
        Run * target = grows ? run : tree_->add_child(run);
        target->push(group.drawn);
        if (!grows) {
            for (Branch * branch : group.members) {
                set_tip(*branch, target);
            }
            target->running = group.members;
            enqueue(target);
        }
        for (Branch * branch : group.members) {
            obey(*branch, read_token(*branch, group.drawn.token, target->end()));
        }
    }
    if (!grows && run->running.empty()) {
        leave_loop(run);
    }
}

// Takes a branch, which has just drawn the first token of `run`, along the tokens that others drew before, as far as it
// draws the same ones: from what was kept of their rows, without decoding anything. It parts from them where it draws
// another one, and joins them where nothing is known.
void Engine::follow(Branch & branch, Run * run) {
    std::int32_t position = run->start;
    Outcome outcome = Outcome::GoesOn;
    const Candidate * drawn = nullptr;
    while (true) {
        outcome = read_token(branch, run->tokens[static_cast<std::size_t>(position - run->start)], position + 1);
        ++position;
        ++stats_.num_tokens_shared;
        drawn = outcome == Outcome::GoesOn ? known_draw(run, position, branch) : nullptr;
        if (drawn == nullptr) {
            break;
        }
        if (position == run->end()) {
            Run * below = run->child_of(*drawn);
            if (below == nullptr) {
                break;
            }
            run = below;
        } else if (!run->holds(position, *drawn)) {
            break;
        }
    }
    const std::optional<Candidate> next = drawn == nullptr ? std::nullopt : std::optional<Candidate>(*drawn); // a split moves it
    if (position < run->end()) {
        run = split(run, position);
    }
    set_tip(branch, run);
    join(branch);
    if (outcome != Outcome::GoesOn) {
        obey(branch, outcome);
    } else if (next) {
        apply(run, {&branch}, {*next});
    }
}

const Candidate * Engine::known_draw(Run * run, std::int32_t position, const Branch & branch) const {
    const Snapshot * snapshot = run->snapshot_at(position, branch.sampling.get());
    return snapshot == nullptr ? nullptr : snapshot->candidates.draw(uniform(branch.seed, branch.stream, static_cast<std::uint32_t>(position)));
}

// Takes note of a token that ends at `position`, and says what follows from it.
Engine::Outcome Engine::read_token(Branch & branch, Token token, std::int32_t position) {
    if (vocabulary_.is_end_of_generation(token)) {
        return Outcome::EndOfText;
    }
    const TextOutcome text = branch.reader.feed(vocabulary_.piece(token), *branch.rules);
    if (text == TextOutcome::Stop) {
        branch.text_end = branch.reader.stop_begin();
        return Outcome::StopString;
    }
    if (text == TextOutcome::Boundary) {
        branch.boundaries.push_back(position);
    }
    if (position >= branch.max_length) {
        return Outcome::LengthReached;
    }
    return text == TextOutcome::Boundary && branch.pauses_on_step ? Outcome::StepEnded : Outcome::GoesOn;
}

// Ends or pauses a branch that stands where the outcome was read.
void Engine::obey(Branch & branch, Outcome outcome) {
    switch (outcome) {
    case Outcome::GoesOn: return;
    case Outcome::EndOfText: return end(branch, StopReason::EndOfText);
    case Outcome::StopString: return end(branch, StopReason::StopString);
    case Outcome::LengthReached: return end(branch, branch.is_bound_by_context ? StopReason::ContextFull : StopReason::MaxTokens);
    case Outcome::StepEnded:
        // One decode later, which the step's last token needs in any case, unless it was read when another branch drew it.
        branch.awaits_value = head_.is_set() && !branch.tip->has_read(branch.length(), false);
        if (!branch.awaits_value) {
            end_step(branch);
        }
        return;
    }
}

} // namespace arts
