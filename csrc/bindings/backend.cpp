#include "bindings.h"

#include <optional>

#ifndef ARTS_LLAMA_COMMIT
#define ARTS_LLAMA_COMMIT ""
#endif

namespace arts {
namespace {

std::optional<LlamaApi> & api_slot() {
    static std::optional<LlamaApi> api;
    return api;
}

} // namespace

const LlamaApi & bound_api() {
    if (!api_slot()) {
        throw py::import_error("arts_lite._core is not bound to a libllama; import arts_lite, which does it");
    }
    return *api_slot();
}

void bind_backend(py::module_ & m) {
    m.def("required_symbols", &LlamaApi::required_symbols);
    m.def("abi", &LlamaApi::abi);
    m.def("build_commit", [] { return std::string(ARTS_LLAMA_COMMIT); });
    m.def(
        "bind", [](const std::map<std::string, std::uintptr_t> & addresses) { api_slot() = LlamaApi::from_addresses(addresses); },
        py::arg("addresses"));
}

} // namespace arts
