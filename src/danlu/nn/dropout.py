"""Dropout (Srivastava et al. 2014) whose random numbers cost next to nothing on a CPU.

Torch draws one random number for each value, one after the other; that was 18% of a bf16 training step. Here sixteen random bits
decide on each value, four values to a 64-bit draw of SFC64, and zeroing is a bitwise `and` with the value's own bits. The generator is
seeded by one draw of torch's, so `torch.manual_seed` decides everything, as it does for torch's own dropout.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import dropout as torch_dropout

_LEVELS = 1 << 15
BITS = {torch.float32: torch.int32, torch.bfloat16: torch.int16, torch.float16: torch.int16}  # whole numbers as wide as
WIDTH = {torch.float32: 32, torch.bfloat16: 16, torch.float16: 16}  # in bits


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Zeroes each value with chance `p` (kept to 1 in 32,768) and divides the others by what is left; in evaluation `x` itself."""
    if not training or p == 0.0:
        return x
    if x.device.type != "cpu" or x.dtype not in BITS or p >= 1.0 or not x.numel():
        return torch_dropout(x, p, training)
    return _Dropped.apply(x, p)


class Dropout(nn.Dropout):
    """`nn.Dropout` by `dropout`."""

    def forward(self, input: Tensor) -> Tensor:  # torch's own name for it
        return dropout(input, self.p, self.training)


def replace_dropout(model: nn.Module) -> None:
    """Puts `Dropout` in the place of every `nn.Dropout` inside `model`, another library's."""
    for module in model.modules():
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, Dropout(child.p))


def set_dropout(model: nn.Module, p: float) -> bool:
    """Gives every dropout of `model` the chance `p`; whether there is any."""
    found = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    for module in found:
        module.p = p
    return bool(found)


def draw() -> int:
    """A seed for `keep_bits`, from torch's own generator."""
    return int(torch.randint(2**62, (1,)))


def keep_bits(like: Tensor, p: float, seed: int) -> tuple[Tensor, float]:
    """Whole numbers in the shape and width of `like`, all bits set where a value stays and none where it goes; the scale of those that stay."""
    signs, scale = keep_signs(like, p, seed)
    return signs.bitwise_right_shift_(WIDTH[like.dtype] - 1), scale


def keep_signs(like: Tensor, p: float, seed: int) -> tuple[Tensor, float]:
    """Whole numbers in the shape and width of `like`, negative where a value stays; the scale of those that stay."""
    kept = min(_LEVELS, max(1, round((1 - p) * _LEVELS)))
    draws = np.random.SFC64(seed).random_raw(-(-like.numel() // 4))
    signs = torch.from_numpy(draws).view(torch.int16)[: like.numel()]
    signs.bitwise_and_(_LEVELS - 1).sub_(kept)  # below 0 where the draw is below `kept`
    return signs.to(BITS[like.dtype]).view(like.shape), _LEVELS / kept


def masked(x: Tensor, bits: Tensor, scale: float) -> Tensor:
    """A new tensor: `x` times `scale` where the bits are set, else 0."""
    return (x.contiguous().view(bits.dtype) & bits).view(x.dtype).mul_(scale)


class _Dropped(torch.autograd.Function):
    """The mask is kept as bits."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        bits, ctx.scale = keep_bits(x, p, draw())
        ctx.save_for_backward(bits)
        return masked(x, bits, ctx.scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return masked(grad, ctx.saved_tensors[0], ctx.scale), None
