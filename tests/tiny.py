"""Small data for tests that train: every task's `tiny()` rows, as rows and as files on disk."""

from __future__ import annotations

import csv
import wave
from pathlib import Path
from typing import Any

import numpy as np

from danlu.core.types import Row
from danlu.tasks.table import TASKS, task_class

SPLIT = {"validation": 0.2, "test": 0.25}


def rows(task: str) -> list[Row]:
    return list(task_class(task).tiny())


def write(task: str, folder: Path) -> Path:
    """The task's rows as a user would have them; the path to name in a recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    kind = next(iter(task_class(task).inputs.values()))
    if kind == "text":
        path = folder / "rows.csv"
        with path.open("w", encoding="utf8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            writer.writerows([row["text"], row["label"]] for row in rows(task))
        return path
    for number, row in enumerate(rows(task)):
        place = folder / "media" / row["label"]
        place.mkdir(parents=True, exist_ok=True)
        if kind == "image":
            from PIL import Image

            Image.fromarray(np.asarray(row["image"]).squeeze()).save(place / f"{number:03}.png")
        else:
            write_wav(place / f"{number:03}.wav", row["audio"].samples, row["audio"].rate)
    return folder / "media"


def write_wav(path: Path, samples: np.ndarray, rate: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


def recipe(task: str, path: Path, **train: Any) -> dict[str, Any]:
    """A recipe that trains in seconds."""
    return {"task": task, "data": {"path": str(path), "split": dict(SPLIT)}, "train": {"epochs": 3, "threads": 1, **train}}


ALL = sorted(TASKS)
