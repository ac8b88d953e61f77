"""Baselines of the three kinds, on rows made here and on the real sets."""

import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from evaluate_fakes import world

from danlu.core.types import Sound
from danlu.evaluate import baselines as baselines_module
from danlu.evaluate.baselines import baselines, cjk_share, logistic, standardised, targets

TEXTS = {0: "the match ended with a late goal number {}", 1: "shares fell as the bank raised rates {}"}
HAN = {0: "球队在第{}分钟攻入一球赢得比赛", 1: "银行第{}次加息股市应声下跌"}


def right(found: dict, encoded: dict, name: str = "learned") -> float:
    return float((found[name].probabilities_MC.argmax(axis=1) == targets(encoded["test"])).mean())


@pytest.mark.parametrize(("texts", "name"), [(TEXTS, "tfidf-words"), (HAN, "tfidf-characters")])
def test_text(texts: dict, name: str) -> None:
    truth = [i // 4 % 2 for i in range(80)]
    dataset, task, encoded = world([texts[t].format(i) for i, t in enumerate(truth)], truth, ["a", "b"])
    found = baselines(task, dataset, encoded, "test", seed=0)
    assert found["learned"].name == name
    assert found["learned"].n_train == 40
    assert right(found, encoded) == 1.0
    assert found["learned"].as_json(targets(encoded["test"]), ["a", "b"], 0)["accuracy"]["value"] == 1.0


def test_texts_without_a_single_word_have_an_answer() -> None:
    dataset, task, encoded = world(["?"] * 12, [i // 4 % 2 for i in range(12)], ["a", "b"])
    found = baselines(task, dataset, encoded, "test", seed=0)
    np.testing.assert_allclose(found["learned"].probabilities_MC.sum(axis=1), 1.0)


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_any_size(channels: int) -> None:
    random, truth = np.random.default_rng(0), [i // 4 % 2 for i in range(60)]
    pictures = []
    for i, t in enumerate(truth):
        picture = random.integers(0, 60, (40 + i % 7, 44, channels), dtype=np.uint8)
        picture[: len(picture) // 2, :, 0 if channels == 1 else t] += 150 if channels == 3 else 150 * np.uint8(t)
        pictures.append(picture)
    dataset, task, encoded = world(pictures, truth, ["a", "b"], "image")
    found = baselines(task, dataset, encoded, "test", seed=0)
    assert found["learned"].name == "pixels"
    assert right(found, encoded) == 1.0


def test_sounds() -> None:
    random, truth = np.random.default_rng(0), [i // 4 % 2 for i in range(40)]
    time = np.arange(4000) / 8000
    sounds = [
        Sound((np.sin(2 * np.pi * (300 + 900 * t) * time) * 0.3 + random.normal(0, 0.01, 4000)).astype(np.float32), 8000) for t in truth
    ]
    dataset, task, encoded = world(sounds, truth, ["low", "high"], "audio")
    found = baselines(task, dataset, encoded, "test", seed=0)
    assert found["learned"].name == "mean-log-mel"
    assert right(found, encoded) == 1.0


def test_majority_says_the_shares_of_the_training_side_only() -> None:
    truth = [0, 1, 0, 1, 0, 1, 0, 1, 1, 0, 0, 0]
    dataset, task, encoded = world([TEXTS[t].format(i) for i, t in enumerate(truth)], truth, ["a", "b"])
    trained = [truth[i] for i in encoded["train"].rows]
    expected = [trained.count(0) / len(trained), trained.count(1) / len(trained)]
    found = baselines(task, dataset, encoded, "test", seed=0)
    np.testing.assert_allclose(found["majority"].probabilities_MC, np.tile(expected, (len(encoded["test"].rows), 1)))


def test_training_rows_are_capped_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(baselines_module._CAPS, "text", 20)
    truth = [i // 4 % 2 for i in range(80)]
    dataset, task, encoded = world([TEXTS[t].format(i) for i, t in enumerate(truth)], truth, ["a", "b"])
    first, second = (baselines(task, dataset, encoded, "test", seed=3)["learned"] for _ in range(2))
    assert first.n_train == 20
    np.testing.assert_array_equal(first.probabilities_MC, second.probabilities_MC)


def test_classes_that_the_sample_lacks_get_no_probability() -> None:
    p = logistic(np.array([[0.0], [1.0], [0.1], [0.9]]), np.array([0, 2, 0, 2]), np.array([[0.5]]), 4, 1.0)
    assert p.shape == (1, 4)
    assert p[0, 1] == p[0, 3] == 0
    assert logistic(np.zeros((3, 1)), np.array([1, 1, 1]), np.zeros((2, 1)), 3, 1.0).tolist() == [[0, 1, 0], [0, 1, 0]]


def test_small_parts() -> None:
    assert cjk_share(["中文 abc"]) == pytest.approx(0.4)
    assert cjk_share([""]) == 0
    train, judged = standardised(np.array([[0.0, 5.0], [2.0, 5.0]]), np.array([[1.0, 5.0]]))
    assert train.tolist() == [[-1, 0], [1, 0]]
    assert judged.tolist() == [[0, 0]]


def test_the_figures_of_the_real_sets(shared_data: Path) -> None:
    parts = {side: pl.read_csv(gzip.decompress((shared_data / "chn_senti" / f"{side}.csv.gz").read_bytes())) for side in ("train", "test")}
    frame = pl.concat(parts.values())
    sides = ["train"] * len(parts["train"]) + ["test"] * len(parts["test"])
    labels = ["negative", "positive"]
    dataset, task, encoded = world(frame["text"].to_list(), [labels.index(v) for v in frame["label"]], labels, sides=sides)
    found = baselines(task, dataset, encoded, "test", seed=0)
    scored = found["learned"].as_json(targets(encoded["test"]), labels, 0)
    assert scored["accuracy"]["value"] == pytest.approx(0.903, abs=0.01)
    assert scored["balanced_accuracy"]["value"] == pytest.approx(0.873, abs=0.015)
    majority = found["majority"].as_json(targets(encoded["test"]), labels, 0)
    assert majority["accuracy"]["value"] == pytest.approx(0.686, abs=0.001)
