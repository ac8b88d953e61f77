"""What reading gives before anybody decides what it means: cells of text, where each came from, and the side it came with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from danlu.core.errors import InputError


class Drop(NamedTuple):
    """A row that reading could not take: the reason is a key in `core/words/data.toml`."""

    reason: str
    side: str
    origin: str


@dataclass
class Source:
    """Rows as found, [N] of them. `side_N` holds "" where the data does not say; `line_N` is 0 where a row is a whole file.

    `known` names the columns whose meaning the layout itself tells (a folder per class: {"image": "file", "label": "label"}).
    `arrays` holds decoded values of a column (or, dtype object, the bytes of files), first axis N; `roots` is what paths in the cells of
    each file are relative to.
    """

    frame: pl.DataFrame
    files: list[str]
    file_N: np.ndarray
    line_N: np.ndarray
    roots: list[Path]
    side_N: np.ndarray
    known: dict[str, str] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    dropped: list[Drop] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    header: bool | None = None

    @classmethod
    def of(cls, frame: pl.DataFrame, file: str, root: Path, lines: Sequence[int] | None = None, **more: Any) -> Source:
        """Rows of one file; without `lines` every row is a file of its own."""
        n = len(frame)
        line_N = np.zeros(n, np.int64) if lines is None else np.asarray(lines, np.int64)
        return cls(frame, [file], np.zeros(n, np.int32), line_N, [root], np.full(n, "", dtype="U10"), **more)

    def with_side(self, side: str) -> Source:
        """The same rows, all on `side`."""
        self.side_N = np.full(len(self.frame), side, dtype="U10")
        self.dropped = [drop._replace(side=side) for drop in self.dropped]
        return self

    def keep(self, mask_N: np.ndarray) -> Source:
        """Only the rows where the mask is true."""
        self.frame = self.frame.filter(pl.Series(mask_N))
        self.file_N, self.line_N, self.side_N = self.file_N[mask_N], self.line_N[mask_N], self.side_N[mask_N]
        self.arrays = {name: values[mask_N] for name, values in self.arrays.items()}
        return self

    @classmethod
    def join(cls, sources: Sequence[Source], where: str) -> Source:
        """One after the other. A column that some lack is empty there."""
        if len(sources) == 1:
            return sources[0]
        offsets = np.cumsum([0] + [len(source.files) for source in sources])
        names = {tuple(sorted(source.arrays)) for source in sources}
        if len(names) > 1 or any(len({s.arrays[name].shape[1:] for s in sources}) > 1 for name in sources[0].arrays):
            raise InputError("data.shapes-differ", where)
        return cls(
            frame=pl.concat([source.frame for source in sources], how="diagonal"),
            files=[file for source in sources for file in source.files],
            file_N=np.concatenate([source.file_N + shift for source, shift in zip(sources, offsets, strict=False)]),
            line_N=np.concatenate([source.line_N for source in sources]),
            roots=[root for source in sources for root in source.roots],
            side_N=np.concatenate([source.side_N for source in sources]),
            known={field: column for source in reversed(sources) for field, column in source.known.items()},
            arrays={name: np.concatenate([source.arrays[name] for source in sources]) for name in sources[0].arrays},
            dropped=[drop for source in sources for drop in source.dropped],
            notes=_once(note for source in sources for note in source.notes),
            digests=[digest for source in sources for digest in source.digests],
            header=sources[0].header,
        )


def _once(notes: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for note in notes:
        if note not in found:
            found.append(note)
    return found
