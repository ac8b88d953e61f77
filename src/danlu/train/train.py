"""`train` and `resume`: a recipe becomes a run. Everything here can be killed at any instant and taken up again.

Several processes may do this together; the first of them alone writes, listens and speaks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from danlu.core.errors import InputError, RefusedError, ResourceError
from danlu.core.events import Checked, Event, Finished, Warned
from danlu.core.files import disk_errors, write_json
from danlu.core.recipe import Recipe
from danlu.core.stopwatch import Stopwatch
from danlu.core.words import language
from danlu.nn import device
from danlu.nn.memory import out_of_memory
from danlu.train import checkpoint, non_finite
from danlu.train.checkpoint import State
from danlu.train.finish import finish
from danlu.train.graph import draw
from danlu.train.listeners import Listener, MLflow, Recorder, TensorBoard, Wandb
from danlu.train.loop import Job, Planned, loop
from danlu.train.machine import machine
from danlu.train.optim import make_optimizer
from danlu.train.prefix import boundary, default_limit, start_from_prefix
from danlu.train.prepare import Prepared, prepare
from danlu.train.profile import Profile
from danlu.train.profile import write as write_profile
from danlu.train.run import Run, create, locked, withdraw
from danlu.train.shard import can_shard, shard, step_by_tensor, whole
from danlu.train.signals import asked_to_stop
from danlu.train.start import few_rows, starting_model
from danlu.train.world import World, join


def train(
    recipe: Recipe,
    out: str | Path | None = None,
    name: str = "run",
    listen: Sequence[Callable[[Event], None]] = (),
    lang: str | None = None,
    profile: bool = False,
    planned: Planned | None = None,
) -> Run:
    """Trains, judges and writes the bundle and the report into a new run folder; returns when all is done. `profile` adds `profile/`.

    `planned`: see `loop`.
    """
    with join() as world:
        run = Run(world.told(str(create(recipe, out, name).path) if world.leads else ""))
        with _held(run, world):
            try:
                return _carry_out(run, recipe, world, listen, lang, profile, planned)
            except (InputError, RefusedError):
                if world.leads:
                    withdraw(run)
                raise


def resume(path: str | Path, listen: Sequence[Callable[[Event], None]] = (), lang: str | None = None, profile: bool = False) -> Run:
    """Continues a run to the same bits as if it had never stopped; a finished run is returned as it is."""
    with join() as world:
        run = Run(path)
        recipe = Recipe.model_validate(world.told(run.recipe.model_dump(mode="json") if world.leads else None))
        if world.told(run.finished):
            return run
        with _held(run, world):
            return _carry_out(run, recipe, world, listen, lang, profile)


@contextmanager
def _held(run: Run, world: World) -> Iterator[None]:
    """The run folder is this job's alone. Out of memory or out of disk, whoever meets it, is one ResourceError; what was saved is safe."""
    try:
        with locked(run) if world.leads else nullcontext(), disk_errors(run.path):
            yield
    except SafetensorError as error:  # it wraps the system's error in a text
        raise ResourceError("files.disk-full", run.path, path=run.path) from error
    except (MemoryError, RuntimeError) as error:
        if out_of_memory(error):
            raise ResourceError("train.out-of-memory", run.path) from error
        raise


def _carry_out(
    run: Run,
    recipe: Recipe,
    world: World,
    listen: Sequence[Callable[[Event], None]],
    lang: str | None,
    profile: bool,
    planned: Planned | None = None,
) -> Run:
    prepared = prepare(recipe, Profile() if profile else Stopwatch())
    if world.leads:
        _same_data(run, prepared)
    listen = listen if world.leads else ()
    for hear in listen:
        hear(Checked(0, 0.0, tuple(prepared.contract.lines(language()))))
    full, job, finished = fit(run, prepared, world, listen, planned)
    world.leave()
    if world.leads and profile:
        write_profile(run.path, job, lang)
    if world.leads:
        finish(run, prepared, full, job, finished, lang)
    return run


