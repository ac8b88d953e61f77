"""Checkpoints: everything that resuming needs, copied, written aside, re-read, hashed, renamed. The newest whole one is found by checking.

The steps of a write, of which each is done before the next begins: the files, to the disk; read again and compared with memory; the
manifest of their hashes; the rename; then, and only then, older checkpoints go. Killed anywhere, the newest whole one is still there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from danlu.core.errors import RefusedError, ResourceError
from danlu.core.files import MANIFEST, broken, folder_aside, json_text, read_json, settle, write_json
from danlu.core.randomness import key
from danlu.core.recipe import Recipe
from danlu.nn.model import Model
from danlu.train.optim import optimizer_tensors, restore_optimizer
from danlu.train.shard import like, whole

KEPT = 2  # the newest, and one to fall back to should the disk damage it
_STATE = "state.json"
_PIECE = 1 << 22  # bytes that are compared at a time


@dataclass
class State:
    """Where a run stands. Order, augmentation and dropout are functions of (seed, epoch, step), so no generator needs saving."""

    step: int = 0
    epoch: int = 0
    batch: int = 0  # batches of this epoch already done
    best: list[float] | None = None  # the chosen metric, then minus the log-loss that breaks ties
    best_step: int = 0
    best_metrics: dict[str, float] = field(default_factory=dict)
    scores: list[list[float]] = field(default_factory=list)  # of every evaluation, as in `best`
    averaged: int = 0  # weights that the average has taken in
    waited: int = 0  # evaluations since the best one
    seconds: float = 0.0
    spent: dict[str, float] = field(default_factory=dict)  # seconds by what they were spent on
    peak_memory: int = 0  # bytes
    loss_sum: float = 0.0  # since the last Stepped event
    loss_count: float = 0.0
    micro_batch: int | None = None  # rows computed at a time since memory ran out
    answered: int | None = None  # the same of evaluation
    done: str = ""  # why training ended, once it has
    events: int = 0  # bytes of events.jsonl that belong to this state
    data: str = ""  # the fingerprint of what is learned from
    skipped: list[int] = field(default_factory=list)  # steps not taken because their loss or gradient was no number
    in_a_row: int = 0  # of them since the last step that was taken
    left_out: list[int] = field(default_factory=list)  # rows of the dataset not learned from any more, since a step with them was undone
    anchor: int = 0  # the step of the last checkpoint that was due, to which such a step goes back


class Tensors(NamedTuple):
    """The files of tensors: what is trained, and the weights beside it where there are any."""

    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    best: dict[str, Tensor] | None = None
    average: dict[str, Tensor] | None = None


def collect(
    model: Model,
    optimizer: torch.optim.Optimizer,
    best: dict[str, Tensor] | None = None,
    average: dict[str, Tensor] | None = None,
    copy: bool = True,
) -> Tensors:
    """All that a checkpoint keeps, whole and in main memory; where the model is divided, every process must ask.

    What training goes on changing is copied, so that a write may take its time; not where training waits for the write (`copy` false).
    """
    kept = best and {name: whole(tensor).cpu().contiguous() for name, tensor in best.items()}  # replaced by the loop, never changed
    changing = (model.state_dict(), optimizer_tensors(optimizer), average)
    changed, states, averages = (tensors and _apart(tensors, copy) for tensors in changing)
    return Tensors(changed, states or {}, kept, averages)


def save(folder: Path, state: State, recipe: Recipe, tensors: Tensors) -> Path:
    """Writes `folder/step-N` whole; the path. Then, not before, removes all but it, the one before and the one a bad step goes back to."""
    target = folder / f"step-{state.step}"
    with folder_aside(target) as aside:
        for name, kept in tensors._asdict().items():
            if kept is not None:
                save_file(kept, aside / f"{name}.safetensors")
                _read_again(aside / f"{name}.safetensors", kept)
        write_json(aside / _STATE, {**asdict(state), "settings": settings(recipe)})
    if not intact(target):
        raise ResourceError("files.disk-error", target, path=target)
    older = [path for path in _by_step(folder) if _number(path) < state.step]
    kept_paths = {target, folder / f"step-{state.anchor}", *older[: KEPT - 1]}
    for path in _by_step(folder):
        if path not in kept_paths:  # a newer one can only be damaged: this state would have come from it
            shutil.rmtree(path, ignore_errors=True)
    return target


def _read_again(file: Path, tensors: dict[str, Tensor]) -> None:
    """ResourceError where the disk does not give back what it was given. Read piece by piece: a second copy of all would be much memory."""
    settle(file)
    with file.open("rb") as stored:
        try:
            header = json.loads(stored.read(int.from_bytes(stored.read(8), "little")))
            begins = {name: stored.tell() + header[name]["data_offsets"][0] for name in tensors}
        except (ValueError, LookupError, TypeError) as error:
            raise ResourceError("files.disk-error", file, path=file) from error
        for name, tensor in tensors.items():
            stored.seek(begins[name])
            memory = memoryview(tensor.reshape(-1).view(torch.uint8).numpy())
            for start in range(0, len(memory), _PIECE):
                piece = memory[start : start + _PIECE]
                if stored.read(len(piece)) != piece:
                    raise ResourceError("files.disk-error", file, path=file)


def newest(folder: Path) -> tuple[Path | None, list[Path]]:
    """The newest whole checkpoint, and the damaged ones that are newer than it."""
    damaged: list[Path] = []
    for path in _by_step(folder):
        if intact(path):
            return path, damaged
        damaged.append(path)
    return None, damaged


def sweep(folder: Path) -> None:
    """Removes what killed processes left half written. Only for who holds the run's lock."""
    for path in folder.glob(".step-*"):
        shutil.rmtree(path, ignore_errors=True)


