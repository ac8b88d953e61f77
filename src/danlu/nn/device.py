"""Where tensors live and in which precision the forward pass runs. Rules, not measurements: the same machine always gets the same answer."""

from __future__ import annotations

import ctypes
import os
from contextlib import AbstractContextManager, nullcontext

import torch

from danlu.core.errors import InputError
from danlu.core.idle import cores
from danlu.nn.model import Model

_MMAP_MAX, _TRIM_THRESHOLD, _TOP_PAD = -4, -1, -2  # of mallopt(3)
_WIDE = 256  # a transformer at least this wide gains from bf16 on CPUs that multiply it natively


def pick_device(name: str) -> torch.device:
    """`auto` is a GPU where there is one. InputError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise InputError("train.no-device", name, name=name)
    return device


def pick_precision(name: str, model: Model, device: torch.device) -> str:
    """`auto` is bf16 on GPUs that have it, and on CPUs with native bf16 for wide attention models and convolutions; else fp32."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if (model.bf16_on_cpu or getattr(model, "width", 0) >= _WIDE) and _native_bf16() else "fp32"


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """The context of a forward pass in `precision`."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()


def settle(threads: int | None) -> int:
    """Fixes the number of CPU threads and deterministic algorithms, so that the same command gives the same bits; the number."""
    wished = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    torch.set_num_threads(threads or (int(wished) if wished.isdecimal() else 0) or cores())
    _keep_memory()
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing here reads what it has not written
    torch.backends.cudnn.benchmark = False
    return torch.get_num_threads()


def _keep_memory() -> None:
    """Tells glibc to keep what it has: by default it gives large blocks back to the system and fetches them again at every step."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        for parameter, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 2**28)):
            libc.mallopt(parameter, value)
    except (OSError, AttributeError):  # another system, another allocator
        return


def _native_bf16() -> bool:
    try:
        with open("/proc/cpuinfo", encoding="utf8") as file:
            flags = file.read()
        return "avx512_bf16" in flags or "amx_bf16" in flags
    except OSError:
        return False
