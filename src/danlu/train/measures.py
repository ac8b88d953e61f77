"""What a run cost: seconds by what they were spent on, memory, and how much of the machine's arithmetic went into rows.

Floating point operations are useful where they belong to real pieces of real rows: each is counted on rows of one length, which have no
padding, forward and backward. Nothing here runs while training does.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from danlu.core.stopwatch import Stopwatch
from danlu.nn import adapt
from danlu.train.machine import peak_memory
from danlu.train.peak import peak_flops
from danlu.train.step import forward

if TYPE_CHECKING:
    from danlu.train.loop import Job

STEP = (
    "data",
    "forward",
    "backward",
    "optimizer",
    "sync",
    "steps",
)  # of a stopwatch; the last is what lies between: plans, records, checkpoints
_SHORT = 5.0  # seconds of steps: measuring the machine for a shorter run is not worth its time
_LONG = 60.0  # seconds of steps after which the machine is measured anew: it may have been busy the last time
_LENGTHS = 5  # lengths of rows that are counted; those between are interpolated


def measures(job: Job) -> dict[str, Any]:
    """The part of `report.json` and of `train --json` that says what the run cost, over all resumes."""
    spent = job.watch.spent()
    stepping = sum(spent.get(name, 0.0) for name in STEP)
    found = {
        "timing": {
            "setup_s": round(spent.get("setup", 0.0), 3),
            "fit_s": round(spent.get("encode", 0.0) + stepping, 3),
            "evaluate_s": round(spent.get("evaluate", 0.0), 3),
        },
        "peak_memory_bytes": max(job.state.peak_memory, peak_memory()),
        "device": str(job.device),
        "precision": job.precision,
        "useful_flops_share": useful_share(job, stepping),
    }
    if job.device.type == "cuda":
        found["peak_device_bytes"] = torch.cuda.max_memory_allocated(job.device)
    return found


def useful_share(job: Job, seconds: float) -> float | None:
    """Useful operations of the optimizer steps in each second, as a share of the measured peak; None for a short run on an unmeasured machine."""
    peak = peak_flops(job.device, job.precision, measure=seconds >= _SHORT, anew=seconds >= _LONG)
    return round(useful_flops(job) * job.state.epoch / (seconds * peak * job.world.size), 4) if peak and seconds else None


def useful_flops(job: Job) -> float:
    """Floating point operations of one epoch's forward and backward passes over the training rows, padding left out."""
    job = replace(job, watch=Stopwatch(), precision="fp32")  # the count is the same, and without fused kernels this is the faster one
    examples = job.sides["train"].examples
    lengths_N = np.array([job.task.length(example) for example in examples])
    order_N = np.argsort(lengths_N, kind="stable")
    chosen = {int(lengths_N[i]): int(i) for i in order_N[np.linspace(0, len(order_N) - 1, _LENGTHS).astype(int)]}
    counted = [_count(job, position) for position in chosen.values()]
    return float(np.interp(lengths_N, list(chosen), counted).sum())


def _count(job: Job, position: int) -> float:
    """Operations of a training row: half of those of a batch that holds it twice, since a batch of one has no spread to normalise by."""
    buffers = [(buffer, buffer.detach().clone()) for buffer in job.model.buffers()]
    adapt.begin_epoch(job.model, job.recipe.model.adapt, job.state.epoch)
    # The fused kernels of attention and recurrence are not counted, what they stand for is.
    with (
        warnings.catch_warnings(action="ignore"),  # of mkldnn.flags, about hardware that has nothing to do with it
        FlopCounterMode(display=False) as counter,
        sdpa_kernel(SDPBackend.MATH),
        torch.backends.mkldnn.flags(enabled=False),
    ):
        forward(job, np.array([position, position])).total.backward()
    job.model.zero_grad(set_to_none=True)
    with torch.no_grad():
        for buffer, before in buffers:
            buffer.copy_(before)
    return counter.get_total_flops() / 2
