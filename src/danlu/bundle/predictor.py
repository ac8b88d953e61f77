"""The only way this house predicts: validation while training, the final score, the command line, Python and REST all pass here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from danlu.bundle.store import load
from danlu.core.errors import DanluError, InputError
from danlu.core.types import Example, Prediction, Row
from danlu.data.batches import plain_plan
from danlu.data.media import open_value
from danlu.nn.device import autocast, pick_device
from danlu.nn.memory import halving
from danlu.nn.model import Model
from danlu.tasks.task import Task

BATCH = 64


def to_device(batch: Mapping[str, Any], device: torch.device) -> dict[str, torch.Tensor]:
    """A batch of numpy arrays as tensors on `device`."""
    return {name: torch.as_tensor(value).to(device, non_blocking=True) for name, value in batch.items()}


def outputs(
    task: Task,
    model: Model,
    examples: Sequence[Example],
    device: torch.device,
    precision: str = "fp32",
    batch_size: int = BATCH,
    told: Callable[[int], None] = lambda rows: None,
) -> np.ndarray:
    """Model outputs of examples in their order, float32 [N, ...]. The model is put in evaluation mode.

    Where memory does not suffice, fewer rows are computed at a time, and `told` hears how many.
    """
    model.eval()
    result: np.ndarray | None = None

    def answer(rows_B: np.ndarray, size: int) -> np.ndarray:
        parts = []
        for start in range(0, len(rows_B), size):
            batch = to_device(task.collate([examples[i] for i in rows_B[start : start + size]]), device)
            with autocast(precision, device):
                parts.append(model(batch).float().cpu().numpy())
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    with torch.inference_mode():
        for rows_B in plain_plan([task.length(example) for example in examples], batch_size):
            wanted = min(len(rows_B), batch_size)
            part, size = halving(partial(answer, rows_B), wanted)
            if size < wanted:
                batch_size = size
                told(size)
            if result is None:
                result = np.empty((len(examples), *part.shape[1:]), dtype=np.float32)
            result[rows_B] = part
    return np.empty((0, 0), np.float32) if result is None else result


class Predictor:
    """A bundle that answers. `path` is a bundle or run folder; a damaged one is a RefusedError."""

    def __init__(self, path: str | Path, device: str = "auto") -> None:
        bundle = load(path)
        self.path, self.about, self.task = bundle.path, bundle.about, bundle.task
        self.device = pick_device(device)
        self.model = bundle.model.to(self.device)

    def encode(self, row: Row | Any, number: int = 1) -> Example:
        """One row as an example. A bare value stands for the only input. InputError names a missing field or an unreadable value."""
        fields = self.task.inputs
        if not isinstance(row, Mapping):
            row = {next(iter(fields)): row}
        values = {}
        for field, kind in fields.items():
            if row.get(field) is None:
                raise InputError("bundle.field-missing", f"row {number}", row=number, field=field, known=", ".join(fields))
            values[field] = open_value(kind, row[field], "" if isinstance(row[field], str) else f"row {number}")
        return self.task.encode(values)

    def outputs(self, examples: Sequence[Example], batch_size: int = BATCH) -> np.ndarray:
        """Logits [N, C] of examples in their order."""
        return outputs(self.task, self.model, examples, self.device, batch_size=batch_size)

    def predict_examples(self, examples: Sequence[Example]) -> list[Prediction]:
        """Predictions of encoded rows, in their order."""
        return self.task.decode(self.outputs(examples)) if examples else []

    def predict(self, rows: Iterable[Row | Any]) -> list[Prediction]:
        """Predictions of rows (mappings of fields, or bare values), in their order."""
        return list(self.stream(rows))

    def stream(self, rows: Iterable[Row | Any], chunk: int = BATCH) -> Iterator[Prediction]:
        """The same while rows still arrive: `chunk` rows are answered together. What came before a bad row is answered before its error."""
        numbered, error = enumerate(rows, 1), None
        while error is None:
            examples: list[Example] = []
            try:
                for number, row in islice(numbered, chunk):
                    examples.append(self.encode(row, number))
            except DanluError as found:
                error = found
            yield from self.predict_examples(examples)
            if not examples:
                break
        if error is not None:
            raise error

    def describe(self) -> dict[str, Any]:
        """What this bundle is, as plain JSON: task, labels, inputs, model and its scores."""
        return {
            "task": self.about["task"]["name"],
            "inputs": dict(self.task.inputs),
            "labels": list(getattr(self.task, "labels", [])),
            "model": self.about.get("architecture", ""),
            "parameters": self.about.get("parameters", 0),
            "metrics": self.about.get("metrics", {}),
        }
