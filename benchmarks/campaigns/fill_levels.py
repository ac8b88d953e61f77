"""A disk that fills up at many levels: the run must end with exit code 3 and one sentence, and lose no checkpoint.

On a tmpfs of 64 MB a file takes all but so much room, from none to nearly what the run needs. Where training ends for lack of it, every checkpoint
that the log calls saved must be whole; then room is made, and the run, resumed, must hold by hash what one that had room enough holds.

    python benchmarks/campaigns/fill_levels.py [LEVELS, 50 by default]

Mounts the tmpfs in a name space of its own (`unshare`). Every command is a process of its own, forked after torch was imported.
Writes `benchmarks/results/DATE-fill-levels.json`.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

sys.path.extend([str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "tests")])

import tiny
from outcome import kept, outcome, saved
from result import keep

import danlu.train.train  # noqa: F401  (torch, before the forks)
from danlu.api import recipe_of
from danlu.cli.main import run as command
from danlu.train.run import Run, to_yaml

SIZE, BLOCK = 64 << 20, 4096
TASK, INSIDE = "text-classification", "DANLU_IN_SMALL_DISK"


def enter(argv: list[str]) -> None:
    """Starts this script again in a name space in which it may mount. Does not return."""
    words = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, __file__, *argv]
    os.execvpe("unshare", words, os.environ | {INSIDE: "1"})


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    if os.spawnvp(os.P_WAIT, "mount", ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]) != 0:
        raise SystemExit("this machine lets nobody mount a small disk")
    try:
        yield folder
    finally:
        os.spawnvp(os.P_WAIT, "umount", ["umount", str(folder)])


def write_recipe(folder: Path) -> Path:
    """A transformer with an average of weights, a checkpoint every 4 steps."""
    train = {"batch_size": 8, "save": {"every": 4, "unit": "steps"}, "average": {"method": "ema"}, "early_stopping": {"patience": 0}}
    tree = tiny.recipe(TASK, tiny.write(TASK, folder), **train) | {"model": {"architecture": "transformer"}}
    (folder / "recipe.yaml").write_text(to_yaml(recipe_of(tree)), encoding="utf8")
    return folder / "recipe.yaml"


def train(recipe: Path, out: Path, told: Path) -> tuple[int, str, str]:
    """The exit code, the standard output and the standard error of `danlu train`, which resumes what is there."""
    words = ["--resume", str(out)] if (out / "recipe.yaml").exists() else [str(recipe), "--out", str(out)]

    def child() -> None:
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(told / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        code = command(["train", *words, "--json"])
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    return process.exitcode, (told / "out").read_text(), (told / "err").read_text()


def fill(disk: Path, room: int) -> Path:
    """A file that leaves `room` bytes."""
    file = disk / "filler"
    with file.open("wb") as handle:
        os.posix_fallocate(handle.fileno(), 0, shutil.disk_usage(disk).free - room)
    return file


def one_sentence(out: str, err: str) -> bool:
    """Whether the full disk is all that was said, as one object and without a traceback."""
    with suppress(ValueError, KeyError):
        error = json.loads(out)["error"]
        return error["code"] == "files.disk-full" and error["message"].count("\n") == 0 and "Traceback" not in err
    return False


def level(recipe: Path, disk: Path, told: Path, room: int, wanted: dict[str, str]) -> dict[str, Any]:
    """What came of a run that has `room` bytes, and of resuming it."""
    run = disk / "run"
    filler = fill(disk, room)
    code, out, err = train(recipe, run, told)
    found = {"room": room, "exit": code, "one_sentence": one_sentence(out, err)}
    found |= {"step": max((event["step"] for event in Run(run).events()), default=0), "saved_step": saved(run), "kept_step": kept(run)}
    filler.unlink()
    again, _, problem = train(recipe, run, told)
    got = outcome(run) if again == 0 else {"exit": str(again), "problem": problem[-300:]}
    found["differs"] = sorted(name for name in wanted.keys() | got.keys() if wanted.get(name) != got.get(name))
    shutil.rmtree(run)
    return found


def wrong(found: dict[str, Any]) -> list[str]:
    """What should have been otherwise at one level."""
    return [
        *(["exit"] if found["exit"] != 3 else []),
        *(["words"] if not found["one_sentence"] else []),
        *(["lost checkpoint"] if found["kept_step"] < found["saved_step"] else []),
        *(["differs"] if found["differs"] else []),
    ]


def campaign(levels: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place, small_disk(Path(place) / "disk") as disk:
        folder = Path(place)
        recipe = write_recipe(folder)
        code, _, err = train(recipe, disk / "run", folder)
        if code != 0:
            raise SystemExit(f"the run fails even where there is room: {err}")
        wanted, needed = outcome(disk / "run"), shutil.disk_usage(disk).used
        shutil.rmtree(disk / "run")
        found = []
        for number in range(levels):
            room = number * (needed - BLOCK) // levels // BLOCK * BLOCK
            found.append(level(recipe, disk, folder, room, wanted))
            print(found[-1] | {"wrong": wrong(found[-1])}, flush=True)
    summary = {
        "levels": levels,
        "needed_bytes": needed,
        "wrong": dict(Counter(what for one in found for what in wrong(one))),
        "before_the_first_checkpoint": sum(one["kept_step"] == 0 for one in found),
        "resumed_equal": sum(not one["differs"] for one in found),
    }
    return {"summary": summary, "compared": sorted(wanted), "levels": found}


def main(levels: int = 50) -> int:
    result = campaign(levels)
    print(result["summary"], "->", keep("fill-levels", result))
    return int(bool(result["summary"]["wrong"]))


if __name__ == "__main__":
    if INSIDE not in os.environ:
        enter(sys.argv[1:])
    sys.exit(main(*map(int, sys.argv[1:])))
