"""What an engine counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Counters of an engine since it was made; see `arts_lite._core.Stats`. Seconds are wall time."""

    num_tokens_decoded: int
    num_tokens_prefilled: int
    num_tokens_redecoded: int
    num_tokens_shared: int
    num_rows_padding: int
    num_decode_calls: int
    num_forks: int
    num_parked: int
    decode_s: float
    sample_s: float
    advance_s: float
    num_cells_used: int
    num_cells_high_water: int
    num_cells_capacity: int
    num_sequences_used: int
    num_sequences: int
    num_branches: int
    num_rows_target: int
    num_rows_max: int

    @property
    def outside_share(self) -> float:
        """Share of the decode loop's time spent outside llama_decode."""
        return 1 - self.decode_s / self.advance_s if self.advance_s > 0 else 0.0
