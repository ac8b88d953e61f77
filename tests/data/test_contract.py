from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from making import csv_of, write_picture

from danlu.core.errors import InputError
from danlu.core.types import SIDES
from danlu.data.contract import account, usable
from danlu.data.contract_lines import table, width
from danlu.data.dataset import Dataset, sides_from


class Words:
    """A task as the contract sees one: words as numbers, at most four of them."""

    def __init__(self, dataset: Dataset) -> None:
        rows = [dataset.row(int(i)) for i in dataset.indices("train")]
        self.labels = sorted({row["label"] for row in rows})
        self.vocabulary = sorted({word for row in rows for word in row["text"].split()})

    def encode(self, row):
        words = row["text"].split()
        if "refuse" in words:
            raise InputError("data.want-text", type="refuse")
        return {"ids": np.array([self.vocabulary.index(w) for w in words[:4] if w in self.vocabulary]), "n": len(words)}

    def encode_many(self, rows):
        return [self.encode(row) for row in rows]

    def cut(self, example):
        return min(4, example["n"]), example["n"]

    def show(self, example):
        return " ".join(self.vocabulary[i] for i in example["ids"])


@pytest.fixture
def messy(tmp_path: Path, text_data) -> Dataset:
    """Thirty good rows of train and one of every trouble, ten of test."""
    rows = [(f"words {i} here", "ab"[i % 2]) for i in range(30)]
    rows += [("", "a"), ("  ", "b"), ("no label", ""), ("one two three four five six", "a"), ("words 2  here", "b"), ("refuse this", "a")]
    (tmp_path / "train.csv").write_text(csv_of(rows) + "x,y,z\n")
    test = [(f"unseen {i}", "ab"[i % 2]) for i in range(7)] + [("words 3 here", "b"), ("strange", "c"), ("", "b")]
    (tmp_path / "test.csv").write_text(csv_of(test))
    return text_data(tmp_path, split={"validation": 0})


def test_every_row_is_accounted_for(messy: Dataset) -> None:
    usable(messy)
    contract, encoded = account(messy, Words(messy))
    train, test = contract.sides["train"], contract.sides["test"]
    for side in contract.sides.values():
        assert side.rows == side.kept + sum(found.n for found in side.dropped.values())
    assert (train.rows, train.kept, test.rows, test.kept) == (37, 32, 10, 8)
    assert {reason: (found.n, found.examples) for reason, found in train.dropped.items()} == {
        "data.drop-ragged": (1, ["train.csv:38"]),
        "data.drop-no-input": (2, ["train.csv:32", "train.csv:33"]),
        "data.drop-no-label": (1, ["train.csv:34"]),
        "data.drop-refused": (1, ["train.csv:37"]),
    }
    assert {reason: found.examples for reason, found in test.dropped.items()} == {
        "data.drop-no-input": ["test.csv:11"],
        "data.drop-unseen-label": ["test.csv:10 (c)"],
    }
    assert (train.cut, train.units - train.units_kept) == (1, 2)
    assert train.classes == {"a": 16, "b": 16}
    assert contract.repeats["test in train"].examples == ["test.csv:9 = train.csv:5"]
    assert contract.conflicts.examples == ["train.csv:4 (a) = train.csv:36 (b)"]
    assert contract.example == {"origin": "train.csv:2", "decoded": "words 0 here", "text": "words 0 here", "label": "a"}
    assert [len(encoded[side].examples) for side in ("train", "test")] == [32, 8]
    assert messy.row(int(encoded["train"].rows[-1]))["text"] == "words 2  here"
    assert "validation" not in encoded


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_people_can_read_it(messy: Dataset, lang: str) -> None:
    contract, _ = account(messy, Words(messy))
    lines = contract.lines(lang)
    text = "\n".join(lines)
    for found in ("train.csv:32", "test.csv:10 (c)", "words 0 here", "test.csv:9 = train.csv:5"):
        assert found in text
    assert not any(line != line.rstrip() for line in lines)
    assert ("丢弃的行" if lang == "zh" else "Dropped") in text


def test_json_goes_round(messy: Dataset) -> None:
    contract, _ = account(messy, Words(messy))
    assert json.loads(json.dumps(contract.as_json()))["sides"]["train"]["kept"] == 32
    described = json.loads(json.dumps(messy.describe()))
    assert (sides_from(described) == messy.sides).all()
    assert described["counts"] == {side: int((messy.sides == side).sum()) for side in SIDES}


def test_columns_stand_straight() -> None:
    made = table([["", "行数", "n"], ["训练", "1,000", "5"], ["test", "20", "123"]])
    assert {width(line) for line in made} == {18}


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([(f"words {i}", "same") for i in range(20)], "contract.one-class"),
        ([(f"words {i}", f"label {i}") for i in range(20)], "contract.all-distinct"),
        ([(f"words {i}", f"{i / 7:.4f}") for i in range(20)], "contract.all-distinct"),
        ([("", "ab"[i % 2]) for i in range(20)], "contract.none-left-no-input"),
        ([(f"words {i}", "") for i in range(20)], "contract.none-left-no-label"),
    ],
)
def test_what_cannot_be_learned_stops_early(tmp_path: Path, text_data, rows, code: str) -> None:
    (tmp_path / "t.csv").write_text(csv_of(rows))
    with pytest.raises(InputError) as caught:
        usable(text_data(tmp_path / "t.csv", columns={"text": "text", "label": "label"}))
    assert caught.value.code == code


def test_all_pictures_missing_or_broken(tmp_path: Path, image_data) -> None:
    (tmp_path / "metadata.csv").write_text("file,label\n" + "\n".join(f"{i}.png,{'ab'[i % 2]}" for i in range(10)))
    with pytest.raises(InputError) as caught:
        usable(image_data(tmp_path / "metadata.csv"))
    assert caught.value.code == "contract.none-left-no-file"
    for i in range(10):
        write_picture(tmp_path / f"{i}.png", i).write_bytes(b"junk")
    with pytest.raises(InputError) as caught:
        usable(image_data(tmp_path / "metadata.csv"))
    assert caught.value.code == "contract.none-left-unreadable"
    assert "cannot be read" in caught.value.sentence()


def test_rows_left_out_by_reading_are_counted_where_there_is_no_train(tmp_path: Path, text_data, messy: Dataset) -> None:
    (tmp_path / "other.csv").write_text(csv_of([("words 1 here", "a"), ("words 2 here", "b")]) + "x,y,z\n")
    contract, encoded = account(text_data(None, split={"test": str(tmp_path / "other.csv")}), Words(messy))
    assert (contract.sides["test"].rows, len(encoded["test"].rows)) == (3, 2)
    (tmp_path / "other.csv").write_text(csv_of([("words 1 here", "z"), ("words 2 here", "y")]))
    with pytest.raises(InputError, match="label never seen in training") as caught:
        account(text_data(None, split={"test": str(tmp_path / "other.csv")}), Words(messy))
    assert caught.value.code == "contract.nothing-kept"


def test_no_row_of_another_side_was_needed(messy: Dataset) -> None:
    """The training side alone decides which labels are known."""
    contract, _ = account(messy, Words(messy))
    assert "c" not in contract.sides["test"].classes
