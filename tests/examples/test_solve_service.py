"""The example application, on a tiny model."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from solve_service import SolveService
from tiny_gguf import TinyModel, write_tiny_gguf

from arts_lite import Solver, SolverConfig


def serving(model: Path, **settings: Any) -> Iterator[SolveService]:
    with Solver.from_gguf(model, config=SolverConfig(**settings), threads=1, ctx_size=2048) as solver:
        service = SolveService(solver)
        thread = threading.Thread(target=service.serve_forever)
        thread.start()
        yield service
        service.shutdown()
        thread.join()
        service.server_close()


@pytest.fixture(scope="module")
def service(tiny_model_path: Path) -> Iterator[SolveService]:
    yield from serving(tiny_model_path, n=3, max_tokens=20)


@pytest.fixture
def endless_service(tmp_path: Path) -> Iterator[SolveService]:
    """Its model never ends a trace by itself."""
    bias = dict.fromkeys(range(256, 288), -30.0)
    model = write_tiny_gguf(tmp_path / "endless.gguf", TinyModel(bias=bias, ctx_train=1 << 20))
    yield from serving(model, n=2, max_tokens=1_000_000)


def connect(service: SolveService) -> http.client.HTTPConnection:
    host, port = service.server_address[:2]
    return http.client.HTTPConnection(str(host), port, timeout=60)


def post(service: SolveService, question: bytes) -> tuple[int, list[dict[str, Any]]]:
    connection = connect(service)
    connection.request("POST", "/solve", question)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, [json.loads(line) for line in body.splitlines()] if response.status == 200 else []


def test_a_search_is_streamed_and_ends_with_its_solution(service: SolveService) -> None:
    status, lines = post(service, b"What is 3 + 4?")
    assert status == 200
    assert [line["kind"] for line in lines].count("trace") == 3
    assert lines[-1]["kind"] == "solved"
    assert lines[-1]["question"] == "What is 3 + 4?"


def test_clients_at_the_same_time_are_served_one_after_another(service: SolveService) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda index: post(service, f"Question {index}".encode()), range(4)))
    assert [lines[-1]["question"] for _, lines in answers] == [f"Question {index}" for index in range(4)]


def test_a_question_that_cannot_be_asked_is_an_error_line(service: SolveService) -> None:
    for question, message in ((b"   ", "blank"), (b"x" * 5000, "shorten")):
        _, lines = post(service, question)
        assert lines[-1]["kind"] == "error"
        assert message in lines[-1]["message"]


def test_a_request_that_is_none_is_refused(service: SolveService) -> None:
    assert post(service, b"")[0] == 400
    assert post(service, b"\xff\xfe")[0] == 400


def test_a_cancelled_search_ends_with_what_it_has(endless_service: SolveService) -> None:
    connection = connect(endless_service)
    connection.request("POST", "/solve", b"Count to infinity.")
    response = connection.getresponse()
    assert json.loads(response.readline())["kind"] in ("progress", "step")
    other = connect(endless_service)
    other.request("DELETE", "/solve")
    assert other.getresponse().status == 204
    other.close()
    assert json.loads(response.read().splitlines()[-1])["stopped_by"] == "interrupted"
    connection.close()


def test_hanging_up_cancels_the_search(endless_service: SolveService) -> None:
    connection = connect(endless_service)
    connection.request("POST", "/solve", b"Count to infinity.")
    response = connection.getresponse()
    response.readline()
    response.close()
    connection.close()
    engine = endless_service.solver.proposer.engine
    endless_service.server_close()  # waits for the request's thread
    assert engine.stats().num_branches == 0  # type: ignore[attr-defined]
