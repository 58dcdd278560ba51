"""End to end, with real ragged traces: the solver against what people would use instead, on the same GGUF.

* `one`: one question, n traces, against llama-cpp-python's high-level API called n times.
* `many`: solve_many over several questions, against the same.
* `sdf`: a Sparse Deep Fork tree, against a client of that API which sends the text again for every step, as a search
  over an ordinary completion server does.
* with --llama-server BINARY: `one` and `many` against its n_cmpl.

Figures are tokens of finished traces per second of wall time, prompts included (what two traces share is counted for
both in `one` and `many`, where the baselines decode it for both, and once in `sdf`). A baseline that draws independent
traces may be measured on fewer of them (--baseline-traces), since its rate does not depend on their number.
"""

from __future__ import annotations

import json
import random
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import llama_cpp
from harness import PROMPT, parser, report, settings

from arts_lite.solver import Solution, Solver, SolverConfig

QUESTIONS = [
    PROMPT,
    "A robe takes 2 bolts of blue fiber and half that much white fiber. How many bolts in total does it take?",
    "A farmer has 12 rows of 15 apple trees. A storm fells a third. Each one left gives 40 apples. How many in all?",
    "Tickets cost $8 for adults and $5 for children. A group of 14 people paid $91. How many children were in it?",
    "A train leaves at 9:40, arrives at 13:05 and stops for 8 minutes at each of 5 stations. How long does it move?",
    "A shop marks a $120 coat down by 25 % and takes another 10 % off at the till. What does the coat cost in the end?",
    "Mia reads 18 pages on Monday and each day 4 more than the day before. How many pages has she read by Friday?",
    "A tank holds 240 litres. One pump fills it in 4 hours, a leak empties it in 12. How many hours until it is full?",
]


