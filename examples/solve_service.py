"""An application around the library: a little HTTP service that streams what a search does, as lines of JSON.

    python examples/solve_service.py MODEL.gguf --port 8000
    curl -N -d "What is 6 * 7?" http://127.0.0.1:8000/solve      (hang up to cancel)
    curl -X DELETE http://127.0.0.1:8000/solve                   (cancel: the search ends with its best answer so far)

One `Solver` serves all clients: requests queue for the engine. Standard library only.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Generator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from arts_lite import ArtsError, Solver, SolverConfig
from arts_lite.search.events import Progress, StepEnded, TraceEnded
from arts_lite.solver import Solved

MAX_QUESTION_BYTES = 100_000


def lines_of(solver: Solver, question: str) -> Generator[dict[str, Any], None, None]:
    """Search a question and tell about it in plain data; the last line holds the answer, or the error.

    Closing the iterator early cancels the search.
    """
    try:
        with solver.stream(question) as events:
            for event in events:
                match event:
                    case StepEnded():
                        yield {"kind": "step", "trace": event.branch, "text": event.text}
                    case TraceEnded():
                        yield {"kind": "trace", "trace": event.branch, "answer": event.answer, "score": event.score}
                    case Progress():
                        yield {"kind": "progress", "tokens": event.num_tokens_decoded, "seconds": event.seconds}
                    case Solved():
                        yield {"kind": "solved", **event.solution.to_dict()}
    except (ArtsError, ValueError) as error:
        yield {"kind": "error", "message": str(error)}


class Handler(BaseHTTPRequestHandler):
    """POST /solve streams a search; DELETE /solve ends the one at work."""

    server: SolveService

    def do_POST(self) -> None:
        """Stream one search; a client that hangs up cancels it."""
        question = self._question()
        if question is None:
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.end_headers()
        with closing(lines_of(self.server.solver, question)) as lines:
            try:
                for line in lines:
                    self.wfile.write(json.dumps(line).encode() + b"\n")
                    self.wfile.flush()
            except ConnectionError:
                self.log_message("client hung up")

    def do_DELETE(self) -> None:
        """End the search at work with its best answer so far."""
        self.server.solver.cancel()
        self.send_response(204)
        self.end_headers()

    def _question(self) -> str | None:
        """Read the body, or refuse it."""
        length = int(self.headers.get("Content-Length") or 0)
        if self.path != "/solve" or not 0 < length <= MAX_QUESTION_BYTES:
            self.send_error(404 if self.path != "/solve" else 400, "POST a question to /solve")
            return None
        try:
            return self.rfile.read(length).decode()
        except UnicodeDecodeError:
            self.send_error(400, "the question is no UTF-8")
            return None


class SolveService(ThreadingHTTPServer):
    """Serves a solver on an address; `serve_forever` runs it, `shutdown` ends it."""

    daemon_threads = False  # server_close waits for the requests that are at work

    def __init__(self, solver: Solver, address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        super().__init__(address, Handler)
        self.solver = solver

    @property
    def url(self) -> str:
        """Where to post questions."""
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}/solve"


def main() -> None:
    """Serve until Ctrl-C."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("model", help="GGUF file")
    options.add_argument("--port", type=int, default=8000)
    options.add_argument("--n", type=int, default=16, help="traces per question")
    options.add_argument("--gpu-layers", type=int, default=0)
    chosen = options.parse_args()
    config = SolverConfig(n=chosen.n)
    with Solver.from_gguf(chosen.model, config=config, gpu_layers=chosen.gpu_layers) as solver:
        service = SolveService(solver, ("127.0.0.1", chosen.port))
        print(f"POST questions to {service.url}")
        try:
            service.serve_forever()
        except KeyboardInterrupt:
            solver.cancel()
        finally:
            service.server_close()


if __name__ == "__main__":
    main()
