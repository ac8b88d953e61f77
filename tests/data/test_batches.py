"""Batch plans: every row once, no batch above its size, and the same inputs give the same plan."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.data.batches import Size, count, divide, plan

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=300)
TOKENS = st.builds(Size, tokens=st.integers(1, 200), packed=st.booleans())
SIZES = TOKENS | st.builds(Size, rows=st.integers(1, 40))


def cost(lengths: list[int], batch: np.ndarray, size: Size) -> int:
    inside = [lengths[i] for i in batch]
    return sum(inside) if size.packed else len(inside) * max(inside)


@settings(max_examples=200, deadline=None)
@given(lengths=LENGTHS, size=SIZES, seed=st.integers(0, 5), epoch=st.integers(0, 5))
def test_every_row_stands_in_exactly_one_batch_and_the_plan_is_a_function(lengths, size, seed, epoch):
    batches = plan(lengths, size, seed, epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert all(len(batch) for batch in batches)
    again = plan(tuple(lengths), size, seed, epoch)
    assert [batch.tolist() for batch in batches] == [batch.tolist() for batch in again]


@settings(max_examples=200, deadline=None)
@given(lengths=LENGTHS, size=TOKENS, seed=st.integers(0, 5))
def test_no_batch_is_above_its_tokens_but_a_row_that_is(lengths, size, seed):
    for batch in plan(lengths, size, seed, 0):
        assert cost(lengths, batch, size) <= size.tokens or len(batch) == 1


@settings(max_examples=50, deadline=None)
@given(lengths=LENGTHS, size=SIZES, epochs=st.integers(1, 4))
def test_the_count_is_of_all_epochs(lengths, size, epochs):
    assert count(lengths, size, 3, epochs) == sum(len(plan(lengths, size, 3, epoch)) for epoch in range(epochs))


def test_epochs_and_seeds_differ():
    plans = [plan(list(range(1, 100)), Size(tokens=300), seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    firsts = {tuple(batches[1].tolist()) for batches in plans}
    assert len(firsts) == 3


def test_batches_by_tokens_are_nearly_full_and_of_similar_rows():
    lengths = np.random.Generator(np.random.Philox(0)).integers(5, 128, 5_000).tolist()
    for packed in (True, False):
        size = Size(tokens=2_000, packed=packed)
        batches = plan(lengths, size, 0, 0)
        assert sum(lengths) / (size.tokens * len(batches)) > 0.9
        assert np.median([np.ptp([lengths[i] for i in batch]) for batch in batches]) < 10


@settings(max_examples=200, deadline=None)
@given(rows=st.integers(1, 70), micro_batch=st.none() | st.integers(1, 20), processes=st.integers(1, 8))
def test_the_parts_of_a_step_hold_every_row_once(rows: int, micro_batch: int | None, processes: int) -> None:
    parts = divide(np.arange(rows) + 7, micro_batch, processes)
    assert sorted(np.concatenate(parts)) == list(range(7, rows + 7))
    assert all(len(part) > 1 or micro_batch == 1 or rows == 1 for part in parts)
    if micro_batch:
        assert [part.tolist() for part in parts] == [part.tolist() for part in divide(np.arange(rows) + 7, micro_batch, 1)]
        assert all(len(part) <= micro_batch + (micro_batch > 1) for part in parts)
    else:
        assert len(parts) <= processes


def test_the_largest_batch_of_unequal_rows_comes_first():
    lengths = np.random.Generator(np.random.Philox(1)).integers(1, 200, 2000)
    for epoch in range(3):
        sums = [int(lengths[batch].sum()) for batch in plan(lengths, Size(rows=16), 0, epoch)]
        assert sums[0] == max(sums)
        assert sums[1:] != sorted(sums[1:], reverse=True)
