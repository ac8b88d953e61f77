"""A world of several processes over torch.distributed: gloo between CPUs and for all that is decided, NCCL for tensors on GPUs.

Gradients are summed after the last micro-batch, in a few large pieces, and divided by the sum of counts as one process does
(docs/decisions/0007-gradients-are-summed-after-the-step.md says why not by DistributedDataParallel).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from danlu.core.errors import InputError, ResourceError
from danlu.core.randomness import key
from danlu.core.types import Loss
from danlu.nn.model import Model
from danlu.train.launch import LISTEN, Place
from danlu.train.shard import local
from danlu.train.world import World

T = TypeVar("T")
_BUCKET = 8_000_000  # values that are summed in one go: enough to fill a wire, little beside a model
_met: list[Any] = []  # the store that all processes share, and one name for each group made in it


class Ranks(World):
    """One of several processes; all of them call the same methods in the same order."""

    def __init__(self, here: Place) -> None:
        self.rank, self.size, self._local = here.rank, here.size, here.local
        self._device, self._open = torch.device("cpu"), True
        try:
            self._store = dist.PrefixStore(f"danlu-{len(_met)}", _meeting(here))
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
            dist.init_process_group(backend, store=self._store, rank=here.rank, world_size=here.size)
        except RuntimeError as error:
            raise ResourceError("train.no-contact", f"rank {here.rank}", size=here.size) from error

    def device(self, wished: torch.device) -> torch.device:
        if wished.type == "cuda":
            wished = torch.device("cuda", self._local)
            if self._local >= torch.cuda.device_count():
                raise InputError("train.no-device", f"rank {self.rank}", name=wished)
            torch.cuda.set_device(wished)
        self._device = wished
        return wished

    def alike(self, **facts: object) -> None:
        mine_F = torch.tensor([key(fact) for fact in facts.values()])
        all_RF = mine_F.new_empty(self.size, len(facts))
        dist.all_gather(list(all_RF.unbind()), mine_F)
        for rank, theirs_F in enumerate(all_RF):
            for name, differs in zip(facts, (theirs_F != all_RF[0]).tolist(), strict=True):
                if differs:
                    raise InputError("train.ranks-differ", f"rank {rank}", rank=rank, what=name)

    def told(self, value: T) -> T:
        said = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8) if self.leads else torch.empty(0, dtype=torch.uint8)
        length = torch.tensor(len(said))
        dist.broadcast(length, 0)
        said = said if self.leads else torch.empty(int(length), dtype=torch.uint8)
        dist.broadcast(said, 0)
        return json.loads(said.numpy().tobytes())

    def most(self, *numbers: int) -> list[int]:
        found = torch.tensor(numbers)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return found.tolist()

    def mine(self, parts: Sequence[np.ndarray]) -> list[tuple[int, np.ndarray, float]]:
        own = [(number, parts[number], 1.0) for number in range(self.rank, len(parts), self.size)]
        rounds = -(-len(parts) // self.size) if self.sharded else len(own)  # each pass through a sharded model needs everybody
        return own + [(len(parts) + self.rank, parts[0], 0.0)] * (rounds - len(own))

    def summed(self, model: Model, loss: Loss) -> Loss:
        if self.sharded:  # the backward pass has averaged them
            torch._foreach_mul_([local(p.grad) for p in model.parameters() if p.grad is not None], self.size)
        else:
            self._sum_gradients([p for p in model.parameters() if p.requires_grad])
        pair = torch.stack([torch.as_tensor(value, dtype=torch.float64, device=self._device).reshape(()) for value in loss])
        dist.all_reduce(pair)
        return Loss(*pair)

    def _sum_gradients(self, parameters: list[Tensor]) -> None:
        """A gradient that exists anywhere exists everywhere afterwards; one that exists nowhere stays None, as in one process."""
        exists = self.most(*(int(p.grad is not None) for p in parameters))
        for bucket in _buckets([p for p, found in zip(parameters, exists, strict=True) if found]):
            flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in bucket])
            dist.all_reduce(flat)
            for p, total in zip(bucket, flat.split([p.numel() for p in bucket]), strict=True):
                p.grad = torch.empty_like(p).copy_(total.view_as(p))  # laid out as the parameter: fused optimizers look at nothing else

    def share(self, count: int) -> np.ndarray:
        return np.arange(self.rank, self.rank + self.size * -(-count // self.size), self.size) % max(1, count)

    def gathered(self, part_MC: np.ndarray, count: int) -> np.ndarray:
        mine_MC = torch.from_numpy(part_MC)
        all_RMC = [torch.empty_like(mine_MC) for _ in range(self.size)]
        dist.all_gather(all_RMC, mine_MC)
        return torch.stack(all_RMC, dim=1).flatten(0, 1)[:count].numpy()

    def same(self, tensors: dict[str, Tensor] | None) -> dict[str, Tensor] | None:
        found = tensors or {}
        listed = self.told(None if tensors is None else [(name, str(t.dtype).removeprefix("torch."), list(t.shape)) for name, t in found.items()])
        if listed is None:
            return None
        given: dict[str, Tensor] = {}
        for name, kind, shape in listed:
            tensor = found[name].detach().cpu().contiguous() if self.leads else torch.empty(shape, dtype=getattr(torch, kind))
            if tensor.numel():
                dist.broadcast(tensor.reshape(-1).view(torch.uint8), 0)
            given[name] = tensor
        return given

    def level(self, tensors: Iterable[Tensor]) -> None:
        own = list(tensors)
        for tensor, first in zip(own, self.same({str(i): t for i, t in enumerate(own)}).values(), strict=True):
            tensor.data.copy_(first)

    def leave(self) -> None:
        if not self._open:
            return
        if self._store.add("leaving", 1) == self.size:
            self._store.set("left", "")
        self._store.wait(["left"])
        self.close()

    def close(self) -> None:
        if self._open:
            self._open = False
            dist.destroy_process_group()


def lost(error: RuntimeError) -> bool:
    """Whether it is the loss of another process that speaks."""
    return isinstance(error, dist.DistError) or any(word in str(error).lower() for word in ("gloo", "nccl", "closed by peer"))


def _meeting(here: Place) -> Any:
    """The store in which the processes find each other: torchrun's, or where Danlu launched them one on the socket it opened for that."""
    if not _met:
        if listening := os.environ.pop(LISTEN, ""):
            port = int(os.environ["MASTER_PORT"])
            extra = {"master_listen_fd": int(listening)} if here.rank == 0 else {}
            _met.append(dist.TCPStore("127.0.0.1", port, here.size, here.rank == 0, **extra))
        else:
            _met.append(next(dist.rendezvous("env://"))[0])
    _met.append(len(_met))
    return _met[0]


def _buckets(parameters: list[Tensor]) -> Iterator[list[Tensor]]:
    """Parameters in their order, of one type and of about `_BUCKET` values together."""
    bucket: list[Tensor] = []
    for p in parameters:
        if bucket and (p.dtype != bucket[0].dtype or sum(q.numel() for q in bucket) + p.numel() > _BUCKET):
            yield bucket
            bucket = []
        bucket.append(p)
    if bucket:
        yield bucket
