// The extension's table of contents.
#include "bindings.h"

PYBIND11_MODULE(_core, m) {
    m.doc() = "KV-forking decode loop over llama.cpp. Use it through arts_lite.engine.";
    arts::bind_errors(m);
    arts::bind_backend(m);
    arts::bind_sampling(m);
    arts::bind_engine(m);
}
