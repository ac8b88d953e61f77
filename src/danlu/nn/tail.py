"""A model whose first stages are frozen, as the rest that learns: it starts from what those stages once said of each row."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from danlu.nn.model import Model

_DIGEST = "frozen_digest"


class Tail(Model):
    """The stages of `whole` from `first` on. Its state holds their tensors by the names they have in `whole`, and a digest of the frozen ones."""

    def __init__(self, whole: Model, first: int) -> None:
        super().__init__()
        self.whole, self.first = whole, first
        held = {id(t) for stage in whole.stages()[:first] for t in stage.state_dict(keep_vars=True).values()}
        self._frozen = [name for name, tensor in whole.state_dict(keep_vars=True).items() if id(tensor) in held]
        self.digest = _digest({name: tensor for name, tensor in whole.state_dict().items() if name in set(self._frozen)})

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.whole.run(batch, self.first)

    def stages(self) -> list[nn.Module]:
        return self.whole.stages()

    @property
    def padding_free(self) -> bool:
        return self.whole.padding_free

    def parameter_groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        return self.whole.parameter_groups(lr, weight_decay)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        frozen = set(self._frozen)
        own = {name: tensor for name, tensor in self.whole.state_dict(*args, **kwargs).items() if name not in frozen}
        return own | {_DIGEST: torch.frombuffer(bytearray(bytes.fromhex(self.digest)), dtype=torch.uint8)}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, **kwargs: Any) -> Any:
        """RuntimeError where a shape differs and, if `strict`, where a name does or where other weights were frozen."""
        given, own = dict(state_dict), self.state_dict()
        if strict and (given.keys() != own.keys() or not torch.equal(given[_DIGEST].cpu(), own[_DIGEST])):
            raise RuntimeError(f"{_DIGEST}: other weights stood before these")
        given.pop(_DIGEST, None)
        return self.whole.load_state_dict(given, strict=False, **kwargs)

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """By the names they have in `whole`."""
        return self.whole.named_parameters(*args, **kwargs)


def _digest(tensors: dict[str, Tensor]) -> str:
    """BLAKE2 over names, shapes and bytes."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in tensors.items():
        flat = tensor.detach().cpu().contiguous().view(-1)
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
    return digest.hexdigest()
