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


def bert(folder: Path) -> Path:
    """A transformers folder: a bare BERT body without a head, as sentence encoders come, and a tokenizer of the texts' own pieces."""
    import torch
    from transformers import BertConfig, BertModel

    from danlu.fields.tokens import learn

    torch.manual_seed(1)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 400}
    BertModel(BertConfig(**shape, max_position_embeddings=40, initializer_range=0.2)).save_pretrained(folder)
    tokenizer = learn([row["text"] for row in rows("text-classification")], 300)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf8")
    return folder


def recipe(task: str, path: Path, **train: Any) -> dict[str, Any]:
    """A recipe that trains in seconds."""
    return {"task": task, "data": {"path": str(path), "split": dict(SPLIT)}, "train": {"epochs": 3, "threads": 1, **train}}


ALL = sorted(TASKS)
