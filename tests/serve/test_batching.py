"""Who shares a batch with whom."""

from __future__ import annotations

import random

from danlu.serve.batching import Waiting, choose


def waiting(*costs: int) -> list[Waiting]:
    return [Waiting({}, cost, None) for cost in costs]


def costs(batch: list[Waiting]) -> list[int]:
    return [row.cost for row in batch]


def test_the_oldest_goes_with_its_likes():
    assert costs(choose(waiting(10, 400, 12, 9, 500, 10), 32)) == [10, 10, 9, 12]
    assert costs(choose(waiting(500, 10, 12, 400, 9), 32)) == [500, 400, 12]  # 12 still fits: 912 of 1500 is content
    assert costs(choose(waiting(7), 32)) == [7]


def test_a_batch_is_never_larger_than_allowed_nor_mostly_padding():
    source = random.Random(0)
    for _ in range(300):
        rows = waiting(*(source.choice([1, 5, 30, 500]) * source.randint(1, 9) for _ in range(source.randint(1, 80))))
        batch = choose(rows, 16)
        assert 1 <= len(batch) <= 16
        assert batch[0].cost == rows[0].cost
        assert max(costs(batch)) * len(batch) <= 2 * sum(costs(batch))


def test_everybody_gets_a_turn():
    rows = waiting(*([5] * 50), 4000, *([6] * 50), 4000, 90)
    turns = 0
    while rows:
        chosen = {id(row) for row in choose(rows, 8)}
        rows = [row for row in rows if id(row) not in chosen]
        turns += 1
    assert turns <= 16
