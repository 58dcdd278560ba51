#include "row_sampler.h"

namespace arts {
namespace {

// Waking a thread costs about as much as filtering this many logits.
constexpr std::size_t worth_waking = 100'000;

// More candidates than these (12 bytes each) are not kept.
constexpr std::size_t max_kept = 1024;

} // namespace

RowSampler::RowSampler(std::size_t num_vocab, std::size_t num_threads) : num_vocab_(num_vocab) {
    for (std::size_t i = 0; i < std::max<std::size_t>(num_threads, 1); ++i) {
        samplers_.push_back(std::make_unique<Sampler>());
    }
    for (std::size_t i = 1; i < samplers_.size(); ++i) {
        threads_.emplace_back([this, i] { work(i); });
    }
}

RowSampler::~RowSampler() {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        is_stopping_ = true;
    }
    has_work_.notify_all();
    for (std::thread & thread : threads_) {
        thread.join();
    }
}

void RowSampler::run(std::vector<SampleTask> & tasks) {
    if (threads_.empty() || tasks.size() < 2 || tasks.size() * num_vocab_ < worth_waking) {
        for (SampleTask & task : tasks) {
            sample(*samplers_[0], task);
        }
        return;
    }
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        tasks_ = &tasks;
        errors_.assign(tasks.size(), nullptr);
        next_task_ = 0;
        num_active_ = threads_.size();
        ++generation_;
    }
    has_work_.notify_all();
    take_tasks(*samplers_[0]);
    std::unique_lock<std::mutex> lock(mutex_);
    is_done_.wait(lock, [this] { return num_active_ == 0; });
    tasks_ = nullptr;
    for (const std::exception_ptr & error : errors_) {
        if (error) {
            std::rethrow_exception(error);
        }
    }
}

void RowSampler::work(std::size_t worker) {
    std::size_t seen = 0;
    while (true) {
        {
            std::unique_lock<std::mutex> lock(mutex_);
            has_work_.wait(lock, [&] { return is_stopping_ || generation_ != seen; });
            if (is_stopping_) {
                return;
            }
            seen = generation_;
        }
        take_tasks(*samplers_[worker]);
        const std::lock_guard<std::mutex> lock(mutex_);
        if (--num_active_ == 0) {
            is_done_.notify_one();
        }
    }
}

void RowSampler::take_tasks(Sampler & sampler) {
    while (true) {
        std::size_t i;
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            if (next_task_ >= tasks_->size()) {
                return;
            }
            i = next_task_++;
        }
        try {
            sample(sampler, (*tasks_)[i]);
        } catch (...) {
            const std::lock_guard<std::mutex> lock(mutex_);
            errors_[i] = std::current_exception();
        }
    }
}

void RowSampler::sample(Sampler & sampler, SampleTask & task) const {
    task.draws.clear();
    if (task.keeps == SampleTask::Keeps::Nothing && !task.params->filters() && !task.params->adjusts_logits()) {
        for (const double u : task.quantiles) {
            task.draws.push_back(sampler.draw_unfiltered(task.logits, num_vocab_, task.params->temperature, u));
        }
        return;
    }
    const Candidates & candidates = sampler.filter(task.logits, num_vocab_, *task.params, task.history);
    for (const double u : task.quantiles) {
        task.draws.push_back(draw(candidates, u));
    }
    if (task.keeps == SampleTask::Keeps::All && candidates.size() <= max_kept) {
        task.kept = KeptCandidates::all(candidates);
    } else if (task.keeps != SampleTask::Keeps::Nothing) {
        task.kept = KeptCandidates::likeliest(candidates);
    }
}

} // namespace arts
