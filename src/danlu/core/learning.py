"""The parts of a recipe that say which weights change and how: each a choice of one, with the settings of that one."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from danlu.core.node import BY_METHOD, Choice, Node


class Adapt(Choice):
    """Which part of pretrained weights is trained."""

    own: ClassVar[dict[str, dict[str, Any]]] = {
        "full": {},
        "head": {},
        "last": {"layers": 2},
        "named": {"names": None},
        "gradual": {"every": 1},
        "lora": {"rank": 8},
        "dora": {"rank": 8},
        "ia3": {},
        "bottleneck": {"width": 64},
        "prompt": {"tokens": 20},
        "prefix": {"tokens": 20},
    }

    method: Literal["full", "head", "last", "named", "gradual", "lora", "dora", "ia3", "bottleneck", "prompt", "prefix"] = Field(
        "full",
        description="All of it, the head, the last layers, layers by name, one more layer each epoch; or, beside frozen weights, low-rank "
        "adapters (lora, dora), scales (ia3), bottleneck adapters, learned vectors before the text (prompt) or in each layer (prefix)",
    )
    layers: int | None = Field(None, ge=1, description="How many of the last layers last trains (2)", json_schema_extra=BY_METHOD)
    names: list[str] | None = Field(
        None, min_length=1, description="What named trains: patterns of names, or of their ends", json_schema_extra=BY_METHOD
    )
    every: int | None = Field(None, ge=1, description="Epochs until gradual trains one more layer (1)", json_schema_extra=BY_METHOD)
    rank: int | None = Field(None, ge=1, le=1024, description="Rank of the adapters of lora and dora (8)", json_schema_extra=BY_METHOD)
    width: int | None = Field(None, ge=1, le=4096, description="Width of the narrow layer of bottleneck (64)", json_schema_extra=BY_METHOD)
    tokens: int | None = Field(None, ge=1, le=1024, description="How many vectors prompt and prefix learn (20)", json_schema_extra=BY_METHOD)

    @model_validator(mode="after")
    def _has_names(self) -> Adapt:
        if self.method == "named" and not self.names:
            raise ValueError("the method named needs names")
        return self


class Optimizer(Choice):
    own: ClassVar[dict[str, dict[str, Any]]] = {
        "sgd": {"momentum": 0.9},
        "adam": {"betas": [0.9, 0.999]},
        "adamw": {"betas": [0.9, 0.999]},
        "adafactor": {},
        "rmsprop": {"momentum": 0.0},
        "adagrad": {},
        "lion": {"betas": [0.9, 0.99]},
        "muon": {"momentum": 0.95, "betas": [0.9, 0.999]},
    }

    name: Literal["adamw", "adam", "sgd", "adafactor", "rmsprop", "adagrad", "lion", "muon"] | None = Field(
        None, description="The optimizer; muon turns the weight matrices and kernels of hidden layers, AdamW beside it all the rest"
    )
    lr: float | None = Field(None, gt=0, lt=100, description="Peak learning rate")
    weight_decay: float | None = Field(
        None,
        ge=0,
        le=10,
        description="Decoupled from the gradient in adamw, adafactor, lion and muon, added to it in the others; none on norms and biases",
    )
    momentum: float | None = Field(
        None, ge=0, lt=1, description="Of sgd (0.9, with Nesterov), muon (0.95, with Nesterov) and rmsprop (0)", json_schema_extra=BY_METHOD
    )
    betas: list[float] | None = Field(
        None,
        description="Decay of the two averages of adam, adamw and muon's AdamW (0.9, 0.999) and of lion (0.9, 0.99)",
        json_schema_extra=BY_METHOD,
    )
    l1: float = Field(0.0, ge=0, le=10, description="Weights but norms and biases shrink towards 0 by this times the rate, and stay at it")
    layer_decay: float = Field(1.0, gt=0, le=1, description="Each layer's rate is this times that of the layer above it; the head's is whole")

    @field_validator("betas")
    @classmethod
    def _two(cls, value: list[float] | None) -> list[float] | None:
        if value is not None and not (len(value) == 2 and all(0 <= beta < 1 for beta in value)):
            raise ValueError("betas are two numbers at least 0 and below 1")
        return value


class Schedule(Choice):
    own: ClassVar[dict[str, dict[str, Any]]] = {
        "constant": {},
        "linear": {"final": 0.0},
        "cosine": {"final": 0.0},
        "cosine-restarts": {"parts": 3, "final": 0.0},
        "exponential": {"final": 0.01},
        "step": {"parts": 3, "factor": 0.1},
        "one-cycle": {"warmup": 0.3, "final": 4e-6},
        "wsd": {"decay": 0.2, "final": 0.0},
        "plateau": {"patience": 2, "factor": 0.3},
    }

    name: Literal["cosine", "linear", "constant", "step", "exponential", "cosine-restarts", "one-cycle", "wsd", "plateau"] = Field(
        "cosine", description="How the learning rate falls after warm-up; plateau: whenever the validation metric no longer gets better"
    )
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of all steps in which the learning rate rises; 0.3 for one-cycle")
    final: float | None = Field(None, ge=0, le=1, description="Share of the peak at the end (not step, plateau)", json_schema_extra=BY_METHOD)
    parts: int | None = Field(
        None, ge=2, le=1000, description="Equal parts after warm-up: step falls after each, cosine-restarts in each", json_schema_extra=BY_METHOD
    )
    factor: float | None = Field(None, gt=0, lt=1, description="What each fall of step and plateau multiplies by", json_schema_extra=BY_METHOD)
    decay: float | None = Field(None, gt=0, le=1, description="Share of the steps after warm-up in which wsd falls", json_schema_extra=BY_METHOD)
    patience: int | None = Field(None, ge=1, description="Evaluations without a better metric until plateau falls", json_schema_extra=BY_METHOD)

    @field_validator("final")
    @classmethod
    def _reached(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value == 0 and info.data.get("name") == "exponential":
            raise ValueError("an exponential never reaches 0")
        return value


class Clip(Choice):
    own: ClassVar[dict[str, dict[str, Any]]] = {"norm": {"limit": 1.0}, "value": {"limit": 1.0}, "none": {}}

    by: Literal["norm", "value", "none"] = Field("norm", description="What of the gradient is held below the limit: its norm, or each value")
    limit: float | None = Field(None, gt=0, description="Largest norm or value", json_schema_extra=BY_METHOD)


class Average(Choice):
    own: ClassVar[dict[str, dict[str, Any]]] = {"none": {}, "ema": {"decay": 0.999, "start": 0.0}, "swa": {"start": 0.75}}

    method: Literal["none", "ema", "swa"] = Field(
        "none", description="Whether averaged weights are judged and kept: moving average over steps, or mean over the ends of epochs"
    )
    decay: float | None = Field(None, ge=0, lt=1, description="Of the moving average (ema)", json_schema_extra=BY_METHOD)
    start: float | None = Field(None, ge=0, lt=1, description="Share of all steps before the first average", json_schema_extra=BY_METHOD)


class Adversarial(Node):
    epsilon: float = Field(0.0, ge=0, le=1000, description="Length by which each text's vectors are also moved for the worse (FGM); 0 for none")
