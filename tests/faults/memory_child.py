"""A process whose memory is limited while it trains: `memory_child.py RECIPE OUT MEGABYTES [STEP]`. It ends as a crash would after STEP.

With 0 megabytes everything that the process still holds free is taken as well.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path


def limit(megabytes: int) -> None:
    """No more address space than there is now and so many megabytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + megabytes * 2**20, resource.RLIM_INFINITY))


def hoard() -> list[bytearray]:
    """Blocks of a megabyte until there is no more."""
    blocks = []
    try:
        while True:
            blocks.append(bytearray(2**20))
    except MemoryError:
        return blocks


def main(recipe: str, out: str, megabytes: str, last: str = "0") -> int:
    import sklearn.linear_model
    import sklearn.metrics  # noqa: F401

    import danlu
    from danlu.core.errors import DanluError
    from danlu.train.train import train

    held = []

    def hear(event: object) -> None:
        name = type(event).__name__
        if name == "Started":
            limit(int(megabytes))
            held.extend([] if int(megabytes) else hoard())
        if name == "Finished":  # judging loads libraries
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        if name == "Saved" and event.step == int(last):
            os._exit(9)

    try:
        train(danlu.api.recipe_of(recipe), out, listen=[hear])
    except DanluError as error:
        print(error.code)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
