"""The public sets as they are: how many rows of each side, which columns, what a row looks like."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

SIDES = ("train", "validation", "test")


@pytest.mark.parametrize(
    ("name", "columns", "counts"),
    [
        ("ag_news", ["title", "text"], (17_960, 1_996, 7_600)),
        ("thucnews", ["text"], (8_985, 1_000, 10_000)),
        ("chn_senti", ["text"], (6_213, 776, 776)),
    ],
)
def test_texts(shared_data: Path, text_data, name: str, columns: list[str], counts: tuple[int, ...]) -> None:
    data = text_data(shared_data / name)
    assert data.fields == {"text": columns, "label": ["label"]}
    assert tuple(len(data.indices(side)) for side in SIDES) == counts
    assert data.split_by == "given"


def test_digits_in_both_forms(shared_data: Path, image_data) -> None:
    folder, idx = image_data(shared_data / "mnist_folder.tar.gz"), image_data(shared_data / "mnist")
    assert tuple(len(folder.indices(side)) for side in SIDES) == (1_800, 200, 1_000)
    assert tuple(len(idx.indices(side)) for side in SIDES) == (54_000, 6_000, 10_000)
    assert folder.row(0)["image"].shape == idx.row(0)["image"].shape == (28, 28, 1)
    assert len(set(folder.labels)) == len(set(idx.labels)) == 10


def test_colour_pictures(shared_data: Path, image_data) -> None:
    data = image_data(shared_data / "cifar10.tar.gz")
    assert Counter(data.sides.tolist()) == {"train": 4_500, "validation": 500, "test": 2_000}
    assert data.row(0)["image"].shape == (32, 32, 3)


def test_sounds(shared_data: Path, audio_data) -> None:
    data = audio_data(shared_data / "fsdd.tar.gz")
    assert tuple(len(data.indices(side)) for side in SIDES) == (2_430, 270, 300)
    assert data.extra_columns == ["speaker"]
    assert data.row(0)["audio"].rate == 8_000
