#include "bindings.h"
#include "core/engine.h"
#include "core/error.h"

#include <chrono>

namespace arts {
namespace {

using Unlocked = py::call_guard<py::gil_scoped_release>;

std::unique_ptr<Engine> make_engine(std::uintptr_t context, std::int32_t max_trace_tokens, std::int32_t max_rows, std::int32_t first_rows,
                                    std::int32_t max_prefill_rows, std::int32_t num_threads, std::int32_t num_sequences, bool tunes_rows,
                                    bool pins_cells, bool is_reproducible) {
    if (context == 0) {
        fail(ErrorCode::InvalidArgument, "the context is NULL; creating it failed");
    }
    if (num_threads < 1) {
        fail(ErrorCode::InvalidArgument, "num_threads is " + std::to_string(num_threads) + ", but must be >= 1");
    }
    EngineOptions options;
    options.max_trace_tokens = max_trace_tokens;
    options.max_rows = max_rows;
    options.first_rows = first_rows;
    options.max_prefill_rows = max_prefill_rows;
    options.num_threads = num_threads;
    options.num_sequences = num_sequences;
    options.tunes_rows = tunes_rows;
    options.pins_cells = pins_cells;
    options.is_reproducible = is_reproducible;
    return std::make_unique<Engine>(bound_api(), reinterpret_cast<llama_context *>(context), std::move(options));
}

// Lets Python handle signals while the loop runs, at most every 20 ms: taking the GIL is not free.
class SignalPoll {
public:
    bool operator()() {
        const auto now = std::chrono::steady_clock::now();
        if (is_raised_ || now < next_) {
            return is_raised_;
        }
        next_ = now + std::chrono::milliseconds(20);
        const py::gil_scoped_acquire gil;
        is_raised_ = PyErr_CheckSignals() != 0;
        if (is_raised_) {
            PyErr_Fetch(&type_, &value_, &traceback_);
        }
        return is_raised_;
    }
    void raise_if_any() {
        if (is_raised_) {
            PyErr_Restore(type_, value_, traceback_);
            throw py::error_already_set();
        }
    }

private:
    std::chrono::steady_clock::time_point next_ = std::chrono::steady_clock::now();
    bool is_raised_ = false;
    PyObject *type_ = nullptr, *value_ = nullptr, *traceback_ = nullptr;
};

std::vector<Event> advance(Engine & engine, double max_seconds) {
    SignalPoll poll;
    std::vector<Event> events;
    {
        const py::gil_scoped_release unlocked;
        events = engine.advance(max_seconds, [&poll] { return poll(); });
    }
    poll.raise_if_any();
    return events;
}

BranchId open(Engine & engine, const Array<Token> & tokens, std::shared_ptr<SamplingParams> sampling, std::shared_ptr<StepRules> rules,
              std::uint64_t seed, std::uint64_t stream, std::int32_t max_tokens, std::int64_t owner) {
    const std::vector<Token> prompt = to_vector(tokens, "tokens");
    const py::gil_scoped_release unlocked;
    return engine.open(prompt, std::move(sampling), std::move(rules), seed, stream, max_tokens, owner);
}

void append(Engine & engine, BranchId branch, const Array<Token> & tokens, const Array<std::int32_t> & marks, bool keep_states) {
    const std::vector<Token> given = to_vector(tokens, "tokens");
    const std::vector<std::int32_t> positions = to_vector(marks, "marks");
    const py::gil_scoped_release unlocked;
    engine.append(branch, given, positions, keep_states);
}

py::array_t<double> values(Engine & engine, BranchId branch, const Array<std::int32_t> & positions) {
    const std::vector<std::int32_t> wanted = to_vector(positions, "positions");
    std::vector<double> values;
    {
        const py::gil_scoped_release unlocked;
        values = engine.values(branch, wanted);
    }
    return to_array(values);
}

py::array_t<float> hidden_states(Engine & engine, BranchId branch, const Array<std::int32_t> & positions) {
    const std::vector<std::int32_t> wanted = to_vector(positions, "positions");
    std::vector<float> rows;
    {
        const py::gil_scoped_release unlocked;
        rows = engine.hidden_states(branch, wanted);
    }
    return to_array(rows).reshape({static_cast<py::ssize_t>(wanted.size()), static_cast<py::ssize_t>(engine.num_embd())});
}

void bind_values(py::class_<Engine> & engine) {
    engine
        .def_property_readonly("num_embd", &Engine::num_embd)
        .def("set_linear_head",
             [](Engine & e, const Array<float> & weight, float bias) {
                 std::vector<float> elements = to_vector(weight, "weight");
                 const py::gil_scoped_release unlocked;
                 e.set_linear_head(std::move(elements), bias);
             },
             py::arg("weight"), py::arg("bias"))
        .def("set_token_head", &Engine::set_token_head, Unlocked(), py::arg("token"), py::arg("bias"))
        .def("remove_head", &Engine::remove_head, Unlocked())
        .def("append", &append, py::arg("branch"), py::arg("tokens"), py::arg("marks"), py::arg("keep_states"))
        .def("values", &values, py::arg("branch"), py::arg("positions"))
        .def("step_values",
             [](Engine & e, BranchId branch) {
                 std::vector<double> values;
                 {
                     const py::gil_scoped_release unlocked;
                     values = e.step_values(branch);
                 }
                 return to_array(values);
             },
             py::arg("branch"))
        .def("hidden_states", &hidden_states, py::arg("branch"), py::arg("positions"));
}

void bind_stats(py::module_ & m) {
    py::class_<Stats>(m, "Stats", py::is_final())
        .def_readonly("num_tokens_decoded", &Stats::num_tokens_decoded)
        .def_readonly("num_tokens_prefilled", &Stats::num_tokens_prefilled)
        .def_readonly("num_tokens_redecoded", &Stats::num_tokens_redecoded)
        .def_readonly("num_tokens_shared", &Stats::num_tokens_shared)
        .def_readonly("num_rows_padding", &Stats::num_rows_padding)
        .def_readonly("num_decode_calls", &Stats::num_decode_calls)
        .def_readonly("num_forks", &Stats::num_forks)
        .def_readonly("num_parked", &Stats::num_parked)
        .def_readonly("decode_s", &Stats::decode_s)
        .def_readonly("sample_s", &Stats::sample_s)
        .def_readonly("advance_s", &Stats::advance_s)
        .def_readonly("num_cells_used", &Stats::num_cells_used)
        .def_readonly("num_cells_high_water", &Stats::num_cells_high_water)
        .def_readonly("num_cells_capacity", &Stats::num_cells_capacity)
        .def_readonly("num_sequences_used", &Stats::num_sequences_used)
        .def_readonly("num_sequences", &Stats::num_sequences)
        .def_readonly("num_branches", &Stats::num_branches)
        .def_readonly("num_rows_target", &Stats::num_rows_target)
        .def_readonly("num_rows_max", &Stats::num_rows_max);
}

} // namespace

void bind_engine(py::module_ & m) {
    py::class_<Event>(m, "Event", py::is_final())
        .def_property_readonly("kind", [](const Event & e) { return std::string(name_of(e.kind)); })
        .def_readonly("branch", &Event::branch)
        .def_readonly("position", &Event::position)
        .def_property_readonly("reason", [](const Event & e) { return std::string(name_of(e.reason)); });
    bind_stats(m);
    py::class_<Engine> engine(m, "Engine", py::is_final());
    bind_values(engine);
    engine.def(py::init(&make_engine), py::arg("context"), py::kw_only(), py::arg("max_trace_tokens"), py::arg("max_rows"),
             py::arg("first_rows") = 16, py::arg("max_prefill_rows"), py::arg("num_threads"), py::arg("num_sequences") = 256,
             py::arg("tunes_rows") = true, py::arg("pins_cells") = false, py::arg("is_reproducible") = false)
        .def("open", &open, py::arg("tokens"), py::arg("sampling"), py::arg("rules"), py::arg("seed"), py::arg("stream"),
             py::arg("max_tokens"), py::arg("owner"))
        .def("fork", &Engine::fork, Unlocked(), py::arg("branch"), py::arg("position"))
        .def("truncate", &Engine::truncate, Unlocked(), py::arg("branch"), py::arg("position"))
        .def("run", &Engine::run, Unlocked(), py::arg("branch"), py::arg("pause_on_step"))
        .def("pause", &Engine::pause, Unlocked(), py::arg("branch"))
        .def("park", &Engine::park, Unlocked(), py::arg("branch"))
        .def("close", &Engine::close, Unlocked(), py::arg("branch"))
        .def("advance", &advance, py::arg("max_seconds"))
        .def("interrupt", &Engine::interrupt)
        .def("set_quota", &Engine::set_quota, Unlocked(), py::arg("owner"), py::arg("max_tokens"))
        .def("quota_spent", &Engine::quota_spent, Unlocked(), py::arg("owner"))
        .def("forget_owner", &Engine::forget_owner, Unlocked(), py::arg("owner"))
        .def("tokens",
             [](Engine & engine, BranchId branch) {
                 std::vector<Token> tokens;
                 {
                     const py::gil_scoped_release unlocked;
                     tokens = engine.tokens(branch);
                 }
                 return to_array(tokens);
             },
             py::arg("branch"))
        .def("num_tokens", &Engine::num_tokens, Unlocked(), py::arg("branch"))
        .def("num_prompt_tokens", &Engine::num_prompt_tokens, Unlocked(), py::arg("branch"))
        .def("num_cached", &Engine::num_cached, Unlocked(), py::arg("branch"))
        .def("log_probs",
             [](Engine & engine, BranchId branch) {
                 std::vector<float> model, sampling;
                 {
                     const py::gil_scoped_release unlocked;
                     engine.log_probs(branch, model, sampling);
                 }
                 return py::make_tuple(to_array(model), to_array(sampling));
             },
             py::arg("branch"))
        .def("expected_log_probs",
             [](Engine & engine, BranchId branch) {
                 std::vector<float> means;
                 {
                     const py::gil_scoped_release unlocked;
                     means = engine.expected_log_probs(branch);
                 }
                 return to_array(means);
             },
             py::arg("branch"))
        .def("boundaries", &Engine::boundaries, Unlocked(), py::arg("branch"))
        .def("text",
             [](Engine & engine, BranchId branch, std::int32_t start, std::int32_t end) {
                 std::string text;
                 {
                     const py::gil_scoped_release unlocked;
                     text = engine.text(branch, start, end);
                 }
                 return py::bytes(text);
             },
             py::arg("branch"), py::arg("start"), py::arg("end"))
        .def("state",
             [](Engine & engine, BranchId branch) {
                 const py::gil_scoped_release unlocked;
                 return std::string(name_of(engine.state(branch)));
             },
             py::arg("branch"))
        .def("stats", &Engine::stats, Unlocked())
        .def("check", &Engine::check, Unlocked())
        .def("shutdown", &Engine::shutdown, Unlocked());
}

} // namespace arts
