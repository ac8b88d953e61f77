"""`train` and `resume`: a recipe becomes a run. Everything here can be killed at any instant and taken up again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from danlu.core.errors import InputError, RefusedError, ResourceError
from danlu.core.events import Checked, Event, Finished, Warned
from danlu.core.files import disk_errors, write_json
from danlu.core.recipe import Recipe
from danlu.core.words import language
from danlu.nn import device
from danlu.train import checkpoint
from danlu.train.checkpoint import State
from danlu.train.finish import finish
from danlu.train.graph import draw
from danlu.train.listeners import Listener, MLflow, Recorder, TensorBoard, Wandb
from danlu.train.loop import Job, loop
from danlu.train.machine import machine
from danlu.train.optim import make_optimizer
from danlu.train.prepare import Prepared, prepare
from danlu.train.run import Run, create, locked, withdraw
from danlu.train.signals import asked_to_stop
from danlu.train.start import starting_model


def train(
    recipe: Recipe,
    out: str | Path | None = None,
    name: str = "run",
    listen: Sequence[Callable[[Event], None]] = (),
    lang: str | None = None,
) -> Run:
    """Trains, judges and writes the bundle and the report into a new run folder; returns when all is done."""
    run = create(recipe, out, name)
    with locked(run), _resources(run):
        try:
            return _carry_out(run, recipe, listen, lang)
        except (InputError, RefusedError):
            withdraw(run)
            raise


def resume(path: str | Path, listen: Sequence[Callable[[Event], None]] = (), lang: str | None = None) -> Run:
    """Continues a run to the same bits as if it had never stopped; a finished run is returned as it is."""
    run = Run(path)
    recipe = run.recipe
    if run.finished:
        return run
    with locked(run), _resources(run):
        return _carry_out(run, recipe, listen, lang)


@contextmanager
def _resources(run: Run) -> Iterator[None]:
    """Out of memory or out of disk, whoever meets it, is one ResourceError; what was saved is safe."""
    try:
        with disk_errors(run.path):
            yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise ResourceError("train.out-of-memory", run.path) from error
    except SafetensorError as error:  # it wraps the system's error in a text
        raise ResourceError("files.disk-full", run.path, path=run.path) from error
    except RuntimeError as error:
        if "not enough memory" in str(error) or "can't allocate memory" in str(error):  # as the allocators of the systems say it
            raise ResourceError("train.out-of-memory", run.path) from error
        raise


def _carry_out(run: Run, recipe: Recipe, listen: Sequence[Callable[[Event], None]], lang: str | None) -> Run:
    prepared = prepare(recipe)
    recipe = prepared.recipe
    _same_data(run, prepared)
    for hear in listen:
        hear(Checked(0, 0.0, tuple(prepared.contract.lines(language()))))
    threads = device.settle(recipe.train.threads)
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"threads": threads})})
    model, notes = starting_model(prepared, recipe)
    if recipe.train.batch_tokens and not model.padding_free:
        notes.append({"key": "train.tokens-padded"})
    where = device.pick_device(recipe.train.device)
    model.to(where)
    precision = device.pick_precision(recipe.train.precision, model, where)
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"precision": precision})})
    run.write_recipe(recipe)
    write_json(run.path / "machine.json", machine(where, threads))
    job = Job(recipe, prepared.task, model, make_optimizer(model, recipe.train.optimizer), prepared.sides, where, precision, State())
    warnings = [*_said(notes), *_take_up(run, job)]
    finished = _drive(run, job, listen, warnings)
    if job.best is not None:
        model.load_state_dict(job.best)
    finish(run, prepared, job, finished, lang)
    return run


def _same_data(run: Run, prepared: Prepared) -> None:
    """Writes `data.json` the first time; later, data that is no longer the same is an InputError."""
    file = run.path / "data.json"
    if file.exists():
        if run.read("data.json", "fingerprint")["fingerprint"] != prepared.dataset.fingerprint:
            raise InputError("train.data-changed", run.path, path=run.path)
        return
    write_json(file, {**prepared.dataset.describe(), "contract": prepared.contract.as_json()})


def _said(notes: list[dict[str, Any]]) -> list[Warned]:
    return [Warned(0, 0.0, note["key"], {name: value for name, value in note.items() if name != "key"}) for note in notes]


def _take_up(run: Run, job: Job) -> list[Warned]:
    """Fills the job from the newest whole checkpoint, if there is one; what the user should know about damaged ones."""
    path, damaged = checkpoint.newest(run.checkpoints)
    if path is not None:
        job.state, beside = checkpoint.restore(path, job.recipe, job.model, job.optimizer)
        job.best, average = beside["best"], beside["average"]
        job.average = average and {name: tensor.to(job.device) for name, tensor in average.items()}
    return [Warned(job.state.step, job.state.seconds, "train.damaged-checkpoint", {"path": str(bad)}) for bad in damaged]


def _drive(run: Run, job: Job, listen: Sequence[Callable[[Event], None]], warnings: list[Warned]) -> Finished:
    """Runs the loop with everyone listening; the final event. Training that had already ended only says so."""
    recorder = Recorder(run.path / "events.jsonl", job.state.events)
    listeners: list[Callable[[Event], None]] = [recorder, *_listeners(run, job), *listen]

    def save() -> Path:
        job.state.events = recorder.position()
        return checkpoint.save(run.checkpoints, job.state, job.recipe, job.model, job.optimizer, {"best": job.best, "average": job.average})

    job.save = save
    finished: Finished | None = None
    try:
        with asked_to_stop() as job.asked_to_stop:
            for event in chain(warnings, loop(job)):
                finished = event if isinstance(event, Finished) else finished
                for hear in listeners:
                    hear(event)
    finally:
        for hear in listeners:
            if close := getattr(hear, "close", None):
                close()
    return finished


def _listeners(run: Run, job: Job) -> list[Listener]:
    """Those that the recipe names."""
    made: list[Listener] = []
    for name in job.recipe.train.listeners:
        if name == "tensorboard":
            made.append(TensorBoard(run.path / "tensorboard", job.state.step, lambda writer: draw(writer, job)))
        else:
            made.append({"wandb": Wandb, "mlflow": MLflow}[name](run.path, job.recipe))
    return made
