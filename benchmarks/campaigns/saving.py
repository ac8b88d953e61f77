"""What a checkpoint costs a run: what training waits for the copies, and what the thread that writes takes from it.

    python benchmarks/campaigns/saving.py [PRETRAINED, a transformers folder; a transformer of size base where left out]

Every weight is trained with AdamW on all cores, and best weights are kept too. `share` is that of the default interval: (processor seconds
of the copies + those of the write / cores) / `train.save.every`, which a busy machine changes little. `share_on_the_clock` is what steps
were really slower by, and means something on an idle machine only.
Writes `benchmarks/results/DATE-saving.json`.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from statistics import median

sys.path.extend([str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "tests")])

import numpy as np
import tiny
import torch
from result import keep

from danlu.api import recipe_of
from danlu.core.recipe import Save
from danlu.nn.model import parameter_count
from danlu.train import checkpoint, step
from danlu.train.checkpoint import State
from danlu.train.loop import Job
from danlu.train.optim import make_optimizer
from danlu.train.prepare import prepare
from danlu.train.start import starting_model

SAVES, ALONE = 5, 20


def make(folder: Path, pretrained: str | None) -> Job:
    task = "text-classification"
    recipe = tiny.recipe(task, tiny.write(task, folder))
    recipe["model"] = {"pretrained": pretrained} if pretrained else {"architecture": "transformer", "size": "base"}
    prepared = prepare(recipe_of(recipe))
    model, _ = starting_model(prepared, prepared.recipe)
    optimizer = make_optimizer(model, prepared.recipe.train.optimizer)
    return Job(prepared.recipe, prepared.task, model, optimizer, prepared.sides, torch.device("cpu"), "fp32", State())


def one_step(job: Job) -> float:
    began = time.monotonic()
    step.take(job, np.arange(16), 1000)
    job.state.step += 1
    return time.monotonic() - began


def write(folder: Path, state: State, job: Job, tensors: checkpoint.Tensors) -> tuple[float, float]:
    """Seconds on the clock and of the processor."""
    began, cpu = time.monotonic(), time.thread_time()
    checkpoint.save(folder, state, job.recipe, tensors)
    return time.monotonic() - began, time.thread_time() - cpu


def saved(job: Job, folder: Path, writer: ThreadPoolExecutor, best: dict[str, torch.Tensor]) -> tuple[dict[str, float], list[float]]:
    """Seconds of the copies and of the write, and of each step taken meanwhile."""
    began, cpu = time.monotonic(), time.thread_time()
    tensors = checkpoint.collect(job.model, job.optimizer, best)
    waited, waited_cpu = time.monotonic() - began, time.thread_time() - cpu
    writing, steps = writer.submit(write, folder, deepcopy(job.state), job, tensors), []
    while not writing.done():
        steps.append(one_step(job))
    written, written_cpu = writing.result()
    return {"copies_s": waited, "copies_cpu_s": waited_cpu, "write_s": written, "write_cpu_s": written_cpu}, steps


def main(pretrained: str | None = None) -> None:
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(1) as writer:
        job = make(Path(place), pretrained)
        best = {name: tensor.clone() for name, tensor in job.model.state_dict().items()}
        one_step(job)
        costs, meanwhile, alone = [], [], []
        for _ in range(SAVES):
            alone += [one_step(job) for _ in range(ALONE // SAVES)]
            cost, steps = saved(job, Path(place) / "checkpoints", writer, best)
            costs, meanwhile = [*costs, cost], meanwhile + steps
        path, _ = checkpoint.newest(Path(place) / "checkpoints")
        size = sum(file.stat().st_size for file in path.iterdir())
    cost = {name: round(median(one[name] for one in costs), 4) for name in costs[0]}
    every, slower = Save().every, max(0.0, 1 - median(alone) / median(meanwhile))
    result = {
        "load": os.getloadavg()[0],
        "parameters": parameter_count(job.model),
        "checkpoint_bytes": size,
        **cost,
        "step_s": round(median(alone), 4),
        "step_while_writing_s": round(median(meanwhile), 4),
        "interval_s": every,
        "share_on_the_clock": round((cost["copies_s"] + cost["write_s"] * slower) / every, 4),
        "share": round((cost["copies_cpu_s"] + cost["write_cpu_s"] / cores) / every, 4),
    }
    print(result, "->", keep("saving", result))


if __name__ == "__main__":
    main(*sys.argv[1:])
