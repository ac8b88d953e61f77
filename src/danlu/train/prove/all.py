"""All proofs, one after the other."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from danlu.core.recipe import Recipe
from danlu.train.prove.proofs import PROOFS, Bench


@dataclass(frozen=True)
class Proof:
    """What was measured: `difference` may not exceed `bound`. `stood_in` says that a small text model showed it, not the recipe's own."""

    name: str
    passed: bool
    difference: float | None  # None where it has no size: something is missing, or no number
    bound: float
    stood_in: bool

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def prove(recipe: Recipe | None = None) -> Iterator[Proof]:
    """Every proof, whatever the recipe; on small texts without one. Nothing is left on the disk but what the cache folder keeps."""
    with tempfile.TemporaryDirectory(prefix="danlu-prove-") as folder:
        bench = Bench(recipe, Path(folder))
        for name, show in PROOFS.items():
            shown = show(bench)
            finite = shown.difference < float("inf")
            yield Proof(name, finite and shown.difference <= shown.bound, shown.difference if finite else None, shown.bound, shown.stood_in)
