"""Before the loop: what frozen first stages say of each row is computed once, and the loop is given a model that starts from there.

The loop never knows: it gets a job whose examples hold those activations and whose model is the rest. They lie in a memory-mapped file of
the cache folder, found again by what they follow from (the frozen weights, the examples, how they are computed), so that a resumed run or
another head on the same body finds them there. Shapes: N rows, L positions of a row, S of all rows one after the other.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import danlu
from danlu.bundle.predictor import to_device
from danlu.core.cache import cached, caching, free_bytes
from danlu.core.errors import DanluError
from danlu.core.files import read_json, write_json
from danlu.core.types import Batch, Example
from danlu.data.batches import collate, plain_plan
from danlu.data.contract import Encoded
from danlu.nn.adapt.parts import frozen_prefix
from danlu.nn.device import autocast
from danlu.nn.model import Model
from danlu.nn.tail import Tail
from danlu.tasks.task import Task
from danlu.train.loop import Job

ROOM = "prefix"
MOST_GB = 20.0  # of the cache folder's disk, where the recipe says nothing
_SIDES = ("train", "validation")  # those that training looks at again and again
_ROWS = 64  # in a batch of the frozen stages, rows of like length together
_PROBED = 4
_GB = 1e9
_MISFITS = (RuntimeError, TypeError, ValueError, IndexError, AttributeError, KeyError)  # of code that is not made to be cut


class Kept(NamedTuple):
    """Activations [S, ...] of all rows, row i from `starts[i]` on; `ragged` rows have an axis of positions, others a single entry."""

    values: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    bf16: bool
    ragged: bool

    def row(self, i: int) -> np.ndarray:
        """[L, ...], or [...] where all rows have one shape."""
        start = self.starts[i]
        return self.values[start : start + self.lengths[i]] if self.ragged else self.values[start]


class Onward:
    """The task as the rest of the model sees it: batches of activations, rows as long as they were, nothing left to augment."""

    def __init__(self, task: Task, ragged: bool, bf16: bool) -> None:
        self.task, self.ragged, self.bf16 = task, ragged, bf16

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def length(self, example: Example) -> int:
        return example["length"]

    def augment(self, batch: Batch, seed: int, epoch: int) -> Batch:
        return batch

    def collate(self, examples: Sequence[Example]) -> Batch:
        """`inner` [B, T, ...] with zeros for padding, or [B, ...]; beside it the fields that the rest reads, and the target."""
        batch = collate([{name: value for name, value in e.items() if name not in ("inner", "length")} for e in examples])
        rows = [example["inner"] for example in examples]
        if self.ragged:
            inner = np.zeros((len(rows), max(map(len, rows)), *rows[0].shape[1:]), rows[0].dtype)
            for line, row in zip(inner, rows, strict=True):
                line[: len(row)] = row
        else:
            inner = np.stack(rows)
        tensor = torch.from_numpy(inner)
        return batch | {"inner": tensor.view(torch.bfloat16) if self.bf16 else tensor}


def default_limit() -> float:
    """Gigabytes: a quarter of what the cache folder's disk has left, at most MOST_GB."""
    return round(min(MOST_GB, free_bytes() / _GB / 4), 2)


def boundary(model: Model) -> int:
    """The first stage that ever learns, if any before it multiplies by weights, so that its answer is worth keeping; else 0."""
    stages = frozen_prefix(model)
    tables = {id(module.weight) for stage in stages for module in stage.modules() if isinstance(module, nn.Embedding | nn.EmbeddingBag)}
    return len(stages) if any(p.ndim > 1 and id(p) not in tables for stage in stages for p in stage.parameters()) else 0


def start_from_prefix(whole: Job) -> tuple[Job, list[dict[str, Any]]]:
    """The job that starts where learning does, or `whole` itself; what the user should know, as {"key": ..., values}."""
    first, limit = boundary(whole.model), (whole.recipe.train.cache_limit or 0.0) * _GB
    if not first or not limit or whole.world.sharded:
        return whole, []
    if changes_rows(whole.task):
        return whole, [{"key": "train.prefix-augmented"}]
    if whole.recipe.train.adversarial.epsilon:  # its texts are moved before the first stage
        return whole, [{"key": "train.prefix-adversarial"}]
    tail = Tail(whole.model, first)
    probed = _probe(whole, first)
    if probed is None:
        return whole, [{"key": "train.prefix-whole"}]
    sides = {name: whole.sides[name] for name in _SIDES if name in whole.sides}
    size = sum(_entries(whole.task, side.examples, probed) for side in sides.values()) * probed.values[0].nbytes
    if size > limit:
        return whole, [{"key": "train.prefix-too-large", "size": f"{size / _GB:.1f}", "limit": f"{limit / _GB:g}"}]
    if not whole.world.leads:
        whole.world.told(None)  # waits for the first process, whose cache may be this one's
    kept = _kept(whole, tail, sides, probed, limit)
    if whole.world.leads:
        whole.world.told(None)
    task = Onward(whole.task, probed.ragged, probed.bf16)
    onward = {name: Encoded(side.rows, _examples(whole, side.examples, kept[name])) for name, side in sides.items()}
    note = {"key": "train.prefix-kept", "stages": first, "rows": sum(len(side.rows) for side in sides.values()), "size": f"{size / 1e6:.1f}"}
    return replace(whole, task=task, model=tail, sides={**whole.sides, **onward}), [note]


def changes_rows(task: Task) -> bool:
    """Whether rows are augmented, so that frozen stages say something else of them in each epoch."""
    unsaid = type(task).augment is not Task.augment and type(task).augmentation is Task.augmentation
    return unsaid or bool(task.augmentation())