def intact(path: Path) -> bool:
    """Every file is there with its hash and no other beside them, the manifest is as Danlu wrote it, and the state is the step's own."""
    try:
        if broken(path) is not None:
            return False
        manifest = read_json(path / MANIFEST)
        files = {file.name for file in path.iterdir()} - {MANIFEST}
        needed = {"model.safetensors", "optimizer.safetensors", _STATE}
        written = (path / MANIFEST).read_bytes() == json_text(manifest).encode()
        return written and files == set(manifest["files"]) >= needed and read_json(path / _STATE)["step"] == _number(path)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _by_step(folder: Path) -> list[Path]:
    """Checkpoints, newest first."""
    found = [path for path in folder.glob("step-*") if path.name.removeprefix("step-").isdecimal()]
    return sorted(found, key=_number, reverse=True)


def _number(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def read(path: Path, recipe: Recipe) -> tuple[State, Tensors]:
    """What a checkpoint holds. RefusedError for one of another recipe or Danlu."""
    with _refused(path):
        stored: dict[str, Any] = read_json(path / _STATE)
        if stored.pop("settings") != settings(recipe) or set(stored) != {one.name for one in fields(State)}:
            raise ValueError
        state = TypeAdapter(State).validate_json(json.dumps(stored), strict=True)
        files = {name: path / f"{name}.safetensors" for name in Tensors._fields}
        return state, Tensors(**{name: load_file(file) if file.exists() else None for name, file in files.items()})


def restore(path: Path, tensors: Tensors, model: Model, optimizer: torch.optim.Optimizer) -> Tensors:
    """Fills model and optimizer with the tensors of the checkpoint at `path`; gives them back where and divided as the model's own are."""
    with _refused(path):
        own = model.state_dict()
        if tensors.best is not None and set(tensors.best) != set(own):
            raise ValueError
        model.load_state_dict(_placed(tensors.model, own))
        restore_optimizer(optimizer, tensors.optimizer)
        best, average = (None if beside is None else _placed(beside, own) for beside in (tensors.best, tensors.average))
        return tensors._replace(best=best, average=average)


def _placed(tensors: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    if any(own[name].shape != tensor.shape or own[name].dtype != tensor.dtype for name, tensor in tensors.items()):
        raise ValueError
    return {name: like(tensor, own[name]) for name, tensor in tensors.items()}


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError, OSError, SafetensorError) as error:
        raise RefusedError("train.checkpoint-differs", path, path=path) from error


def settings(recipe: Recipe) -> int:
    """A number that stands for every setting on which the weights depend; where the data lies and what watches may change."""
    train = recipe.train.model_dump(mode="json", exclude={"device", "parallel", "threads", "precision", "save", "listeners"})
    return key(json.dumps([recipe.task, recipe.model.model_dump(mode="json", exclude={"pretrained"}), train, recipe.seed]))


def _apart(tensors: dict[str, Tensor], copy: bool) -> dict[str, Tensor]:
    """The tensors in plain memory, none sharing with another, as safetensors wants them; nothing shared with the model either with `copy`."""
    found: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, tensor in tensors.items():
        here = whole(tensor.detach())
        again = copy or here.untyped_storage().data_ptr() in taken
        found[name] = here.to("cpu", copy=again, memory_format=torch.contiguous_format).contiguous()
        taken.add(found[name].untyped_storage().data_ptr())
    return found
