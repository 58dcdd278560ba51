"""Samples side by side in a row, each as if it were alone."""

from __future__ import annotations

from itertools import islice

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from arts_lite.tasks.countdown import CountdownDifficulty, countdown_problem
from arts_lite.tasks.traces import END, Sample, countdown_samples
from arts_lite.train.byte_vocab import EOS, PAD
from arts_lite.train.packing import IGNORED, Packed, attention_mask, pack, sample_tokens
from arts_lite.train.transformer import Shape, Transformer

PROBLEM = countdown_problem([3, 5, 7, 8], 24)


def sample(prompt: str, trace: str) -> Sample:
    return Sample(PROBLEM, prompt, trace, "solved")


def some(number: int) -> list[Sample]:
    return list(islice(countdown_samples(0, CountdownDifficulty(num_numbers=3)), number))


def logits(batch: Packed) -> torch.Tensor:
    torch.manual_seed(0)
    model = Transformer(Shape(dim=64, num_layers=2, num_heads=2, num_kv_heads=1, ff_dim=64, max_positions=256))
    mask = torch.from_numpy(attention_mask(batch.samples))
    with torch.no_grad():
        return model.logits(model.hidden(torch.from_numpy(batch.tokens), mask=mask))


def test_one_sample_by_hand() -> None:
    batch = pack([sample("1+1\n", "1+1=2")], 1, 16)
    assert batch.tokens[0].tolist() == [*b"1+1\n1+1=2\n", EOS, *[PAD] * 5]
    assert batch.targets[0].tolist() == [*[IGNORED] * 3, *b"1+1=2\n", EOS, *[IGNORED] * 6]
    assert batch.samples[0].tolist() == [0] * 11 + [-1] * 5
    assert (batch.num_samples, batch.num_left_out, batch.num_targets) == (1, 0, 7)


def test_changing_one_sample_leaves_the_others_as_they_were() -> None:
    samples = some(8)
    batch = pack(samples, 1, 256)
    changed = [*samples[:2], sample("99: 9 9\n", "x" * (len(sample_tokens(samples[2])[0]) - 10)), *samples[3:]]
    other = pack(changed, 1, 256)
    assert batch.num_samples >= 5
    assert (batch.samples == other.samples).all()
    elsewhere = torch.from_numpy(batch.samples != 2)
    before, after = logits(batch), logits(other)
    assert torch.equal(before[elsewhere], after[elsewhere])
    assert not torch.isclose(before[~elsewhere][-5:], after[~elsewhere][-5:]).all(1).any()


def test_a_packed_sample_is_worth_what_it_is_alone() -> None:
    samples = some(6)
    batch = pack(samples, 1, 256)
    together = logits(batch)[0]
    for number, one in enumerate(samples[: batch.num_samples]):
        ids, _ = sample_tokens(one)
        alone = logits(pack([one], 1, len(ids)))[0]
        assert torch.allclose(together[batch.samples[0] == number], alone, atol=1e-5)


@given(st.integers(1, 4), st.integers(20, 120), st.integers(1, 60))
def test_targets_are_the_traces_and_nothing_else(num_rows: int, length: int, number: int) -> None:
    samples = some(number)
    batch = pack(samples, num_rows, length)
    fitting = [one for one in samples if len(sample_tokens(one)[0]) <= length]
    assert batch.num_left_out <= len(samples) - len(fitting)
    packed = fitting[: batch.num_samples]
    learnt = sorted("".join(map(chr, _trace(batch, row, place))) for row, place in _places(batch))
    assert learnt == sorted(one.trace + END + chr(EOS) for one in packed)
    assert batch.num_targets == sum(len(one.trace) + 2 for one in packed)
    assert ((batch.samples >= 0) | (batch.tokens == PAD)).all()
    assert ((batch.samples >= 0) | (batch.targets == IGNORED)).all()


def _places(batch: Packed) -> list[tuple[int, int]]:
    return [(row, place) for row, owners in enumerate(batch.samples) for place in range(owners.max() + 1)]


def _trace(batch: Packed, row: int, place: int) -> list[int]:
    """Targets of one sample; checks that each is the token that follows."""
    where = np.flatnonzero((batch.samples[row] == place) & (batch.targets[row] != IGNORED))
    assert (batch.tokens[row][where + 1] == batch.targets[row][where]).all()
    assert (batch.samples[row][where + 1] == place).all()
    return [int(token) for token in batch.targets[row][where]]


def test_samples_longer_than_a_row_are_left_out_and_counted() -> None:
    batch = pack([sample("1\n", "x" * 100), sample("2\n", "y"), sample("3\n", "z" * 15)], 2, 20)
    assert (batch.num_samples, batch.num_left_out) == (2, 1)
    assert bytes(batch.tokens[0, :4].tolist()) == b"2\ny\n"
    assert bytes(batch.tokens[1, :2].tolist()) == b"3\n"


def test_packing_ends_with_the_first_sample_that_fits_nowhere() -> None:
    read: list[int] = []

    def endless() -> object:
        while True:
            read.append(1)
            yield sample("1\n", "x" * 6)

    batch = pack(endless(), 2, 25)  # type: ignore[arg-type]
    assert (batch.num_samples, len(read)) == (4, 5)


def test_padding_sees_no_sample() -> None:
    mask = attention_mask(np.array([[0, 0, 1, -1, -1]]))[0, 0]
    assert mask.astype(int).tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 1, 0],
        [0, 0, 0, 1, 1],
    ]
