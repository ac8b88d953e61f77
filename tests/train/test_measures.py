"""What a run says of its cost: time is divided without remainder, and only what rows need counts as useful arithmetic."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
import tiny
import torch
from test_step import job_of, job_of_prepared

import danlu.api
from danlu.core.stopwatch import Stopwatch
from danlu.train import measures, peak
from danlu.train.loop import Job
from danlu.train.prepare import prepare


def resolve(dotted: str) -> object:
    try:
        return import_module(dotted)
    except ModuleNotFoundError:
        module, _, name = dotted.rpartition(".")
        return getattr(import_module(module), name)


def job_with(task: str, architecture: str, folder: Path) -> Job:
    recipe = tiny.recipe(task, tiny.write(task, folder)) | {"model": {"architecture": architecture}}
    return job_of_prepared(prepare(danlu.api.recipe_of(recipe)))


def test_a_stopwatch_divides_time_without_remainder(monkeypatch):
    now = [10.0]
    monkeypatch.setattr("danlu.core.stopwatch.time.monotonic", lambda: now[0])
    watch = Stopwatch()
    for doing, seconds in (("encode", 1.0), ("setup", 2.0), ("steps", 4.0), ("encode", 8.0)):
        now[0] += seconds
        watch.turn(doing)
    now[0] += 16.0
    watch.add({"steps": 100.0})
    assert watch.spent() == {"setup": 1.0 + 4.0, "encode": 2.0 + 16.0, "steps": 8.0 + 100.0}
    assert watch.spent() == watch.spent()


def test_time_is_given_to_what_it_was_spent_on(tmp_path, monkeypatch):
    """Each part made to last 50 seconds by a clock that jumps in it."""
    late = [0.0]
    clock = Stopwatch.__init__.__globals__["time"].monotonic
    monkeypatch.setattr("danlu.core.stopwatch.time.monotonic", lambda: clock() + late[0])

    def slow(target: str, seconds: float) -> None:
        module, _, name = target.rpartition(".")
        real = getattr(resolve(module), name)
        monkeypatch.setattr(target, lambda *args, **kwargs: (late.__setitem__(0, late[0] + seconds), real(*args, **kwargs))[1])

    for target, seconds in (
        ("danlu.data.contract._encode", 100.0),  # three sides
        ("danlu.train.train.starting_model", 7000.0),
        ("danlu.train.non_finite.take", 10000.0),
        ("danlu.train.loop.validation_metrics", 500000.0),
        ("danlu.train.finish.judge", 3000000.0),
        ("danlu.train.finish.store.save", 50000000.0),
    ):
        slow(target, seconds)
    task = "text-classification"
    run = danlu.train(tiny.recipe(task, tiny.write(task, tmp_path), epochs=2, batch_size=32), out=tmp_path / "run", progress=False)
    steps = run.events()[-1]["step"]
    expected = {"setup_s": 7000, "fit_s": 300 + 10000 * steps, "evaluate_s": 2 * 500000 + 3000000}
    assert run.summary()["timing"] == pytest.approx(expected, abs=60)


def test_a_resumed_run_adds_up(tmp_path, monkeypatch):
    task, seen = "text-classification", []
    recipe = tiny.recipe(task, tiny.write(task, tmp_path), epochs=2, save={"every": 1, "unit": "steps"})

    def dies(self: object, event: object) -> None:
        seen.append(event)
        if len(seen) == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch:
        patch.setattr("danlu.train.listeners.Recorder.__call__", dies)
        danlu.train(recipe, out=tmp_path / "run", progress=False)
    stored = sorted((tmp_path / "run" / "checkpoints").glob("step-*/state.json"))[-1]
    text = stored.read_text(encoding="utf8")
    assert '"encode": ' in text
    assert '"steps": ' in text
    assert danlu.resume(tmp_path / "run", progress=False).summary()["timing"]["fit_s"] > 0


def test_operations_are_those_of_the_layers(tmp_path):
    """Two operations for every weight forward, two for its gradient and two for what it was multiplied with, save in the first layer."""
    prepared = prepare(
        danlu.api.recipe_of(
            {**tiny.recipe("image-classification", tiny.write("image-classification", tmp_path)), "model": {"architecture": "mlp"}}
        )
    )
    job = job_of_prepared(prepared)
    sizes = [p.numel() for p in job.model.parameters() if p.ndim == 2]
    assert measures.useful_flops(job) == len(job.sides["train"].rows) * (6 * sum(sizes) - 2 * sizes[0])
    assert all(p.grad is None for p in job.model.parameters())


@pytest.mark.parametrize("architecture", ["transformer", "lstm"])
def test_padding_is_not_useful(architecture, tmp_path):
    """A row costs what it costs alone. Attention and recurrence, whose fused kernels hide their arithmetic, are seen."""
    prepared = prepare(
        danlu.api.recipe_of(
            {**tiny.recipe("text-classification", tiny.write("text-classification", tmp_path)), "model": {"architecture": architecture}}
        )
    )
    job = job_of_prepared(prepared)
    train, lengths = job.sides["train"], [job.task.length(example) for example in job.sides["train"].examples]
    weights = sum(p.numel() for name, p in job.model.named_parameters() if p.ndim == 2 and "embed" not in name and "positions" not in name)
    useful = measures.useful_flops(job)
    assert 0.9 * 6 * weights * sum(lengths) < useful < 1.5 * 6 * weights * sum(lengths)
    assert useful < 0.95 * len(train.rows) * measures._count(job, lengths.index(max(lengths)))


def test_counting_leaves_the_model_as_it_was(tmp_path):
    job = job_of("image-classification", tmp_path)  # it normalises by batch
    before = {name: tensor.clone() for name, tensor in job.model.state_dict().items()}
    measures.useful_flops(job)
    assert all(torch.equal(tensor, before[name]) for name, tensor in job.model.state_dict().items())


def test_the_peak_is_measured_once_and_only_where_it_pays(tmp_path, monkeypatch):
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path / "cache"))
    speeds = iter([3.0, 2.0, 5.0, 7.0])
    monkeypatch.setattr(peak, "_measure", lambda *_: next(speeds))
    cpu = torch.device("cpu")
    assert peak.peak_flops(cpu, "fp32", measure=False) is None
    assert peak.peak_flops(cpu, "fp32", measure=True) == 3.0
    assert peak.peak_flops(cpu, "fp32", measure=False) == 3.0
    assert peak.peak_flops(cpu, "fp32", measure=True, anew=True) == 3.0  # slower: the machine was busy
    assert peak.peak_flops(cpu, "fp32", measure=True, anew=True) == 5.0
    assert peak.peak_flops(cpu, "bf16", measure=False) is None
    (tmp_path / "cache" / "peak.json").write_text("[1", encoding="utf8")
    assert peak.peak_flops(cpu, "fp32", measure=True) == 7.0


def test_a_product_of_matrices_is_timed():
    assert 1e8 < peak._measure(torch.device("cpu"), "fp32") < 1e14


def test_the_share_follows_from_operations_seconds_and_peak(tmp_path, monkeypatch):
    job = job_of("text-classification", tmp_path)
    job.state.epoch = 3
    monkeypatch.setattr(measures, "peak_flops", lambda *_, **__: 1e9)
    assert measures.useful_share(job, 2.0) == pytest.approx(measures.useful_flops(job) * 3 / 2e9, abs=1e-4)
    monkeypatch.setattr(measures, "peak_flops", lambda *_, **__: None)
    assert measures.useful_share(job, 2.0) is None
