// One error type for the whole core; the bindings map each code to a Python exception.
#pragma once

#include <stdexcept>
#include <string>

namespace arts {

enum class ErrorCode {
    InvalidArgument,
    BranchClosed,
    ContextOverflow,
    Decode,
    Internal,
};

class Error : public std::runtime_error {
public:
    Error(ErrorCode code, const std::string & message) : std::runtime_error(message), code_(code) {}
    ErrorCode code() const noexcept { return code_; }

private:
    ErrorCode code_;
};

[[noreturn]] inline void fail(ErrorCode code, const std::string & message) { throw Error(code, message); }

// A broken invariant of ours: a bug, reported as an exception because the host process must survive it.
inline void ensure(bool holds, const char * what) {
    if (!holds) {
        fail(ErrorCode::Internal, std::string("internal error: ") + what + " (please report this)");
    }
}

} // namespace arts
