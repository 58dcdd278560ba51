"""Questions in, answers out: wires proposer, search and tasks."""

from __future__ import annotations

from arts_lite.solver.config import SolverConfig
from arts_lite.solver.results import Solution, Solved, SolverEvent, Trace
from arts_lite.solver.solver import Solver

__all__ = ["Solution", "Solved", "Solver", "SolverConfig", "SolverEvent", "Trace"]
