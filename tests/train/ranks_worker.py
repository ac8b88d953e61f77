"""One of several processes: trains the jobs of a JSON file one after the other, in one group of processes."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from danlu.core.errors import InputError, Stopped
from danlu.core.recipe import Recipe
from danlu.nn import adapt
from danlu.train import non_finite
from danlu.train.launch import place
from danlu.train.train import resume, train


def stop_at(step: int, rank: int) -> None:
    """Sends this process SIGTERM in its step `step`, if it is number `rank`."""
    take = non_finite.take

    def taken(job, *rest):
        if place().rank == rank and job.state.step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return take(job, *rest)

    non_finite.take = taken


for number, job in enumerate(json.loads(Path(sys.argv[1]).read_text())):
    take, begin_epoch = non_finite.take, adapt.begin_epoch
    if job.get("still"):  # no dropout
        adapt.begin_epoch = lambda model, *rest: model.eval()
    if job.get("stop"):
        stop_at(*job["stop"])
    try:
        if job.get("seeds"):
            job["recipe"]["seed"] = job["seeds"][place().rank]
        if job.get("recipe"):
            train(Recipe.model_validate(job["recipe"]), job["out"])
        else:
            resume(job["out"])
    except Stopped as stopped:
        Path(f"{sys.argv[1]}-{number}-{place().rank}").write_text(f"{stopped.exit_code} {stopped.values['step']}")
    except InputError as error:
        Path(f"{sys.argv[1]}-{number}-{place().rank}").write_text(error.message)
    non_finite.take, adapt.begin_epoch = take, begin_epoch
