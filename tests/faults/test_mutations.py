"""The short form of `benchmarks/campaigns/mutations.py`: damaged checkpoints crash nothing, and none is taken for whole."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "campaigns"))

import mutations

from danlu.train import checkpoint


def test_damaged_checkpoints_are_told() -> None:
    result = mutations.campaign(300, seed=7)
    assert (result["crashes"], result["silent"]) == (0, 0), result["by_mutation"]
    assert len(result["by_mutation"]) >= 14


def test_the_campaign_has_teeth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only the presence of a manifest is looked at, as elsewhere, damage is loaded without a word or crashes the reader."""
    monkeypatch.setattr(checkpoint, "intact", lambda path: (path / "manifest.json").exists())
    result = mutations.campaign(60, seed=7)
    assert result["silent"] > 10