def fit(
    run: Run, prepared: Prepared, world: World, listen: Sequence[Callable[[Event], None]], planned: Planned | None = None
) -> tuple[Job, Job, Finished]:
    """From the newest checkpoint, if there is one, to the chosen weights; the job of the whole model, that which the loop turned, the last event."""
    full, notes = make_job(run, prepared, world)
    prepared.watch.turn("encode")
    job, more = start_from_prefix(full)
    prepared.watch.turn("setup")
    warnings = [*_said(notes + more), *_take_up(run, job)]
    finished = _drive(run, job, full, listen, chain(warnings, loop(job, planned)))
    if job.best is not None:
        job.model.load_state_dict(job.best)
    if world.sharded:
        _put_together(job, prepared)
    return full, job, finished


def make_job(run: Run, prepared: Prepared, world: World) -> tuple[Job, list[dict[str, Any]]]:
    """All that is decided before the first step, written into the run's recipe; what the user should know of it."""
    recipe = prepared.recipe
    threads = device.settle(_threads(run, recipe, world))
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"threads": threads})})
    model, notes = starting_model(prepared, recipe)
    if recipe.train.batch_tokens and not model.padding_free:
        notes.append({"key": "train.tokens-padded"})
    where = world.device(device.pick_device(recipe.train.device))
    world.alike(data=prepared.dataset.fingerprint, recipe=checkpoint.settings(recipe), device=where.type)
    world.level(model.state_dict().values())
    precision = world.told(device.pick_precision(recipe.train.precision, model, where))
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"precision": precision})})
    if world.size > 1 and recipe.train.parallel == "fsdp":
        can_shard(recipe.train.optimizer)
        rows = few_rows(prepared)
        shard(model, where, world.size, lambda model: model(rows))
        world.sharded = True
    else:
        model.to(where)
    if recipe.train.cache_limit is None and not world.sharded and boundary(model):
        recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"cache_limit": world.told(default_limit())})})
    if world.leads:
        run.write_recipe(recipe)
        notes += _on_this_machine(run, machine(where, threads) | {"processes": world.size})
    optimizer = make_optimizer(model, recipe.train.optimizer)
    if world.sharded:
        step_by_tensor(optimizer)
    state = State(data=prepared.dataset.fingerprint)
    job = Job(recipe, prepared.task, model, optimizer, prepared.sides, where, precision, state, world, prepared.watch)
    if world.leads:
        job.record = non_finite.keeper(run.path / "non-finite", prepared.dataset)
    return job, notes


def _threads(run: Run, recipe: Recipe, world: World) -> int | None:
    """Those of the recipe, unless a resumed run divided the cores among another number of processes."""
    before = run.read("machine.json", "threads").get("processes", 1) if world.leads and (run.path / "machine.json").exists() else world.size
    return recipe.train.threads if world.told(before) == world.size else None


def _put_together(job: Job, prepared: Prepared) -> None:
    """Gives the first process the whole of a divided model."""
    weights = {name: whole(tensor).cpu() for name, tensor in job.model.state_dict().items()}
    if job.world.leads:
        job.model, _ = starting_model(prepared, job.recipe)
        job.model.load_state_dict(weights)
        job.model.to(job.device)


def _same_data(run: Run, prepared: Prepared) -> None:
    """Writes `data.json` the first time; later, data that is no longer the same is an InputError."""
    file = run.path / "data.json"
    if file.exists():
        if run.read("data.json", "fingerprint")["fingerprint"] != prepared.dataset.fingerprint:
            raise InputError("train.data-changed", run.path, path=run.path)
        return
    write_json(file, {**prepared.dataset.describe(), "contract": prepared.contract.as_json()})


def _on_this_machine(run: Run, now: dict[str, Any]) -> list[dict[str, Any]]:
    """Writes `machine.json`; a note where the run began on a machine that may round otherwise, with another number of threads say."""
    file, notes = run.path / "machine.json", []
    if file.exists():
        before = run.read("machine.json", "packages")
        pairs = {name: (before.get(name, now[name]), now[name]) for name in ("processor", "threads", "device", "processes")}
        pairs["torch"] = (before["packages"].get("torch"), now["packages"]["torch"])
        changes = [f"{name} {was} -> {is_now}" for name, (was, is_now) in pairs.items() if was != is_now]
        notes = [{"key": "train.other-machine", "changes": ", ".join(changes)}] if changes else []
    write_json(file, now)
    return notes


