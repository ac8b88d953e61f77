"""A few real steps of a run in a process of its own: `train` itself with its epochs cut short, from the first row to the report.

`python -m danlu.train.probe RECIPE OUT` prints one JSON object; `plan` reads it. Peaks are of resident memory, in bytes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from danlu.core.events import Event
from danlu.core.files import read_json
from danlu.core.recipe import Recipe
from danlu.data.batches import Size, plan
from danlu.train.machine import peak_memory

_PLANS = 8  # epochs whose plans are searched for the largest batch
_STRATA = 8  # batches whose time stands for all: the middles of so many equal parts of the epoch, ordered by cost
ROUNDS = 2


class Probe:
    """The plan of the probe's two epochs (the largest batches for memory, typical ones for time), and a listener that notes what they cost."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, float, int]] = []  # event, seconds, peak
        self.epochs: list[list[np.ndarray]] = []
        self.batches = 0

    def plan(self, lengths: Sequence[int], size: Size, seed: int, epoch: int) -> list[np.ndarray]:
        """In place of `data.batches.plan`."""
        if not self.epochs:
            epochs = [plan(lengths, size, seed, number) for number in range(_PLANS)]
            self.batches = len(epochs[0])
            lengths_N = np.asarray(lengths)
            everything = [batch for batches in epochs for batch in batches]
            real = max(everything, key=lambda batch: lengths_N[batch].sum())
            padded = max(everything, key=lambda batch: len(batch) * lengths_N[batch].max())
            half = real[: max(1, len(real) // 2)] if len(real) > 3 else real
            ordered = sorted(epochs[0], key=lambda batch: (len(batch) * lengths_N[batch].max(), lengths_N[batch].sum()))
            parts = min(_STRATA, len(ordered))
            middles = [ordered[int((part + 0.5) * len(ordered) / parts)] for part in range(parts)]
            self.epochs = [[half, half, real, padded, real], middles * ROUNDS]
        return self.epochs[epoch]

    def __call__(self, event: Event) -> None:
        self.noted.append((type(event).__name__, event.seconds, peak_memory()))

    def found(self) -> dict[str, Any]:
        """Batches of an epoch, seconds of all steps taken, of an epoch's and of starting, and peaks after half of the largest batch and the whole."""
        stepped = [(seconds, most) for name, seconds, most in self.noted if name == "Stepped"]
        memory, _ = self.epochs
        first = len(memory)
        starts = [seconds for name, seconds, _ in self.noted if name == "Evaluated"][:1] or [stepped[first - 1][0]]
        taken = np.diff([starts[0], *(seconds for seconds, _ in stepped[first:])])
        strata = np.median(taken.reshape(ROUNDS, -1), axis=0)
        return {
            "batches": self.batches,
            "steps_s": stepped[first - 1][0] + stepped[-1][0] - starts[0],
            "epoch_s": float(strata.mean() * self.batches),
            "first_s": max(0.0, stepped[0][0] - (stepped[1][0] - stepped[0][0])),
            "rows": [len(memory[0]), len(memory[2])],
            "peaks": [stepped[1][1], stepped[4][1]],
        }


def probe(recipe: Recipe, out: Path) -> dict[str, Any]:
    """What a run of the resolved recipe costs. The probe is a whole run in `out`, of few steps; its numbers are not worth reading."""
    from danlu.train.train import train

    watching = Probe()
    run = train(recipe, out, listen=[watching], planned=watching.plan)
    report = run.report
    found = watching.found()
    found |= {"peak": report["peak_memory_bytes"], "encode_s": max(0.0, report["timing"]["fit_s"] - found.pop("steps_s"))}
    kept = sorted((run.path / "checkpoints").glob("step-*"))
    found["checkpoint"] = _size(kept[-1])
    found["disk"] = _size(run.path) - sum(map(_size, kept))
    return found


def evaluation(bundle: str, data: str) -> dict[str, Any]:
    """The peak of `danlu evaluate`."""
    from danlu.train.evaluate import evaluate

    evaluate(bundle, data, {})
    return {"peak": peak_memory()}


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def main(words: list[str]) -> int:
    import typer  # noqa: F401  (as the command has)

    from danlu.core.errors import DanluError

    try:
        found = (
            evaluation(*words[1:]) if words[0] == "evaluate" else probe(Recipe.model_validate(read_json(Path(words[0]))), Path(words[1]))
        )
    except DanluError as error:
        print(json.dumps(error.as_json(), ensure_ascii=False))
        return error.exit_code
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
