// pybind11 is known in this folder only: convert, release the GIL, call, map errors; no logic.
#pragma once

#include "core/llama_api.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>
#include <vector>

namespace arts {

namespace py = pybind11;

void bind_errors(py::module_ & m);
void bind_backend(py::module_ & m);
void bind_sampling(py::module_ & m);
void bind_engine(py::module_ & m);

// The functions given to bind(); throws if it has not been called.
const LlamaApi & bound_api();

template <typename T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;

template <typename T>
std::vector<T> to_vector(const Array<T> & array, const char * name) {
    if (array.ndim() != 1) {
        throw py::value_error(std::string(name) + " has " + std::to_string(array.ndim()) + " dimensions, but must have 1");
    }
    return std::vector<T>(array.data(), array.data() + array.size());
}

template <typename T>
py::array_t<T> to_array(const std::vector<T> & values) {
    py::array_t<T> array(static_cast<py::ssize_t>(values.size()));
    if (!values.empty()) {
        std::memcpy(array.mutable_data(), values.data(), values.size() * sizeof(T));
    }
    return array;
}

} // namespace arts
