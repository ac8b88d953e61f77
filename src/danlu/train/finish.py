"""After the last step: judge the chosen weights, write the bundle, prove that it answers as they do, write the report."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

import danlu
from danlu.bundle import store
from danlu.bundle.card import card
from danlu.bundle.predictor import Predictor, outputs
from danlu.core.errors import ProofFailed
from danlu.core.events import Finished
from danlu.core.files import read_json
from danlu.evaluate import report as report_page
from danlu.evaluate.judge import judge
from danlu.nn.memory import release
from danlu.nn.model import parameter_count
from danlu.tasks.task import Task
from danlu.train.loop import Job
from danlu.train.measures import measures
from danlu.train.prepare import Prepared
from danlu.train.run import Run

_VERIFIED = 64  # rows on which the bundle must answer as the model in memory did
_BOUND = 1e-4  # of a probability


def finish(run: Run, prepared: Prepared, job: Job, trained: Job, finished: Finished, lang: str | None) -> None:
    """Judges the chosen weights, writes the bundle, proves that it answers as they do, and writes the report, last of all.

    `job` has the whole model, `trained` is what the loop turned.
    """
    job.watch.turn("evaluate")
    _let_go(trained)
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
            "model": {"architecture": _title(job), "parameters": parameter_count(model)},
        },
    )
    job.watch.turn("save")
    about = {
        "danlu": danlu.__version__,
        "task_name": job.recipe.task_name,
        "architecture": _title(job),
        "parameters": parameter_count(model),
        "labels": task.labels,
        "columns": prepared.dataset.fields if "text" in task.inputs.values() else {},
        "data": prepared.dataset.fingerprint,
        "created": report["created"],
        "metrics": report["metrics"],
    }
    store.save(run.bundle, task, model, about, card(report, model.adapter))
    _verify(run, task, judged, prepared)
    report_page.write(run.path, report | measures(trained), lang)


def _let_go(job: Job) -> None:
    """Frees what only training needed."""
    job.best = job.average = None
    job.optimizer.zero_grad(set_to_none=True)
    job.optimizer.state.clear()
    release()


def _verify(run: Run, task: Task, judged: dict[str, np.ndarray], prepared: Prepared) -> None:
    """The bundle on disk answers as the model in memory did, or ProofFailed."""
    for name, logits_NC in judged.items():
        examples = prepared.sides[name].examples[:_VERIFIED]
        again = Predictor(run.bundle, device="cpu").outputs(examples)
        gap = float(np.abs(task.probabilities(again) - task.probabilities(logits_NC[: len(examples)])).max())
        if gap > _BOUND:
            raise ProofFailed("train.bundle-differs", run.bundle, gap=f"{gap:.2g}")


def _title(job: Job) -> str:
    """The architecture's name, or for pretrained weights the class that transformers gives them."""
    return getattr(job.model, "title", "") or job.task.model.architecture or type(job.model).__name__
