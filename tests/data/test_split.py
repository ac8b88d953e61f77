from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making import csv_of

from danlu.core.errors import InputError
from danlu.core.recipe import Data, Split
from danlu.data.dataset import Dataset, open_dataset
from danlu.data.split import cut, moments, shares

TENTH = {"test": 0.1, "validation": 0.1}


def test_stratified_keeps_shares() -> None:
    labels = ["a"] * 700 + ["b"] * 250 + ["c"] * 50
    sides = cut("stratified", TENTH, np.arange(1000), labels, 0)
    for label, n in (("a", 70), ("b", 25), ("c", 5)):
        counts = Counter(side for side, other in zip(sides, labels, strict=True) if other == label)
        assert counts["test"] == counts["validation"] == n


def test_every_class_appears_where_possible() -> None:
    labels = ["a"] * 5 + ["b"] * 3 + ["c"] * 2 + ["d"]
    sides = cut("stratified", TENTH, np.arange(11), labels, 0)
    pairs = Counter(zip(labels, sides, strict=True))
    assert all(pairs[label, side] for label in "ab" for side in ("train", "validation", "test"))
    assert pairs["c", "train"] == pairs["c", "test"] == 1
    assert pairs["d", "train"] == 1


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abc")), min_size=1, max_size=200),
    how=st.sampled_from(["random", "stratified", "group", "time"]),
    seed=st.integers(0, 5),
)
def test_duplicates_stay_together_and_the_cut_is_a_function(rows, how: str, seed: int) -> None:
    units = np.array([unit for unit, _ in rows])
    keys = [label for _, label in rows] if how != "time" else np.arange(len(rows), dtype=float)
    sides = cut(how, TENTH, units, keys, seed)
    assert (sides == cut(how, TENTH, units, keys, seed)).all()
    assert len(sides) == len(rows)
    for unit in set(units):
        assert len(set(sides[units == unit])) == 1
    if how == "group":
        for label in "abc":
            assert len({side for side, key in zip(sides, keys, strict=True) if key == label}) <= 1
    assert "train" in sides


def test_seed_matters() -> None:
    first, second = (cut("random", TENTH, np.arange(500), [None] * 500, seed) for seed in (0, 1))
    assert (first != second).any()
    assert Counter(first.tolist()) == Counter(second.tolist()) == {"train": 400, "test": 50, "validation": 50}


def test_groups_of_very_different_size() -> None:
    groups = ["big"] * 900 + [f"g{i}" for i in range(100)]
    sides = cut("group", TENTH, np.arange(1000), groups, 0)
    counts = Counter(sides.tolist())
    assert counts["train"] >= 800
    assert counts["test"] >= 40


def test_time_tests_on_the_latest() -> None:
    times = np.random.default_rng(0).permutation(1000).astype(float)
    sides = cut("time", TENTH, np.arange(1000), times, 0)
    assert times[sides == "train"].max() < times[sides == "validation"].min() < times[sides == "test"].min()


def test_moments() -> None:
    cells = ["2024-03-01", "2024-03-01 12:30:00", "2024/03/02", "2024年3月5日", "2024-03-01T00:00:00+08:00"]
    assert np.argsort(moments(cells, "t")).tolist() == [4, 0, 1, 2, 3]
    assert moments(["3", "1.5"], "t").tolist() == [3.0, 1.5]
    for bad in (["2024-03-01", "soon"], ["2024-03-01", None], ["3", None]):
        with pytest.raises(InputError) as caught:
            moments(bad, "t")
        assert caught.value.values["row"] == 2 or bad == ["3", None]


def test_shares() -> None:
    assert shares(Split(), set()) == TENTH
    assert shares(Split(), {"train", "test"}) == {"validation": 0.1}
    assert shares(Split(validation=0, test=0.25), set()) == {"test": 0.25}
    with pytest.raises(InputError):
        shares(Split(validation=0.5, test=0.5), set())


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "t.csv"
    lines = [f"some words number {i % 45},{'ab'[i % 2]},{'uvwxyz'[i // 10]},2024-01-{1 + i % 28:02}" for i in range(60)]
    path.write_text("text,label,who,day\n" + "\n".join(lines))
    return path


@pytest.mark.parametrize("split", [{}, {"by": "random"}, {"by": "group", "column": "who"}, {"by": "time", "column": "day"}])
def test_split_of_a_table(csv, text_data, split: dict) -> None:
    data = text_data(csv, split=split)
    assert data.split_by == split.get("by", "stratified")
    assert set(data.sides) == {"train", "validation", "test"}
    for unit in set(data.units.tolist()):
        assert len(set(data.sides[data.units == unit])) == 1
    assert (text_data(csv, split=split).sides == data.sides).all()