def _said(notes: list[dict[str, Any]]) -> list[Warned]:
    return [Warned(0, 0.0, note["key"], {name: value for name, value in note.items() if name != "key"}) for note in notes]


def _take_up(run: Run, job: Job) -> list[Warned]:
    """Fills the job from the newest whole checkpoint, if there is one; what the user should know about damaged ones."""
    world = job.world
    if world.leads:
        checkpoint.sweep(run.checkpoints)
    newest, damaged = checkpoint.newest(run.checkpoints) if world.leads else (None, [])
    if path := world.told(str(newest or "")):
        state, tensors = _filled(job, Path(path))
        if state.data != job.state.data:
            raise RefusedError("train.checkpoint-differs", path, path=path)
        job.state, job.best, job.average = state, tensors.best, tensors.average
        job.watch.add(state.spent)
    return [Warned(job.state.step, job.state.seconds, "train.damaged-checkpoint", {"path": str(bad)}) for bad in damaged]


def _filled(job: Job, path: Path) -> tuple[State, checkpoint.Tensors]:
    """Model and optimizer of every process filled from the checkpoint at `path`; its state, and its tensors as theirs are."""
    world = job.world
    state, tensors = checkpoint.read(path, job.recipe) if world.leads else (State(), checkpoint.Tensors({}, {}))
    state = State(**world.told(asdict(state)))
    return state, checkpoint.restore(path, checkpoint.Tensors(*map(world.same, tensors)), job.model, job.optimizer)


def _go_back(run: Run, job: Job) -> int:
    """Puts the weights of the last regular checkpoint back, or of the newest whole one where the disk has damaged it; its step."""
    path: Path | None = run.checkpoints / f"step-{job.state.anchor}"
    if job.world.leads and not checkpoint.intact(path):
        path = checkpoint.newest(run.checkpoints)[0]
        if path is None:
            raise ResourceError("files.disk-error", run.checkpoints, path=run.checkpoints)
    state, tensors = _filled(job, Path(job.world.told(str(path))))
    job.average, job.state.averaged = tensors.average, state.averaged
    return state.step


def _drive(run: Run, job: Job, full: Job, listen: Sequence[Callable[[Event], None]], events: Iterator[Event]) -> Finished:
    """Runs the loop's `events` with everyone listening; the final event. Training that had already ended only says so."""
    recorder = Recorder(run.path / "events.jsonl", job.state.events) if job.world.leads else None
    listeners: list[Callable[[Event], None]] = [recorder, *_listeners(run, job, full), *listen] if recorder else []
    if recorder and recorder.missing:
        cut = {"path": str(run.path / "events.jsonl"), "bytes": recorder.missing}
        events = chain([Warned(job.state.step, job.state.seconds, "train.cut-record", cut)], events)
    writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")

    def save(waited: bool) -> Future[Path] | None:
        if recorder is None and not job.world.sharded:
            return None
        tensors = checkpoint.collect(job.model, job.optimizer, job.best, job.average, copy=not waited)
        if recorder is None:
            return None
        job.state.events = recorder.position()
        return writer.submit(checkpoint.save, run.checkpoints, deepcopy(job.state), job.recipe, tensors)

    job.save, job.go_back = save, lambda: _go_back(run, job)
    finished: Finished | None = None
    try:
        with asked_to_stop() as job.asked_to_stop:
            for event in events:
                finished = event if isinstance(event, Finished) else finished
                for hear in listeners:
                    hear(event)
    finally:
        writer.shutdown()  # waits for a checkpoint under way, however the loop ended
        job.watch.close()
        for hear in listeners:
            if close := getattr(hear, "close", None):
                close()
    return finished


def _listeners(run: Run, job: Job, full: Job) -> list[Listener]:
    """Those that the recipe names; the graph is that of the full model."""
    made: list[Listener] = []
    for name in job.recipe.train.listeners:
        if name == "tensorboard":
            drawing = None if job.world.sharded else lambda writer: draw(writer, full)
            made.append(TensorBoard(run.path / "tensorboard", job.state.step, drawing))
        else:
            made.append({"wandb": Wandb, "mlflow": MLflow}[name](run.path, job.recipe))
    return made
