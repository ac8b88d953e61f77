"""The learning-rate range test finds the valley of a curve, leaves no run, and its page speaks both languages."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny

from danlu.api import find_lr, recipe_of
from danlu.cli.main import run
from danlu.core.words import LANGUAGES
from danlu.evaluate.page.rates import page
from danlu.train import find_lr as module
from danlu.train.find_lr import Point, conclude
from danlu.train.run import to_yaml


def curve(valley: float, depth: float = 1.0) -> list[Point]:
    """A loss of 2 that falls to its lowest at `valley` and rises again."""
    points = []
    for number in range(module.STEPS):
        lr = 1e-7 * 1e8 ** (number / (module.STEPS - 1))
        loss = 2 - depth * math.exp(-((math.log10(lr / valley)) ** 2))
        points.append(Point(lr, loss, loss))
    return points


@pytest.mark.parametrize("valley", [1e-4, 1e-2, 1.0])
def test_the_steepest_fall_is_suggested(valley: float) -> None:
    found = conclude(curve(valley))
    assert found.minimum == pytest.approx(valley, rel=0.1)
    middle = 10 ** (module._SPAN / 2 * 8 / (module.STEPS - 1))  # of the span that begins at the suggestion
    assert found.suggestion * middle == pytest.approx(valley / 10**0.707, rel=0.15)  # where the slope of the curve above is largest


def test_rows_known_by_heart_do_not_mislead() -> None:
    """A loss that fell to 0 and stays there up to any rate."""
    points = [point if point.lr < 1e-2 else Point(point.lr, 0.0, 1e-9 / point.lr) for point in curve(1e-2, depth=2.0)]
    assert 1e-4 < conclude(points).suggestion < 1e-2


def test_a_loss_that_falls_nowhere_suggests_nothing() -> None:
    assert conclude(curve(1e-2, depth=0.01)).suggestion is None
    assert conclude(curve(1e-2)[:5]).suggestion is None
    assert conclude([*curve(1e-2), Point(1.0, math.inf, math.nan)]).suggestion == conclude(curve(1e-2)).suggestion


def test_the_command_finds_a_rate_that_learns_and_leaves_only_its_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task = "text-classification"
    monkeypatch.chdir(tmp_path)
    tree = tiny.recipe(task, tiny.write(task, tmp_path / "data")) | {"model": {"architecture": "transformer"}}
    (tmp_path / "mine.yaml").write_text(to_yaml(recipe_of(tree)), encoding="utf8")
    assert run(["train", "mine.yaml", "--find-lr", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {path.name for path in tmp_path.iterdir()} == {"data", "mine.yaml", "mine-rates.html"}
    assert 1e-4 < found["suggestion"] < 1e-2
    rates = [point["lr"] for point in found["points"]]
    assert all(later / earlier == pytest.approx(rates[1] / rates[0]) for earlier, later in pairwise(rates))
    assert run(["train", "mine.yaml", "--find-lr", "--profile"]) == 2
    again = find_lr(tree, out=tmp_path / "other.html", progress=False)
    assert again["points"] == found["points"]


def test_it_stops_where_the_loss_diverges(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([1.0] * 50 + [1e6] * 150)
    monkeypatch.setattr(module, "_step", lambda *args: next(losses))
    monkeypatch.setattr(module, "_batches", lambda job: iter(range(1000)))
    monkeypatch.setattr(module.adapt, "begin_epoch", lambda *args: None)
    assert len(list(module._climb(SimpleNamespace(model=None, recipe=SimpleNamespace(model=SimpleNamespace(adapt=None)))))) == 51


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_page_says_why(lang: str) -> None:
    text = page(conclude(curve(1e-2)).as_json(), lang)
    assert f"{conclude(curve(1e-2)).suggestion:g}" in text
    assert {"en": "falls fastest", "zh": "下降最快"}[lang] in text
    assert "<script" not in text
    assert {"en": "none is suggested", "zh": "没有建议"}[lang] in page(conclude(curve(1e-2, depth=0.01)).as_json(), lang)
