"""The surest errors, what is shown of them, and who is taken for whom."""

import base64
import io
import wave

import numpy as np
import pytest
from evaluate_fakes import answers, world
from PIL import Image

from danlu.core.types import Sound
from danlu.evaluate.errors import MOST, confusion, shown, surest


def content(shown_value: dict, media_type: str) -> io.BytesIO:
    head, _, data = shown_value["src"].partition(",")
    assert head == f"data:{media_type};base64"
    return io.BytesIO(base64.b64decode(data))


def test_the_surest_errors_come_first_with_their_rows() -> None:
    truth = [i % 3 for i in range(200)]
    dataset, task, encoded = world([f"text {i}" for i in range(200)], truth, ["a", "b", "c"], sides=["test"] * 200)
    p = answers(truth, 3, skill=1.0)
    found = surest(dataset, task, encoded["test"].rows, p, np.array(truth))
    assert len(found) == MOST
    assert [e["score"] for e in found] == sorted((e["score"] for e in found), reverse=True)
    wrong = np.flatnonzero(p.argmax(axis=1) != truth)
    first = wrong[p[wrong].max(axis=1).argmax()]
    assert found[0]["origin"] == dataset.origin(int(first))
    assert found[0]["input"] == {"kind": "text", "text": f"text {first}", "shortened": False}
    assert found[0]["truth"] == "abc"[truth[first]]
    assert found[0]["truth_score"] == pytest.approx(p[first, truth[first]])
    assert sum(found[0]["scores"].values()) == pytest.approx(1)
    assert all(e["truth"] != e["prediction"] for e in found)


def test_pictures_and_sounds_are_carried_whole_or_shortened() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(content(shown("image", picture), "image/png"))), picture)
    large = shown("image", np.zeros((400, 600, 1), dtype=np.uint8))
    assert Image.open(content(large, "image/png")).size == (144, 96)
    assert (large["width"], large["height"]) == (600, 400)
    sound = shown("audio", Sound(np.full(44_100 * 5, 0.5, dtype=np.float32), 44_100))
    with wave.open(content(sound, "audio/wav")) as file:
        assert file.getnframes() / file.getframerate() == pytest.approx(3, abs=0.01)
        assert file.getframerate() <= 16_000
    assert sound["shortened"]
    assert sound["seconds"] == 5
    assert shown("text", "x" * 1000)["shortened"]


def test_confusion_counts_every_row_once() -> None:
    truth, said = np.array([0, 0, 0, 1, 2, 2]), np.array([0, 1, 1, 1, 0, 2])
    found = confusion(said, truth, ["a", "b", "c"])
    assert found["matrix"] == [[1, 2, 0], [0, 1, 0], [1, 0, 1]]
    assert found["pairs"][0] == {"truth": "a", "prediction": "b", "n": 2, "of": 3}
    assert len(found["pairs"]) == 2
    many = confusion(np.arange(60), np.arange(60), [str(i) for i in range(60)])
    assert many == {"matrix": None, "pairs": []}
