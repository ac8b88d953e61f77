"""Names that say which side of the split a file or folder is: train, validation (val, dev), test, in English and Chinese."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from danlu.core.errors import InputError

_NAMES = {
    "train": ("train", "training", "trn", "traindata", "trainset", "训练", "训练集"),
    "validation": ("validation", "valid", "val", "dev", "devel", "eval", "valset", "devset", "验证", "验证集", "开发集"),
    "test": ("test", "testing", "tst", "testdata", "testset", "测试", "测试集"),
}
_SIDES = {name: side for side, names in _NAMES.items() for name in names}


def side_of(name: str) -> str | None:
    """The side that a whole name or cell means, or None."""
    return _SIDES.get(name.strip().casefold())


def side_in(name: str) -> tuple[str | None, str]:
    """The one side that a file name holds as a word (`resume_train.csv`), and the rest of the name without numbers."""
    words = [word for word in re.split(r"[\W_]+", name.casefold()) if word]
    sides = {_SIDES[word] for word in words if word in _SIDES}
    rest = "_".join(word for word in words if word not in _SIDES and not word.isdigit())
    return (sides.pop() if len(sides) == 1 else None), rest


def parts(paths: Iterable[Path], where: Path) -> dict[str, list[Path]]:
    """Files by side where their names tell and one of them is train, else {}. InputError where two sets lie in one folder."""
    families: dict[str, dict[str, list[Path]]] = {}
    for path in paths:
        side, rest = side_in(path.name)
        if side:
            families.setdefault(rest, {}).setdefault(side, []).append(path)
    whole = {rest: found for rest, found in families.items() if "train" in found}
    if len(whole) > 1:
        files = ", ".join(found["train"][0].name for found in whole.values())
        raise InputError("data.several-sets", where, folder=where.name, files=files)
    return next(iter(whole.values()), {})


def two_parts(sides: Iterable[str]) -> bool:
    """Whether the data came as train and validation only: then the second is what a final score is for, the test."""
    return set(sides) == {"train", "validation"}
