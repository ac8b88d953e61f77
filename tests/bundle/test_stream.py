"""Predictions come as rows do, and a bad row takes nothing from those before it."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny

import danlu
from danlu.core.errors import InputError


def test_rows_before_a_bad_one_are_answered(tmp_path: Path) -> None:
    task = "text-classification"
    run = danlu.train(tiny.recipe(task, tiny.write(task, tmp_path)), out=tmp_path / "run", progress=False)
    answered = []
    with pytest.raises(InputError, match="3"):
        for prediction in danlu.load(run.path).stream(["good food", "awful room", {"wrong": 1}, "never asked"]):
            answered.append(prediction.label)
    assert len(answered) == 2
