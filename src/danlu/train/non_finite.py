"""Steps whose loss or gradient is no number: what becomes of them, and the record of their rows. Never silent."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from danlu.core.errors import InputError
from danlu.core.events import Event, Warned
from danlu.core.files import write_json
from danlu.core.types import Loss
from danlu.data.dataset import Dataset
from danlu.train.checkpoint import State
from danlu.train.step import Taken, take

if TYPE_CHECKING:
    from danlu.train.loop import Job

_IN_A_ROW = 10  # steps left out one after the other: more are no accident
_BACK = 3  # times that a run goes back to the same checkpoint
_NAMED = 5  # rows that a sentence names; the file has all


def attempt(job: Job, clock: Callable[[], float], positions_B: np.ndarray, steps: int) -> Generator[Event, None, Taken]:
    """One optimizer step on those rows that are not left out; one that is not finite is dealt with as the recipe says, and counts no loss."""
    state, policy, rows_N = job.state, job.recipe.train.non_finite, job.sides["train"].rows
    wanted = len(positions_B)
    if state.left_out:
        positions_B = positions_B[~np.isin(rows_N[positions_B], state.left_out)]
    if len(positions_B) < min(2, wanted):  # a batch of one has no spread to normalise by
        return _nothing()
    buffers = [] if policy == "stop" else [(b, b.clone()) for b in job.model.buffers() if b.is_floating_point()]
    taken = take(job, positions_B, steps)
    if taken.finite:
        state.in_a_row = 0
        return taken
    rows_B = rows_N[positions_B]
    file, named = job.record(state, taken, rows_B)
    state.skipped.append(state.step)
    state.in_a_row += 1
    back = sum(step >= state.anchor for step in state.skipped)
    hopeless = state.in_a_row > _IN_A_ROW or (policy == "rollback" and (back > _BACK or len(state.left_out) * 2 > len(rows_N)))
    if policy == "stop" or hopeless:
        raise InputError("train.diverged", f"step {state.step}", step=state.step, rate=f"{taken.rate:.3g}", rows=named, file=file)
    with torch.no_grad():
        for buffer, before in buffers:  # running means have seen the rows
            buffer.copy_(before)
    values = {"step": state.step, "rows": named, "file": file}
    if policy == "rollback":
        if job.writing:
            job.writing.result()
        state.left_out.extend(rows_B.tolist())
        yield Warned(state.step, clock(), "train.rolled-back", {**values, "back": job.go_back()})
    else:
        yield Warned(state.step, clock(), "train.skipped", values)
    return _nothing()


def _nothing() -> Taken:
    return Taken(Loss(0.0, 0.0), 0.0, 0.0, False)


def keeper(folder: Path, dataset: Dataset) -> Callable[[State, Taken, np.ndarray], tuple[str, str]]:
    """The `record` of a job: writes `folder/step-N.json` with every row of the batch and where in the user's files it stands."""

    def record(state: State, taken: Taken, rows_B: np.ndarray) -> tuple[str, str]:
        rows = [{"row": row, "origin": dataset.origin(row)} for row in rows_B.tolist()]
        file = folder / f"step-{state.step}.json"
        about = {"step": state.step, "epoch": state.epoch, "lr": taken.rate}
        folder.mkdir(exist_ok=True)
        write_json(file, {**about, "loss": str(float(taken.loss.total)), "norm": str(taken.norm), "rows": rows})
        more = ", ..." if len(rows) > _NAMED else ""
        return str(file), ", ".join(row["origin"] for row in rows[:_NAMED]) + more

    return record
