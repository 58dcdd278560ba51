#include "bindings.h"
#include "core/error.h"

namespace arts {
namespace {

const char * exception_name(ErrorCode code) {
    switch (code) {
        case ErrorCode::BranchClosed: return "BranchClosedError";
        case ErrorCode::ContextOverflow: return "ContextOverflowError";
        case ErrorCode::Decode: return "DecodeError";
        case ErrorCode::InvalidArgument:
        case ErrorCode::Internal: break;
    }
    return nullptr;
}

void translate(std::exception_ptr pointer) {
    if (!pointer) {
        return;
    }
    try {
        std::rethrow_exception(pointer);
    } catch (const Error & error) {
        if (const char * name = exception_name(error.code())) {
            const py::object type = py::module_::import("arts_lite.errors").attr(name);
            PyErr_SetString(type.ptr(), error.what());
        } else {
            PyErr_SetString(error.code() == ErrorCode::Internal ? PyExc_RuntimeError : PyExc_ValueError, error.what());
        }
    }
}

} // namespace

void bind_errors(py::module_ &) { py::register_exception_translator(&translate); }

} // namespace arts
