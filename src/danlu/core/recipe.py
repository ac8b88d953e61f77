"""The recipe: what was asked for, as a frozen tree of plain values. `None` means "the task decides"; a run keeps the resolved tree."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from danlu.core.learning import Adapt, Adversarial, Average, Clip, Optimizer, Schedule
from danlu.core.node import Node

Share = float | str
Metric = Literal["accuracy", "balanced_accuracy", "f1", "log_loss"]
_DEVICE = r"^(auto|cpu|cuda(:[0-9]{1,3})?)$"


class Split(Node):
    """How rows get their side. A share is cut by Danlu; a path names a file that is that side whole."""

    by: Literal["stratified", "random", "group", "time", "given"] | None = Field(
        None, description="How sides are chosen; by default the data's own split where it has one, else stratified"
    )
    column: str | None = Field(None, description="The column that holds the group, the time, or the side itself (by: given)")
    train: str | None = Field(None, description="A file or folder of training rows")
    validation: Share | None = Field(None, description="Share of rows held back for choosing, or a file; 0 for none")
    test: Share | None = Field(None, description="Share of rows held back for the final score, or a file; 0 for none")

    @field_validator("validation", "test")
    @classmethod
    def _share(cls, value: Share | None) -> Share | None:
        if isinstance(value, float) and not 0 <= value < 1:
            raise ValueError("a share is at least 0 and below 1")
        return value


class Data(Node):
    """Where the rows are and what they mean."""

    path: str | list[str] | None = Field(None, description="File, folder or archive, or a list of files")
    columns: dict[str, str | list[str]] = Field(
        default_factory=dict, description="Field to column name(s); several text columns are joined. Guessed where left out"
    )
    header: bool | None = Field(None, description="Whether tables begin with a line of column names; guessed where left out")
    split: Split = Field(default_factory=Split, description="How rows get their side: train, validation or test")
    augment: list[str] | None = Field(None, description="Steps of augmentation while training; the task's own by default, [] for none")


class Model(Node):
    """Weights to start from, or an architecture to start without any."""

    pretrained: str | None = Field(None, description="A transformers folder, a hub id, or a Danlu bundle or run")
    architecture: str | None = Field(None, description="An architecture by name (danlu models lists them), or module:Class")
    size: Literal["small", "base"] = Field("small", description="The size of an architecture from scratch")
    dropout: float | None = Field(
        None, ge=0, lt=1, description="Chance with which every dropout of the model zeroes a value; by default each has the architecture's own"
    )
    adapt: Adapt = Field(default_factory=Adapt, description="Which part of pretrained weights is trained")

    @model_validator(mode="after")
    def _one_start(self) -> Model:
        if self.pretrained and self.architecture:
            raise ValueError("pretrained and architecture exclude each other")
        if self.adapt.method != "full" and not self.pretrained:
            raise ValueError("adapt needs pretrained weights")
        return self


class EarlyStopping(Node):
    metric: Metric | None = Field(None, description="The validation metric that chooses the best weights; the task's own by default")
    patience: int | None = Field(None, ge=0, description="Evaluations without a better metric before stopping; 0 never stops early")


class Save(Node):
    every: float = Field(30, gt=0, description="How often a checkpoint is written")
    unit: Literal["seconds", "steps", "epochs"] = Field("seconds", description="What `every` counts")


class Train(Node):
    """How the weights are found."""

    epochs: int | None = Field(None, ge=1, le=100_000, description="Passes over the training rows")
    batch_size: int | None = Field(None, ge=1, le=1_000_000, description="Rows in an optimizer step")
    batch_tokens: int | None = Field(
        None,
        ge=1,
        le=100_000_000,
        description="Instead of batch_size: as many rows as hold so many pieces of text, padding counted where the model pads",
    )
    micro_batch: int | None = Field(None, ge=1, description="Rows in one forward pass; a step adds up as many as it needs. All at once by default")
    optimizer: Optimizer = Field(default_factory=Optimizer, description="The optimizer and its settings")
    schedule: Schedule = Field(default_factory=Schedule, description="The learning rate over time")
    early_stopping: EarlyStopping = Field(default_factory=EarlyStopping, description="When to stop and which weights to keep")
    clip: Clip = Field(default_factory=Clip, description="What keeps a gradient from being too large")
    average: Average = Field(default_factory=Average, description="Averaging of weights over time")
    adversarial: Adversarial = Field(default_factory=Adversarial, description="Learning from texts moved for the worse, too")
    checkpoint_activations: bool = Field(
        False, description="Compute each layer again in the backward pass instead of keeping it: less memory, more time, the same gradients"
    )
    non_finite: Literal["stop", "skip", "rollback"] = Field(
        "stop",
        description="What a loss or gradient that is no number does: ends the run, or leaves its step out, or also goes back to the last "
        "regular checkpoint (save.every steps, else the epoch's start) and leaves the batch's rows out for good",
    )
    packed: bool = Field(True, description="Lay the texts of a batch end to end where the model's attention allows it; false pads them")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="Number format of the forward pass")
    cache_limit: float | None = Field(
        None, ge=0, description="Gigabytes that what frozen layers say of the rows may take in the cache folder; 0 computes it at every step"
    )
    device: str = Field("auto", description="Where tensors live: auto, cpu, cuda", json_schema_extra={"pattern": _DEVICE})
    parallel: Literal["ddp", "fsdp"] = Field(
        "ddp", description="With several processes: each holds the whole model (ddp), or its share of it (fsdp), for models beyond one card"
    )
    threads: int | None = Field(None, ge=1, le=1024, description="CPU threads of each process; all cores by default")
    save: Save = Field(default_factory=Save, description="How often a checkpoint is written")
    listeners: list[Literal["tensorboard", "wandb", "mlflow"]] = Field(
        default_factory=lambda: ["tensorboard"], description="Who else hears of events"
    )

    @model_validator(mode="after")
    def _one_size(self) -> Train:
        if self.batch_size and self.batch_tokens:
            raise ValueError("batch_size and batch_tokens exclude each other")
        return self

    @field_validator("device")
    @classmethod
    def _known(cls, value: str) -> str:
        if not re.match(_DEVICE, value):
            raise ValueError("a device is auto cpu or cuda")
        return value


class Recipe(Node):
    """A recipe turns rows into a bundle."""

    task: str | dict[str, Any] = Field(description="The task's name, or {name: ..., its own options}")
    data: Data = Field(description="Where the rows are and what they mean")
    model: Model = Field(default_factory=Model, description="Weights to start from, or an architecture")
    train: Train = Field(default_factory=Train, description="How the weights are found")
    seed: int = Field(0, ge=0, lt=2**31, description="Every random draw follows from it")

    @field_validator("task")
    @classmethod
    def _named(cls, value: str | dict[str, Any]) -> str | dict[str, Any]:
        if isinstance(value, dict) and not isinstance(value.get("name"), str):
            raise ValueError("a task needs a name")
        return value

    @property
    def task_name(self) -> str:
        return self.task if isinstance(self.task, str) else self.task["name"]

    @property
    def task_options(self) -> dict[str, Any]:
        return {} if isinstance(self.task, str) else {k: v for k, v in self.task.items() if k != "name"}
