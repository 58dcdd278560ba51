#include "bindings.h"
#include "core/error.h"
#include "core/rng.h"
#include "core/row_sampler.h"
#include "core/step_rules.h"

namespace arts {
namespace {

SamplingParams make_sampling(float temperature, std::int32_t top_k, float top_p, float min_p, float repeat_penalty, std::int32_t repeat_last_n,
                             std::vector<std::pair<Token, float>> logit_bias) {
    SamplingParams params;
    params.temperature = temperature;
    params.top_k = top_k;
    params.top_p = top_p;
    params.min_p = min_p;
    params.repeat_penalty = repeat_penalty;
    params.repeat_last_n = repeat_last_n;
    params.logit_bias = std::move(logit_bias);
    return params;
}

py::tuple sample_row(const Array<float> & logits, const Array<Token> & history, const SamplingParams & params, std::uint64_t seed,
                     std::uint64_t stream, std::uint32_t position) {
    const std::vector<Token> tokens = to_vector(history, "history");
    const auto in_row = [&](Token token) { return token >= 0 && token < logits.size(); };
    for (const Token token : tokens) {
        if (!in_row(token)) {
            fail(ErrorCode::InvalidArgument, "history holds token " + std::to_string(token) + ", which the row does not have");
        }
    }
    for (const auto & bias : params.logit_bias) {
        if (!in_row(bias.first)) {
            fail(ErrorCode::InvalidArgument, "logit_bias names token " + std::to_string(bias.first) + ", which the row does not have");
        }
    }
    if (logits.ndim() != 1 || logits.size() == 0) {
        fail(ErrorCode::InvalidArgument, "logits must be one row with at least one element");
    }
    std::vector<SampleTask> tasks(1);
    tasks[0].logits = logits.data();
    tasks[0].params = &params;
    tasks[0].history = tokens;
    tasks[0].quantiles = {uniform(seed, stream, position)};
    RowSampler(static_cast<std::size_t>(logits.size()), 1).run(tasks);
    const Candidate & drawn = tasks[0].draws.front();
    return py::make_tuple(drawn.token, drawn.log_p_model, drawn.log_p_sampling);
}

py::array_t<float> log_probabilities(const Array<float> & logits) {
    if (logits.ndim() != 1 || logits.size() == 0) {
        fail(ErrorCode::InvalidArgument, "logits must be one row with at least one element");
    }
    SamplingParams params;
    params.temperature = 1.0f;
    params.top_p = 1.0f;
    Sampler sampler;
    std::vector<float> all(static_cast<std::size_t>(logits.size()), -std::numeric_limits<float>::infinity());
    for (const Candidate & candidate : sampler.filter(logits.data(), all.size(), params, {})) {
        all[static_cast<std::size_t>(candidate.token)] = candidate.log_p_model;
    }
    return to_array(all);
}

} // namespace

void bind_sampling(py::module_ & m) {
    py::class_<SamplingParams, std::shared_ptr<SamplingParams>>(m, "SamplingParams", py::is_final())
        .def(py::init(&make_sampling), py::kw_only(), py::arg("temperature"), py::arg("top_k"), py::arg("top_p"), py::arg("min_p"),
             py::arg("repeat_penalty"), py::arg("repeat_last_n"), py::arg("logit_bias"));
    py::class_<StepRules, std::shared_ptr<StepRules>>(m, "StepRules", py::is_final())
        .def(py::init([](std::vector<py::bytes> delimiters, std::size_t min_step_bytes, std::vector<py::bytes> stop_strings) {
                 StepRules rules;
                 rules.delimiters.assign(delimiters.begin(), delimiters.end());
                 rules.min_step_bytes = min_step_bytes;
                 rules.stop_strings.assign(stop_strings.begin(), stop_strings.end());
                 for (const auto * texts : {&rules.delimiters, &rules.stop_strings}) {
                     for (const std::string & text : *texts) {
                         if (text.empty()) {
                             fail(ErrorCode::InvalidArgument, "delimiters and stop strings need at least one byte");
                         }
                     }
                 }
                 return rules;
             }),
             py::kw_only(), py::arg("delimiters"), py::arg("min_step_bytes"), py::arg("stop_strings"));
    m.def("sample_row", &sample_row, py::arg("logits"), py::arg("history"), py::arg("params"), py::arg("seed"), py::arg("stream"), py::arg("position"));
    m.def("log_probabilities", &log_probabilities, py::arg("logits"));
}

} // namespace arts
