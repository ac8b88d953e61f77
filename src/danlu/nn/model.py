"""What every architecture is: a module that takes a batch of tensors, names its stages and knows its names on disk."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from danlu.core.errors import InputError


class Model(nn.Module):
    """An architecture. `forward` takes a dict of tensors with a first axis B and gives logits [B, C] in evaluation order of rows."""

    sizes: ClassVar[tuple[str, ...]] = ("small", "base")
    bf16_on_cpu: ClassVar[bool] = False  # whether training gains from bf16 on CPUs that multiply it natively
    prefix: ClassVar[str] = ""  # of tensors' names in memory, which names on disk lack
    packs: bool = True  # whether a text model may lay the rows of a batch end to end instead of padding them
    adapter: dict[str, Any] | None = None  # what adapting added and weights cannot hold, as a bundle records it

    reads: ClassVar[tuple[str, ...]] = ()  # fields of an example that later stages read beside what the stage before them gave

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits [B, C]. In evaluation mode the answer for a row does not depend on the other rows of the batch."""
        return self.run(batch)

    def run(self, batch: dict[str, Tensor], first: int = 0, last: int | None = None) -> Tensor:
        """Stages `first` to `last - 1`: a whole forward pass is that of its first stages and then, with their answer as `batch["inner"]`,
        that of the others. Before the head stands only what the head reads.
        """
        stages = self.stages()
        x = batch["inner"] if first else self.enter(batch)
        for number, stage in list(enumerate(stages))[first:last]:
            x = self.step(stage, x, batch)
            if number == len(stages) - 2:
                x = self.pool(x, batch)
        return x

    def enter(self, batch: dict[str, Tensor]) -> Any:
        """What the first stage is given."""
        return batch

    def step(self, stage: nn.Module, x: Any, batch: dict[str, Tensor]) -> Tensor:
        """One stage of `stages()` applied to what the one before it gave."""
        return stage(x)

    def pool(self, x: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """What the head reads of the last stage before it."""
        return x

    def inner_lengths(self, batch: dict[str, Tensor], first: int) -> Tensor | None:
        """How much of axis 1 of the input of stage `first` belongs to each row, int64 [B]; None where all of it does."""
        return None

    @property
    def cuts(self) -> bool:
        """Whether `run` can begin and end between stages; an architecture with a forward pass of its own is run whole."""
        return type(self).forward is Model.forward

    @abstractmethod
    def stages(self) -> list[nn.Module]:
        """The model from input to output as modules that hold all its parameters; the last one is the head, the layers that depend on the labels."""

    def settle(self) -> list[dict[str, Any]]:
        """Called when the weights are in place: tries what can only be tried with them. What the user should know, as {"key": ..., values}."""
        return []

    def add_prompt(self, count: int) -> None:
        """Puts `count` learned vectors before the pieces of every row (Lester et al. 2021, arXiv 2104.08691)."""
        raise InputError("adapt.no-attention", "model.adapt", method="prompt")

    def add_prefix(self, count: int) -> None:
        """Puts `count` learned keys and values before those of every row in every layer (Li, Liang 2021, arXiv 2101.00190)."""
        raise InputError("adapt.no-attention", "model.adapt", method="prefix")

    @classmethod
    @abstractmethod
    def example_facts(cls) -> dict[str, Any]:
        """Facts of a nominal configuration: `cls(classes, size, **example_facts())` is what `danlu models` counts and the tests build."""

    @classmethod
    @abstractmethod
    def example_batch(cls, n: int) -> dict[str, Tensor]:
        """Inputs of `n` rows that fit `example_facts`: all different, of unequal length where lengths may differ, equal at every call."""

    @property
    def padding_free(self) -> bool:
        """Whether a batch costs the sum of its rows' lengths, as rows laid end to end do. No matter of the device, so that batches are none."""
        return False

    @property
    def head(self) -> nn.Module:
        return self.stages()[-1]

    @property
    def embedding(self) -> nn.Module | None:
        """The layer that turns the pieces of a text, `batch["ids"]`, into vectors; None where nothing is looked up."""
        return None

    def parameter_groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """Trained parameters as the optimizer's groups: no decay on norms, biases and other vectors. A group may set its own `lr`."""
        trained = [p for p in self.parameters() if p.requires_grad]
        vectors = [p for p in trained if is_vector(p)]
        others = {id(p) for p in vectors}
        groups = [
            {"params": [p for p in trained if id(p) not in others], "weight_decay": weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]

    def weights(self) -> dict[str, Tensor]:
        """All tensors by their name on disk."""
        return {name.removeprefix(self.prefix): tensor for name, tensor in self.state_dict().items()}

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Take tensors by their name on disk; a missing, extra or misshapen one is a RuntimeError that names it."""
        self.load_state_dict({self.prefix + name: tensor for name, tensor in weights.items()}, strict=True)


def is_vector(p: nn.Parameter) -> bool:
    """Whether a parameter belongs to a norm, a bias or another vector, which no decay shrinks."""
    return p.ndim <= 1 or getattr(p, "is_scale", False)


def running_statistics(model: nn.Module) -> list[Tensor]:
    """The tensors that a forward pass changes while training: what batch norm counts and averages."""
    norms = [module for module in model.modules() if isinstance(module, _NormBase) and module.track_running_stats and module.training]
    return [tensor for norm in norms for tensor in norm.buffers(recurse=False)]


def parameter_count(model: nn.Module) -> int:
    """All parameters, trained or not."""
    return sum(p.numel() for p in model.parameters())


def transplant(body: Model, donor: dict[str, Tensor]) -> list[str]:
    """Copy every tensor of `donor` (by name on disk) that is not part of the head; the names that were copied. Mismatch: RuntimeError."""
    head = {id(t) for t in [*body.head.parameters(), *body.head.buffers()]}
    own = dict(body.weights())
    in_head = {name for name, tensor in own.items() if _is_any(tensor, head, body)}
    wanted = [name for name in own if name not in in_head]
    missing = [name for name in wanted if name not in donor or donor[name].shape != own[name].shape]
    if missing:
        raise RuntimeError(", ".join(missing[:3]))
    with torch.no_grad():
        for name in wanted:
            own[name].copy_(donor[name])
    return wanted


def _is_any(tensor: Tensor, ids: set[int], body: nn.Module) -> bool:
    """Whether a state-dict tensor shares memory with one of the modules' tensors named by id."""
    return any(tensor.data_ptr() == t.data_ptr() for t in [*body.parameters(), *body.buffers()] if id(t) in ids and t.numel())
