"""How fast this machine multiplies matrices: the peak that a run's arithmetic is compared with. Measured once, kept in the cache folder."""

from __future__ import annotations

import time
from contextlib import suppress

import torch
from torch.nn.functional import linear

from danlu.core.cache import cache_folder
from danlu.core.errors import DanluError
from danlu.core.files import read_json, write_json
from danlu.train.machine import machine

_FILE = "peak.json"
_SECONDS = 0.3
_SIZES = {"cpu": (512, 1024), "cuda": (4096, 8192)}  # of square matrices; which one is fastest differs between machines


def peak_flops(device: torch.device, precision: str, measure: bool, anew: bool = False) -> float | None:
    """Floating point operations per second of the fastest product of matrices in `precision`, with the threads that torch has now.

    What was measured before counts. Where nothing was: None, unless `measure` is true. `anew` measures again and keeps the larger number.
    """
    known = _known()
    facts = machine(device, torch.get_num_threads())
    name = ", ".join(
        str(fact) for fact in (facts["processor"], facts["device"], f"{facts['threads']} threads", torch.__version__, precision)
    )
    if (name in known and not anew) or not measure:
        return known.get(name)
    known[name] = max(known.get(name, 0.0), _measure(device, precision))
    with suppress(DanluError, OSError):
        cache_folder().mkdir(parents=True, exist_ok=True)
        write_json(cache_folder() / _FILE, known)
    return known[name]


def _known() -> dict[str, float]:
    try:
        return {str(name): float(value) for name, value in read_json(cache_folder() / _FILE).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _measure(device: torch.device, precision: str) -> float:
    sizes = _SIZES[device.type]
    return max(_fastest(device, torch.bfloat16 if precision == "bf16" else torch.float32, size) for size in sizes)


def _fastest(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """The best of many products of one size within an equal share of the time."""
    left, right = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(2))
    best, end = float("inf"), time.perf_counter() + _SECONDS / len(_SIZES[device.type])
    with torch.inference_mode():
        linear(left, right)
        while best == float("inf") or time.perf_counter() < end:
            _wait(device)
            start = time.perf_counter()
            linear(left, right)
            _wait(device)
            best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
