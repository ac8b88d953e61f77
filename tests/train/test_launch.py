"""Processes started together end together. What they run here is no training, so that every way to end is tried in a moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from danlu.core.errors import ResourceError
from danlu.train import launch as launching
from danlu.train.launch import LOST, Place, launch, place

RANK = "import os, signal, sys, time; rank = int(os.environ['RANK']); "


def run(code: str, processes: int = 2) -> int:
    return launch([sys.executable, "-c", RANK + code], processes)


def gone(process: int) -> bool:
    """Whether it has ended, or is only waiting to be noticed by its parent."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def test_each_knows_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    assert place() == Place(0, 1, 0, 1)
    told = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_PORT": "1"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert place() == Place(3, 4, 1, 2)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert place() == Place(0, 1, 0, 1)


def test_all_well(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("print('rank', rank, os.environ['WORLD_SIZE'], os.environ['LOCAL_RANK'])", 3) == 0
    assert capfd.readouterr().out == "rank 0 3 0\n"


def test_the_first_speaks_for_all(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("print('the same mistake', file=sys.stderr); sys.exit(2)") == 2
    assert capfd.readouterr().err == "the same mistake\n"


def test_an_error_of_another_is_repeated(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(f"sys.exit({LOST}) if rank == 0 else (print('mine alone', file=sys.stderr), sys.exit(4))") == 4
    assert capfd.readouterr().err == "mine alone\n"


@pytest.mark.parametrize("rank", [0, 1])
def test_a_death_ends_the_others_and_is_named(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching, "_GRACE", 0.3)
    with pytest.raises(ResourceError) as caught:
        run(f"os.kill(os.getpid(), signal.SIGKILL) if rank == {rank} else time.sleep(60)")
    assert caught.value.values == {"rank": rank, "how": "SIGKILL"}


def test_lost_contact_without_a_death_ends_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching, "_GRACE", 0.3)
    with pytest.raises(ResourceError):
        run(f"sys.exit({LOST}) if rank == 1 else time.sleep(60)")


def test_a_finished_training_is_finished() -> None:
    """The first may go on alone when the others are done."""
    assert run("time.sleep(0.5) if rank == 0 else None") == 0


LAUNCHER = "import sys; from danlu.train.launch import launch; sys.exit(launch([sys.executable, '-c', sys.argv[1]], 2))"
WAITING = "open(os.path.join({folder!r}, str(rank)), 'w').write(str(os.getpid())); time.sleep(60)"


def waiting(folder: Path, code: str) -> tuple[subprocess.Popen[bytes], list[int]]:
    """A launcher and the two processes that it started."""
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER, RANK + code + WAITING.format(folder=str(folder))])
    deadline = time.monotonic() + 60
    while not all((folder / rank).exists() and (folder / rank).read_text() for rank in "01"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return launcher, [int((folder / rank).read_text()) for rank in "01"]


def test_a_signal_reaches_all_of_them_once(tmp_path: Path) -> None:
    launcher, ranks = waiting(tmp_path, "signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143)); ")
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(30) == 143
    assert all(map(gone, ranks))


def test_no_orphans(tmp_path: Path) -> None:
    """The launcher is killed, and can tell nobody."""
    launcher, ranks = waiting(tmp_path, "from danlu.train.launch import tie; tie(); ")
    assert not any(map(gone, ranks))
    launcher.kill()
    launcher.wait()
    deadline = time.monotonic() + 30
    while not all(map(gone, ranks)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_one_process_alone_needs_nothing_of_this() -> None:
    code = "import sys, torch; before = set(sys.modules); import danlu.train.train; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "danlu.train.world" in done.stdout
    assert "danlu.train.ranks" not in done.stdout
    assert "torch.distributed" not in done.stdout


def test_no_handle_is_left() -> None:
    before = os.listdir("/proc/self/fd")
    run("pass")
    assert len(os.listdir("/proc/self/fd")) == len(before)
