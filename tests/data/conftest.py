"""Small files of every form, made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from danlu.core.recipe import Data
from danlu.data.dataset import Dataset, open_dataset

WORDS = ("good food and kind people", "terrible noise all night long", "the room was clean and bright", "never again, rude and slow")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache-of-danlu"
    monkeypatch.setenv("DANLU_CACHE", str(folder))
    monkeypatch.setenv("DANLU_LANG", "en")
    return folder


@pytest.fixture
def text_rows() -> list[tuple[str, str]]:
    """Forty different texts of two classes."""
    return [(f"{WORDS[i % 4]} number {i}", "pos" if i % 2 == 0 else "neg") for i in range(40)]


@pytest.fixture
def text_data() -> Callable[..., Dataset]:
    def opened(path: object, **data: object) -> Dataset:
        return open_dataset(Data(path=path if path is None or isinstance(path, list) else str(path), **data), {"text": "text"}, "label", 0)

    return opened


@pytest.fixture
def image_data() -> Callable[..., Dataset]:
    def opened(path: object, **data: object) -> Dataset:
        return open_dataset(Data(path=str(path), **data), {"image": "image"}, "label", 0)

    return opened


@pytest.fixture
def audio_data() -> Callable[..., Dataset]:
    def opened(path: object, **data: object) -> Dataset:
        return open_dataset(Data(path=str(path), **data), {"audio": "audio"}, "label", 0)

    return opened