@pytest.mark.parametrize(
    ("split", "code"),
    [
        ({"by": "group"}, "data.needs-column"),
        ({"by": "time", "column": "who"}, "data.no-time"),
        ({"by": "group", "column": "whom"}, "data.no-such-column"),
        ({"column": "who"}, "data.column-without-by"),
        ({"by": "given"}, "data.not-given"),
        ({"by": "given", "column": "who"}, "data.no-such-side"),
        ({"train": "x.csv"}, "data.path-and-train"),
        ({"test": "/no/such.csv"}, "data.no-such-path"),
    ],
)
def test_wrong_splits(csv, text_data, split: dict, code: str) -> None:
    with pytest.raises(InputError) as caught:
        text_data(csv, split=split)
    assert caught.value.code == code


def test_parts_by_name_by_path_and_by_column(tmp_path, text_data, text_rows) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for name, rows in (("my_train_1.csv", text_rows[:20]), ("my_dev_1.csv", text_rows[20:30]), ("my_test_1.csv", text_rows[30:])):
        (folder / name).write_text(csv_of(rows))
    (folder / "README.md").write_text("about")
    counts = {"train": 20, "validation": 10, "test": 10}
    assert Counter(text_data(folder).sides.tolist()) == counts
    named = {"train": str(folder / "my_train_1.csv"), "validation": str(folder / "my_dev_1.csv"), "test": str(folder / "my_test_1.csv")}
    assert Counter(text_data(None, split=named).sides.tolist()) == counts
    column = tmp_path / "t.csv"
    names = ["train"] * 20 + ["dev"] * 10 + ["test"] * 10
    column.write_text(csv_of([(*row, side) for row, side in zip(text_rows, names, strict=True)], "text,label,split"))
    data = text_data(column)
    assert Counter(data.sides.tolist()) == counts
    assert data.split_column == "split"
    assert data.extra_columns == []
    assert text_data(column, split={"by": "random"}).split_by == "random"


def test_given_sides_are_kept_and_only_what_lacks_is_cut(tmp_path, text_data, text_rows) -> None:
    for name, rows in (("a.csv", text_rows[:30]), ("b.csv", text_rows[30:])):
        (tmp_path / name).write_text(csv_of(rows))
    data = text_data(tmp_path / "a.csv", split={"test": str(tmp_path / "b.csv"), "validation": 0.2, "by": "random"})
    assert Counter(data.sides.tolist()) == {"train": 24, "validation": 6, "test": 10}
    assert set(data.sides[30:]) == {"test"}
    assert len(text_data(tmp_path / "a.csv", split={"validation": 0, "test": 0}).indices("train")) == 30
    both = text_data([str(tmp_path / "a.csv"), str(tmp_path / "b.csv")])
    assert len(both) == 40
    assert both.origin(30) == "b.csv:2"


def test_unlabelled_test_part_is_left_aside(tmp_path, text_data, text_rows) -> None:
    (tmp_path / "train.csv").write_text(csv_of(text_rows))
    (tmp_path / "test.csv").write_text(csv_of([(text,) for text, _ in text_rows[:7]], "text"))
    data = text_data(tmp_path)
    assert len(data) == 40
    assert set(data.sides) == {"train", "validation", "test"}
    assert {"key": "data.note-unlabelled-part", "side": "test", "n": 7} in data.notes


def test_rows_in_memory() -> None:
    rows = [{"text": f"words {i}", "label": "ab"[i % 2]} for i in range(30)]
    data = Dataset.of(rows, {"text": "text"}, "label")
    assert set(data.sides) == {"train", "validation", "test"}
    assert data.row(3) == rows[3]
    pictures = [{"image": np.full((3, 4), i, np.uint8), "label": "ab"[i % 2]} for i in range(30)]
    data = Dataset.of(pictures, {"image": "image"}, "label", sides=["train"] * 20 + ["test"] * 10)
    assert data.row(7)["image"].tolist() == np.full((3, 4, 1), 7).tolist()
    assert len(data.indices("test")) == 10
    assert len(set(data.units.tolist())) == 30


def test_predicting_needs_no_labels(tmp_path) -> None:
    (tmp_path / "t.csv").write_text("text\n" + "\n".join(f"words {i}" for i in range(5)))
    data = open_dataset(Data(split=Split(test=str(tmp_path / "t.csv"))), {"text": "text"}, None, 0)
    assert data.sides.tolist() == ["test"] * 5
    assert data.row(0) == {"text": "words 0"}