class Bench:
    """One model under every client; the numbers of one run belong together."""

    def __init__(self, options: Any) -> None:
        self.options = options
        self.config = SolverConfig(n=options.n, max_tokens=options.max_tokens, early_stop=False)
        self.rows: list[dict[str, Any]] = []

    def solver(self) -> Solver:
        """Load a fresh solver."""
        chosen = self.options
        return Solver.from_gguf(
            chosen.model,
            config=self.config,
            threads=chosen.threads,
            gpu_layers=chosen.gpu_layers,
            num_traces=2 * chosen.n,
        )

    def ours(self) -> dict[str, float]:
        """Our rates, by case."""
        tree = SolverConfig(strategy="sdf", n=self.options.n, max_tokens=self.options.max_tokens)
        searches: dict[str, Callable[[Solver], list[Solution]]] = {
            "one": lambda solver: [solver.solve(QUESTIONS[0])],
            "many": lambda solver: list(solver.solve_many(self.many)),
            "sdf": lambda solver: [solver.solve(QUESTIONS[0], tree)],
        }
        rates = {}
        for case in self.options.cases:
            with self.solver() as solver:
                self.prompts = {question: solver.proposer.encode_prompt(question) for question in QUESTIONS}
                rates[case] = self._rate(lambda search=searches[case], solver=solver: search(solver))
        return rates

    @property
    def many(self) -> list[str]:
        """Questions of the case `many`."""
        return QUESTIONS[: self.options.questions]

    def _rate(self, search: Any) -> float:
        start = time.perf_counter()
        solutions = search()
        seconds = time.perf_counter() - start
        return sum(self._own_tokens(solution) for solution in solutions) / seconds

    def _own_tokens(self, solution: Solution) -> int:
        """Tokens that were generated, those that a fork shares with its parent counted once."""
        num_prompt = len(self.prompts[solution.question])
        shared = sum(trace.fork_position - num_prompt for trace in solution.traces if trace.fork_position is not None)
        return sum(trace.num_tokens for trace in solution.traces) - shared

    def high_level(self) -> dict[str, float]:
        """llama-cpp-python's Llama, one completion after another."""
        chosen = self.options
        llm = llama_cpp.Llama(
            str(chosen.model), n_ctx=4096, n_gpu_layers=chosen.gpu_layers, n_threads=self.threads,
            n_threads_batch=self.threads, verbose=False, seed=1,
        )  # fmt: skip
        rates = {}
        for case, questions in {"one": QUESTIONS[:1], "many": self.many}.items():
            if case not in chosen.cases:
                continue
            num_tokens, start = 0, time.perf_counter()
            for question in questions:
                for _ in range(max(1, chosen.baseline_traces // len(questions))):
                    num_tokens += self._complete(llm, self.prompts[question], chosen.max_tokens)
            rates[case] = num_tokens / (time.perf_counter() - start)
        if "sdf" in chosen.cases:
            rates["sdf"] = self._resend(llm)
        llm.close()
        return rates

    def _complete(self, llm: llama_cpp.Llama, prompt: list[int], max_tokens: int) -> int:
        answer = llm.create_completion(prompt, max_tokens=max_tokens, temperature=0.6, top_p=0.95, top_k=0, min_p=0.0)
        return int(answer["usage"]["completion_tokens"])  # type: ignore[index]

    def _resend(self, llm: llama_cpp.Llama) -> float:
        """A step-by-step client: each request is the whole text so far, and asks for one step."""
        coin = random.Random(1)
        prompt = self.prompts[QUESTIONS[0]]
        num_tokens, start = 0, time.perf_counter()
        for _ in range(max(1, self.options.baseline_traces // 4)):
            waiting = [(list[int](), True)]
            while waiting:
                tokens, is_main = waiting.pop()
                while len(tokens) < self.options.max_tokens:
                    step, is_end = self._step(llm, prompt + tokens)
                    num_tokens += len(step)
                    tokens = tokens + step
                    if is_end or not step:
                        break
                    if is_main and coin.random() < 0.5:
                        waiting.append((tokens, False))
        return num_tokens / (time.perf_counter() - start)

    def _step(self, llm: llama_cpp.Llama, tokens: list[int]) -> tuple[list[int], bool]:
        step: list[int] = []
        text = b""
        for token in llm.generate(tokens, temp=0.6, top_p=0.95, top_k=0, min_p=0.0):
            if token == llm.token_eos():
                return step, True
            step.append(token)
            text += llm.detokenize([token])
            if b"\n\n" in text.lstrip() or len(step) >= self.options.max_tokens:
                return step, False
        return step, True

    @property
    def threads(self) -> int:
        """CPU threads of every client."""
        return int(self.options.threads or 2)


@contextmanager
def llama_server(binary: Path, options: Any, threads: int) -> Iterator[str]:
    """Run a llama-server on the loopback interface; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    slots = options.n
    command = [
        *(str(binary), "-m", str(options.model), "--host", "127.0.0.1", "--port", str(port), "-np", str(slots)),
        *("-t", str(threads), "-c", str(slots * 1024), "--kv-unified", "-ngl", str(options.gpu_layers), "--no-webui"),
    ]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(address + "/health", timeout=1).read()
                break
            except OSError:
                time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait()


def server_rate(address: str, bench: Bench, questions: list[str]) -> float:
    """Tokens per second of n_cmpl requests, one question after another."""
    num_tokens, start = 0, time.perf_counter()
    for question in questions:
        body = {
            "prompt": bench.prompts[question],
            "n_cmpl": bench.options.n,
            "n_predict": bench.options.max_tokens,
            "temperature": 0.6,
            "top_p": 0.95,
            "top_k": 0,
            "min_p": 0.0,
            "samplers": ["temperature", "top_p"],
        }
        request = urllib.request.Request(address + "/completion", json.dumps(body).encode())
        answers = json.loads(urllib.request.urlopen(request, timeout=3600).read())
        num_tokens += sum(
            answer["tokens_predicted"] for answer in (answers if isinstance(answers, list) else [answers])
        )
    return num_tokens / (time.perf_counter() - start)


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--n", type=int, default=16)
    options.add_argument("--questions", type=int, default=8)
    options.add_argument("--max-tokens", type=int, default=300)
    options.add_argument("--baseline-traces", type=int, default=16)
    options.add_argument("--server-questions", type=int, default=8, help="of `many`, one request each, in turn")
    options.add_argument("--cases", type=lambda text: text.split(","), default=["one", "many", "sdf"])
    options.add_argument("--llama-server", type=Path, default=None)
    chosen = options.parse_args()
    if chosen.quick:
        chosen.n, chosen.questions, chosen.max_tokens, chosen.baseline_traces = 4, 2, 32, 4
    bench = Bench(chosen)
    ours = bench.ours()
    theirs = bench.high_level()
    rows = [
        {"case": case, "tokens_per_s": ours[case], "llama_cpp_python": theirs[case], "ratio": ours[case] / theirs[case]}
        for case in ours
    ]
    if chosen.llama_server is not None:
        with llama_server(chosen.llama_server, chosen, bench.threads) as address:
            for row in rows:
                if row["case"] == "sdf":
                    continue
                questions = QUESTIONS[:1] if row["case"] == "one" else bench.many[: chosen.server_questions]
                row["llama_server"] = server_rate(address, bench, questions)
                row["ratio_to_server"] = row["tokens_per_s"] / row["llama_server"]
    names = ("n", "questions", "max_tokens", "baseline_traces", "gpu_layers")
    used = settings(
        chosen.model,
        threads=bench.threads,
        sampling="temperature 0.6, top-p 0.95",
        **{name: getattr(chosen, name) for name in names},
    )
    report("solve", used, rows, chosen.json)


if __name__ == "__main__":
    main()
