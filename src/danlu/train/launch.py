"""Several processes of one machine that train together, started, watched and ended as one. No torch is imported here.

Each process learns from its environment who it is, in torchrun's words: RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR,
MASTER_PORT. What is started here is also tied to this process by a pipe: when this one ends, however it ends, the others read its end.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, NamedTuple

from danlu.core.errors import ResourceError
from danlu.core.idle import cores

LOST = 75  # exit status of a process that lost contact with the others: it is silent, whoever watches says why
TIE, LISTEN = "DANLU_TIE", "DANLU_LISTEN"  # file descriptors: the pipe that closes with the launcher, the first process's socket
_GRACE = 10.0  # seconds that the others get to end by themselves once one has failed
_POLL = 0.05


class Place(NamedTuple):
    """Which of how many processes this is, in all and on this machine; (0, 1, 0, 1) for one that trains alone."""

    rank: int
    size: int
    local: int
    beside: int


def place() -> Place:
    """What this process was told by whoever started it."""
    told = os.environ
    if not all(told.get(name, "").isdecimal() for name in ("RANK", "WORLD_SIZE", "MASTER_PORT")) or int(told["WORLD_SIZE"]) < 2:
        return Place(0, 1, 0, 1)
    return Place(int(told["RANK"]), int(told["WORLD_SIZE"]), int(told.get("LOCAL_RANK", 0)), int(told.get("LOCAL_WORLD_SIZE", 1)))


def tie() -> None:
    """Ends this process as soon as the one that launched it has ended, however that came about."""
    handle = os.environ.pop(TIE, "")

    def wait() -> None:
        os.read(int(handle), 1)
        os._exit(LOST)

    if handle:
        threading.Thread(target=wait, daemon=True).start()


@dataclass
class _Child:
    """One started process. The first one speaks for all; what the others say is kept, should one of them be the reason of an end."""

    rank: int
    process: subprocess.Popen[bytes]
    out: IO[bytes] | None
    err: IO[bytes] | None


def launch(command: Sequence[str], processes: int) -> int:
    """Runs `command` in `processes` processes that know of each other; the exit code of the first, or of the one that failed.

    A process that dies ends the others within seconds: a ResourceError names it. Signals reach all of them, once.
    """
    with _together(command, processes) as children:
        failed = _watch(children)
        first = children[0].process.returncode
        return first if failed is None or 0 <= first < LOST else _explain(failed)


@contextmanager
def _together(command: Sequence[str], processes: int) -> Iterator[list[_Child]]:
    """The processes, started and tied to this one; none is left when the block ends."""
    children: list[_Child] = []
    heard, held = os.pipe()
    with ExitStack() as files, socket.create_server(("127.0.0.1", 0)) as listening, _passing_signals(children):
        try:
            for rank in range(processes):
                passed = (heard, listening.fileno()) if rank == 0 else (heard,)
                env = _environment(rank, processes, listening.getsockname()[1])
                env |= {TIE: str(heard), LISTEN: str(listening.fileno())}
                out, err = (None, None) if rank == 0 else (files.enter_context(tempfile.TemporaryFile()) for _ in range(2))
                process = subprocess.Popen(command, env=env, pass_fds=passed, start_new_session=True, stdout=out, stderr=err)
                children.append(_Child(rank, process, out, err))
            listening.close()
            yield children
        finally:
            for child in children:
                child.process.kill()
                child.process.wait()
            os.close(heard)
            os.close(held)


def _environment(rank: int, size: int, port: int) -> dict[str, str]:
    """The words of torchrun, the cores divided among the processes, and talk between them kept inside the machine."""
    loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), "")
    usual = {"OMP_NUM_THREADS": str(max(1, cores() // size)), **({"GLOO_SOCKET_IFNAME": loopback} if loopback else {})}
    who = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return {**usual, **os.environ, **{name: str(value) for name, value in who.items()}}


@contextmanager
def _passing_signals(children: list[_Child]) -> Iterator[None]:
    """SIGINT and SIGTERM go on to every process; a second one ends them all at once."""
    came: list[int] = []

    def hear(number: int, frame: object) -> None:
        came.append(number)
        for child in children:
            if child.process.poll() is None:
                child.process.send_signal(number if len(came) == 1 else signal.SIGKILL)

    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(children: list[_Child]) -> _Child | None:
    """Waits until all have ended; the one that failed first, by itself rather than by the loss of another where there was such a one."""
    failed: _Child | None = None
    until = float("inf")
    while running := [child for child in children if child.process.poll() is None]:
        if failed is None or failed.process.returncode == LOST:
            failed = _failure(children)
        if failed is not None:
            until = min(until, time.monotonic() + _GRACE)
        if time.monotonic() > until:
            for child in running:
                child.process.kill()
                child.process.wait()
            return failed
        time.sleep(_POLL)
    return failed if failed is not None and failed.process.returncode != LOST else _failure(children)


def _failure(children: list[_Child]) -> _Child | None:
    ended = [child for child in children if child.process.returncode]
    return min(ended, key=lambda child: child.process.returncode == LOST, default=None)


def _explain(failed: _Child) -> int:
    """Repeats what a process said that ended with an error of its own; ResourceError for one that died."""
    code = failed.process.returncode
    if 0 < code != LOST:
        for kept, stream in ((failed.out, sys.stdout), (failed.err, sys.stderr)):
            if kept is not None:
                kept.seek(0)
                stream.write(kept.read().decode("utf8", "replace"))
                stream.flush()
        return code
    raise ResourceError("train.rank-died", f"rank {failed.rank}", rank=failed.rank, how=_how(code))


def _how(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"exit {code}"
