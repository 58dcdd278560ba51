// Samples many rows at once, on several threads where the work is worth waking them.
#pragma once

#include "sampling.h"

#include <condition_variable>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace arts {

// One row under one set of parameters: filtered once, drawn from once per quantile.
struct SampleTask {
    const float * logits = nullptr;
    const SamplingParams * params = nullptr;
    std::vector<Token> history;
    std::vector<double> quantiles;
    enum class Keeps { Nothing, Likeliest, All } keeps = Keeps::Nothing;

    std::vector<Candidate> draws; // out: one per quantile
    KeptCandidates kept;          // out
};

class RowSampler {
public:
    // num_threads >= 1; the calling thread is one of them.
    RowSampler(std::size_t num_vocab, std::size_t num_threads);
    ~RowSampler();
    RowSampler(const RowSampler &) = delete;
    RowSampler & operator=(const RowSampler &) = delete;

    // Throws what a task threw (the first, by task order).
    void run(std::vector<SampleTask> & tasks);

private:
    void work(std::size_t worker);
    void take_tasks(Sampler & sampler);
    void sample(Sampler & sampler, SampleTask & task) const;

    std::size_t num_vocab_;
    std::vector<std::unique_ptr<Sampler>> samplers_;
    std::vector<std::thread> threads_;

    std::mutex mutex_;
    std::condition_variable has_work_, is_done_;
    std::vector<SampleTask> * tasks_ = nullptr;
    std::vector<std::exception_ptr> errors_;
    std::size_t next_task_ = 0;
    std::size_t num_active_ = 0;
    std::size_t generation_ = 0;
    bool is_stopping_ = false;
};

} // namespace arts
