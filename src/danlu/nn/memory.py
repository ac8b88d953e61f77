"""What to do when memory runs out: free what the failed attempt held and try again with fewer rows at a time."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")
_SAID = (  # of a RuntimeError, by the allocators of the systems, by C++ and by oneDNN, which has no other word for it
    "not enough memory",
    "can't allocate memory",
    "std::bad_alloc",
    "could not create a memory object",
    "could not create a primitive",
)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, whoever noticed."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _SAID)


def halving(attempt: Callable[[int], T], rows: int) -> tuple[T, int]:
    """`attempt(rows)`, with half as many rows at a time for as long as memory does not suffice; its value and that number of rows.

    What does not fit row by row either is the error as it came.
    """
    while True:
        try:
            return attempt(rows), rows
        except Exception as error:
            if rows <= 1 or not out_of_memory(error):
                raise
        release()  # here the error is gone, and with it the frames that held the attempt's tensors
        rows = (rows + 1) // 2


def release() -> None:
    """Gives back what nothing refers to any more, so that blocks of other sizes may be cut from it."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):  # another system, another allocator
        return