def _probe(job: Job, first: int) -> Kept | None:
    """Activations of a few rows, if the model answers from them as it does from the rows themselves."""
    model, examples = job.model, job.sides["train"].examples[:_PROBED]
    if not model.cuts:
        return None
    try:
        batch = to_device(job.task.collate(examples), job.device)
        lengths_B = model.eval().inner_lengths(batch, first)
        with torch.inference_mode():
            whole_BC = model(batch)
            rest_BC = model.run(batch | {"inner": model.run(batch, 0, first)}, first)
        same = torch.allclose(whole_BC, rest_BC, rtol=1e-4, atol=1e-4 * float(whole_BC.abs().max()))
        own = lengths_B is None or lengths_B.tolist() == [job.task.length(example) for example in examples]
        return _compute(job, first, examples, None, lengths_B is not None) if same and own else None
    except _MISFITS:
        return None


def _kept(job: Job, tail: Tail, sides: dict[str, Encoded], probed: Kept, limit: float) -> dict[str, Kept]:
    """The activations of each side: from the cache, else computed into it, else, where it cannot be written, in memory."""
    key = _key(job, tail, sides)
    if (entry := cached(ROOM, key)) is not None and (found := _read(entry, sides)) is not None:
        return found
    try:
        with caching(ROOM, key, limit) as folder:
            made = {name: _compute(job, tail.first, side.examples, folder / f"{name}.npy", probed.ragged, probed) for name, side in sides.items()}
            for name, part in made.items():
                np.save(folder / f"{name}-rows.npy", np.stack([part.starts, part.lengths]))
                part.values.flush()
            write_json(folder / "about.json", {"bf16": probed.bf16, "ragged": probed.ragged})
        return {name: part._replace(values=np.asarray(part.values)) for name, part in made.items()}
    except (DanluError, OSError):  # no place to write to, or a full one
        return {name: _compute(job, tail.first, side.examples, None, probed.ragged, probed) for name, side in sides.items()}


def _read(entry: Path, sides: dict[str, Encoded]) -> dict[str, Kept] | None:
    try:
        about, found = read_json(entry / "about.json"), {}
        for name in sides:
            starts_N, lengths_N = np.load(entry / f"{name}-rows.npy")
            values = np.asarray(np.load(entry / f"{name}.npy", mmap_mode="r"))
            found[name] = Kept(values, starts_N, lengths_N, about["bf16"], about["ragged"])
        return found
    except (OSError, ValueError, KeyError):
        return None


def _key(job: Job, tail: Tail, sides: dict[str, Encoded]) -> str:
    """All that activations follow from, to the last bit."""
    where = torch.cuda.get_device_name(job.device) if job.device.type == "cuda" else "cpu"
    how = [danlu.__version__, torch.__version__, where, torch.get_num_threads(), job.precision, job.model.packs, type(job.model).__name__]
    digest = hashlib.blake2b(json.dumps([*how, tail.first, tail.digest]).encode(), digest_size=16)
    for name, side in sides.items():
        digest.update(f"{name} {len(side.examples)}".encode())
        for example in side.examples:
            for field in sorted(example.keys() - {"target"}):
                value = np.ascontiguousarray(example[field])
                digest.update(f"{field} {value.dtype} {value.shape}".encode())
                digest.update(value.data if value.ndim else value.tobytes())
    return digest.hexdigest()


def _entries(task: Task, examples: Sequence[Example], like: Kept) -> int:
    return sum(task.length(example) for example in examples) if like.ragged else len(examples)


def _compute(job: Job, first: int, examples: Sequence[Example], file: Path | None, ragged: bool, like: Kept | None = None) -> Kept:
    """What the first stages say of each row, into a memory-mapped `file` or into memory."""
    lengths_N = np.array([job.task.length(example) if ragged else 1 for example in examples], dtype=np.int64)
    starts_N = lengths_N.cumsum() - lengths_N
    values: np.ndarray | None = None if file is None or like is None else _mapped(file, (int(lengths_N.sum()), *like.values.shape[1:]), like)
    bf16 = False
    job.model.eval()
    with torch.inference_mode():
        for rows_B in plain_plan([job.task.length(example) for example in examples], _ROWS):
            batch = to_device(job.task.collate([examples[i] for i in rows_B]), job.device)
            with autocast(job.precision, job.device):
                inner = job.model.run(batch, 0, first).cpu()
            bf16 = inner.dtype == torch.bfloat16
            part = _as_numpy(inner)
            if values is None:
                values = np.empty((int(lengths_N.sum()), *part.shape[1 + ragged :]), part.dtype)
            for i, line in zip(rows_B.tolist(), part, strict=True):
                values[starts_N[i] : starts_N[i] + lengths_N[i]] = line[: lengths_N[i]] if ragged else line
    return Kept(values, starts_N, lengths_N, bf16, ragged)


def _as_numpy(tensor: Tensor) -> np.ndarray:
    """numpy knows no bf16: its bits."""
    return (tensor.contiguous().view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _mapped(file: Path, shape: tuple[int, ...], like: Kept) -> np.ndarray:
    """A new memory-mapped array whose room on the disk is taken at once: OSError now, and no bus error later."""
    values = np.lib.format.open_memmap(file, mode="w+", dtype=like.values.dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as opened:
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
    return values


def _examples(job: Job, examples: Sequence[Example], kept: Kept) -> list[Example]:
    """Each row's activations with its target, its length as it was, and the fields that the rest of the model reads."""
    made = []
    for i, example in enumerate(examples):
        read = {name: example[name] if kept.ragged else example[name][:1] for name in job.model.reads}
        made.append({**read, "target": example["target"], "length": job.task.length(example), "inner": kept.row(i)})
    return made
