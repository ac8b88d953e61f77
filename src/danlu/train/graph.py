"""What TensorBoard shows beside the curves: the model's graph and a few training rows as the model sees them."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from danlu.bundle.predictor import to_device
from danlu.train.loop import Job

_SHOWN = 8


class _Flat(nn.Module):
    """A model that takes its batch as positional tensors, as tracing wants them."""

    def __init__(self, model: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.model(dict(zip(self.names, tensors, strict=True)))


def draw(writer: Any, job: Job) -> None:
    """Writes graph and examples; a model that cannot be traced gets no graph, and nothing else changes."""
    side = job.sides["train"]
    examples = side.examples[:_SHOWN]
    for number, (row, example) in enumerate(zip(side.rows, examples, strict=False)):
        writer.add_text(f"examples/{number}", f"row {row}: {job.task.show(example)}", 0)
        if "image" in example:
            writer.add_image(f"pictures/{number}", example["image"], 0)
        if "audio" in example:
            writer.add_audio(
                f"sounds/{number}",
                torch.as_tensor(example["audio"]).float()[None] / 32768,
                0,
                sample_rate=getattr(job.task, "rate", 16_000),
            )
    batch = {k: v for k, v in to_device(job.task.collate(examples[:2]), job.device).items() if k != "target"}
    was = job.model.training
    try:
        with warnings.catch_warnings(), torch.random.fork_rng():
            warnings.simplefilter("ignore")
            flat, inputs = _Flat(job.model.eval(), list(batch)), tuple(batch.values())
            writer.add_graph(torch.jit.trace(flat, inputs, check_trace=False), inputs)  # a check would run the model twice more
    except Exception:  # tracing is a courtesy: a model that it cannot follow trains all the same
        writer.add_text("graph", "this model cannot be traced", 0)
    finally:
        job.model.train(was)
