"""Scores on parts of the rows."""

from types import SimpleNamespace

import numpy as np
import polars as pl
from evaluate_fakes import answers

from danlu.evaluate.slices import grouped, slices


def judged(columns: dict[str, list], p: np.ndarray, truth: list[int]) -> dict:
    dataset = SimpleNamespace(frame=pl.DataFrame(columns), extra_columns=list(columns))
    return {s["column"]: s for s in slices(dataset, np.arange(len(truth)), p, np.array(truth), "accuracy")}


def test_a_weak_slice_is_found_and_a_small_one_flagged() -> None:
    truth = [i % 2 for i in range(400)]
    p = answers(truth, 2, skill=4)
    weak = np.arange(400) % 4 == 0
    p[weak] = answers([truth[i] for i in np.flatnonzero(weak)], 2, skill=0)
    place = ["south" if w else "north" for w in weak]
    place[1] = None
    found = judged({"place": place, "id": [str(i) for i in range(400)], "constant": ["x"] * 400}, p, truth)
    assert list(found) == ["place"]  # a column of its own values, or of one, says nothing
    north, south, missing = found["place"]["values"]
    assert (north["value"], south["value"], missing["value"]) == ("north", "south", None)
    assert (north["verdict"], south["verdict"]) == ("better", "worse")
    assert missing["small"]
    assert missing["verdict"] == "same"
    assert sum(line["measure"]["n"] for line in found["place"]["values"]) == 400


def test_numbers_become_quartiles_that_hold_every_row() -> None:
    values = [str(v) for v in np.random.default_rng(0).normal(size=200)]
    named = grouped([*values, None, " "])
    assert named[-2:] == [None, None]
    counts = {name: named.count(name) for name in set(named[:-2])}
    assert sorted(counts.values()) == [50, 50, 50, 50]
    assert grouped(["1", "2", "x"]) == ["1", "2", "x"]


def test_rare_values_are_counted_not_shown() -> None:
    truth = [i % 2 for i in range(200)]
    found = judged({"city": [f"c{i % 20}" for i in range(200)]}, answers(truth, 2), truth)["city"]
    assert len(found["values"]) == 12
    assert found["others"] == 8
