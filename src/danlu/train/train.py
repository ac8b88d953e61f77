"""`train` and `resume`: a recipe becomes a run. Everything here can be killed at any instant and taken up again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError

import danlu
from danlu.bundle import folder as bundle_folder
from danlu.bundle import store
from danlu.bundle.card import card
from danlu.bundle.predictor import Predictor, outputs
from danlu.core.errors import InputError, ProofFailed, ResourceError
from danlu.core.events import Event, Finished, Warned
from danlu.core.files import disk_errors, read_json, write_json
from danlu.core.recipe import Recipe
from danlu.evaluate import report as report_page
from danlu.evaluate.judge import judge
from danlu.nn import adapt, device
from danlu.nn.model import Model, parameter_count, transplant
from danlu.tasks.task import Task
from danlu.train import checkpoint
from danlu.train.checkpoint import State
from danlu.train.graph import draw
from danlu.train.listeners import Listener, MLflow, Recorder, TensorBoard, Wandb
from danlu.train.loop import Job, loop
from danlu.train.machine import machine
from danlu.train.optim import make_optimizer
from danlu.train.prepare import Prepared, prepare
from danlu.train.run import Run, create, locked
from danlu.train.signals import asked_to_stop

_VERIFIED = 64  # rows on which the bundle must answer as the model in memory did


def train(
    recipe: Recipe,
    out: str | Path | None = None,
    name: str = "run",
    listen: Sequence[Callable[[Event], None]] = (),
    lang: str | None = None,
) -> Run:
    """Trains, judges and writes the bundle and the report into a new run folder; returns when all is done."""
    run = create(recipe, out, name)
    with locked(run), _resources(run, recipe):
        return _carry_out(run, recipe, listen, lang)


def resume(path: str | Path, listen: Sequence[Callable[[Event], None]] = (), lang: str | None = None) -> Run:
    """Continues a run to the same bits as if it had never stopped; a finished run is returned as it is."""
    run = Run(path)
    recipe = run.recipe
    if run.finished:
        return run
    with locked(run), _resources(run, recipe):
        return _carry_out(run, recipe, listen, lang)


@contextmanager
def _resources(run: Run, recipe: Recipe) -> Iterator[None]:
    """Out of memory or out of disk, whoever meets it, is one ResourceError; what was saved is safe."""
    try:
        with disk_errors(run.path):
            yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise ResourceError("train.out-of-memory", run.path, batch=recipe.train.batch_size or "") from error
    except SafetensorError as error:  # it wraps the system's error in a text
        raise ResourceError("files.disk-full", run.path, path=run.path) from error
    except RuntimeError as error:
        if "not enough memory" in str(error):
            raise ResourceError("train.out-of-memory", run.path, batch=recipe.train.batch_size or "") from error
        raise


def _carry_out(run: Run, recipe: Recipe, listen: Sequence[Callable[[Event], None]], lang: str | None) -> Run:
    prepared = prepare(recipe)
    recipe = prepared.recipe
    _same_data(run, prepared)
    threads = device.settle(recipe.train.threads)
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"threads": threads})})
    torch.manual_seed(recipe.seed)
    model, where, precision = _model(prepared, recipe)
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"precision": precision})})
    run.write_recipe(recipe)
    write_json(run.path / "machine.json", machine(where, threads))
    job = Job(recipe, prepared.task, model, make_optimizer(model, recipe.train.optimizer), prepared.sides, where, precision, State())
    warnings = _take_up(run, job)
    finished = _drive(run, job, listen, warnings)
    if job.best is not None:
        model.load_state_dict(job.best)
    _finish(run, prepared, job, finished, lang)
    return run


def _same_data(run: Run, prepared: Prepared) -> None:
    """Writes `data.json` the first time; later, data that is no longer the same is an InputError."""
    file = run.path / "data.json"
    if file.exists():
        if read_json(file)["fingerprint"] != prepared.dataset.fingerprint:
            raise InputError("train.data-changed", run.path, path=run.path)
        return
    write_json(file, {**prepared.dataset.describe(), "contract": prepared.contract.as_json()})


def _model(prepared: Prepared, recipe: Recipe) -> tuple[Model, torch.device, str]:
    """The model on its device with its starting weights and its trained part chosen, and the precision of the forward pass."""
    base = recipe.model.pretrained
    model = prepared.task.build()
    if base and bundle_folder.is_bundle(base):
        folder = bundle_folder.find(base)
        try:
            transplant(model, store.read_weights(folder / bundle_folder.WEIGHTS, folder))
        except RuntimeError as error:
            raise InputError("train.body-differs", base, path=base, names=str(error)) from error
    elif base:
        from danlu.nn.pretrained import load_body

        load_body(model, base)
    where = device.pick_device(recipe.train.device)
    if base:
        adapt.apply(model, recipe.model.adapt)
    model.to(where)
    return model, where, device.pick_precision(recipe.train.precision, model, where)


def _take_up(run: Run, job: Job) -> list[Warned]:
    """Fills the job from the newest whole checkpoint, if there is one; what the user should know about damaged ones."""
    path, damaged = checkpoint.newest(run.checkpoints)
    if path is not None:
        job.state, job.best = checkpoint.restore(path, job.model, job.optimizer)
    return [Warned(job.state.step, job.state.seconds, "train.damaged-checkpoint", {"path": str(bad)}) for bad in damaged]


def _drive(run: Run, job: Job, listen: Sequence[Callable[[Event], None]], warnings: list[Warned]) -> Finished:
    """Runs the loop with everyone listening; the final event. Training that had already ended only says so."""
    recorder = Recorder(run.path / "events.jsonl", job.state.events)
    listeners: list[Callable[[Event], None]] = [recorder, *_listeners(run, job), *listen]

    def save() -> Path:
        job.state.events = recorder.position()
        return checkpoint.save(run.checkpoints, job.state, job.model, job.optimizer, job.best)

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


def _finish(run: Run, prepared: Prepared, job: Job, finished: Finished, lang: str | None) -> None:
    """Judges the chosen weights, writes the bundle, proves that it answers as they do, and writes the report, last of all."""
    task, model = prepared.task, job.model
    judged = {
        name: outputs(task, model, side.examples, job.device) for name, side in prepared.sides.items() if name != "train" and len(side.rows)
    }
    looks = run.look("train") if "test" in judged else 0
    report = judge(
        prepared.dataset,
        task,
        prepared.sides,
        {name: task.probabilities(logits_NC) for name, logits_NC in judged.items()},
        {
            "contract": prepared.contract,
            "recipe": job.recipe.model_dump(mode="json"),
            "events": run.events(),
            "machine": read_json(run.path / "machine.json"),
            "looks": looks,
            "seconds": finished.seconds,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "model": {"architecture": architecture_of(job), "parameters": parameter_count(model)},
        },
    )
    about = {
        "danlu": danlu.__version__,
        "task_name": job.recipe.task_name,
        "architecture": architecture_of(job),
        "parameters": parameter_count(model),
        "labels": task.labels,
        "columns": prepared.dataset.fields if "text" in task.inputs.values() else {},
        "data": prepared.dataset.fingerprint,
        "created": report["created"],
        "metrics": report["metrics"],
    }
    store.save(run.bundle, task, model, about, card(report))
    _verify(run, task, judged, prepared)
    report_page.write(run.path, report, lang)


def _verify(run: Run, task: Task, judged: dict[str, np.ndarray], prepared: Prepared) -> None:
    """The bundle on disk answers as the model in memory did, or ProofFailed."""
    for name, logits_NC in judged.items():
        examples = prepared.sides[name].examples[:_VERIFIED]
        again = Predictor(run.bundle, device="cpu").outputs(examples)
        gap = float(np.abs(task.probabilities(again) - task.probabilities(logits_NC[: len(examples)])).max())
        if gap > 1e-4:
            raise ProofFailed("train.bundle-differs", run.bundle, gap=f"{gap:.2g}")


def architecture_of(job: Job) -> str:
    """The architecture's name, or for pretrained weights the class that transformers gives them."""
    return getattr(job.model, "title", "") or job.task.model.architecture or type(job.model).__name__
