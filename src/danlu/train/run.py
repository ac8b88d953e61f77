"""A run: the append-only folder in which everything that happened stands."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from danlu.core.errors import InputError
from danlu.core.files import disk_errors, read_json, write_atomic, write_json
from danlu.core.recipe import Recipe
from danlu.core.recipe_file import load_recipe

_RECIPE, _LOCK = "recipe.yaml", ".lock"
_RUNS = Path("runs")  # where runs go that are given no folder


class Run:
    """What happened. `path` is the folder; everything else is read from it."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe; InputError where the folder is no run."""
        if not ((self.path / _RECIPE).is_file() and self._began):
            raise InputError("train.not-a-run", self.path, path=self.path)
        return load_recipe(self.path / _RECIPE)

    @property
    def _began(self) -> bool:
        """A run has more than its recipe: a folder with a recipe alone is somebody's project."""
        return any((self.path / name).is_file() for name in (_LOCK, "data.json", "report.json"))

    @property
    def finished(self) -> bool:
        """Whether all is there: `report.json` is written last."""
        return (self.path / "report.json").is_file()

    @property
    def report(self) -> dict[str, Any]:
        """The numbers of `report.json`; InputError where the run has not finished."""
        if not self.finished:
            self.recipe  # noqa: B018  (a folder that is no run says so)
            raise InputError("bundle.unfinished", self.path, path=self.path)
        return self.read("report.json", "task", "labels", "metrics", "baselines", "seconds", "peak_memory_bytes")

    @property
    def metrics(self) -> dict[str, Any]:
        return self.report["metrics"]

    @property
    def bundle(self) -> Path:
        return self.path / "bundle"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def events(self) -> list[dict[str, Any]]:
        """Every event so far; a last line cut by a crash is left out, and so is what is no event."""
        file = self.path / "events.jsonl"
        lines = file.read_bytes().splitlines(keepends=True) if file.exists() else []
        return [event for line in lines if line.endswith(b"\n") and (event := _event(line))]

    def read(self, name: str, *keys: str) -> dict[str, Any]:
        """The JSON object in a file of the run; InputError where it has been laid hands on, so that it is none or lacks a key."""
        try:
            tree = read_json(self.path / name)
            if all(key in tree for key in keys) and isinstance(tree, dict):
                return tree
        except (OSError, ValueError, TypeError):
            pass
        raise InputError("train.bad-file", self.path, path=self.path, name=name)

    def summary(self) -> dict[str, Any]:
        """What `danlu train --json` prints."""
        report = self.report
        costs = ("timing", "peak_memory_bytes", "peak_device_bytes", "device", "precision", "useful_flops_share")
        return {
            "run": str(self.path),
            "bundle": str(self.bundle),
            "seconds": report["seconds"],
            "metrics": report["metrics"],
            "baselines": report["baselines"],
            **{name: report[name] for name in costs if name in report},
        }

    def write_recipe(self, recipe: Recipe) -> None:
        """The whole recipe, all defaults filled in, replaced whole."""
        write_atomic(self.path / _RECIPE, to_yaml(recipe))

    def look(self, why: str) -> int:
        """Counts one look at the test side (training itself counts once, however often it is resumed); looks so far."""
        file = self.path / "looks.json"
        looks = self.read("looks.json", "looks")["looks"] if file.exists() else []
        if why != "train" or why not in looks:
            looks = [*looks, why]
            write_json(file, {"looks": looks})
        return len(looks)

    def _repr_html_(self) -> str:
        page = self.path / "report.html"
        if not page.is_file():
            return repr(self)
        from html import escape

        return (
            f'<iframe srcdoc="{escape(page.read_text(encoding="utf8"), quote=True)}" width="100%" height="800" style="border:0"></iframe>'
        )


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def to_yaml(recipe: Recipe) -> str:
    """A recipe as YAML that `load_recipe` reads back as the same recipe. A `$` in a text is kept."""
    from io import StringIO

    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style, yaml.allow_unicode, yaml.width, yaml.sort_base_mapping_type_on_output = False, True, 1_000_000, False
    stream = StringIO()
    yaml.dump(recipe.model_dump(mode="json"), stream)
    return stream.getvalue()


def create(recipe: Recipe, out: str | Path | None, name: str) -> Run:
    """A new run folder holding `recipe.yaml`: `out`, or the next free `runs/NAME-N`. InputError where `out` is taken."""
    if out is not None:
        path = Path(out)
        with disk_errors(path):
            if (path / _RECIPE).exists():
                raise InputError("train.run-exists", path, path=path)
            if path.exists() and (not path.is_dir() or any(not p.name.startswith(".") for p in path.iterdir())):
                raise InputError("train.out-taken", path, path=path)
    else:
        numbers = (n for n in range(1, 1_000_000) if not (_RUNS / f"{name}-{n}").exists())
        path = _RUNS / f"{name}-{next(numbers)}"
    with disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        (path / _LOCK).touch()
    run = Run(path)
    run.write_recipe(recipe)
    return run


def withdraw(run: Run) -> None:
    """Takes back a run that made no step, so that the corrected recipe may have its folder, in which `create` found hidden files at most."""
    if run.events():
        return
    for entry in run.path.iterdir():
        if entry.is_dir() and not entry.name.startswith("."):
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name == _LOCK or not entry.name.startswith("."):
            entry.unlink(missing_ok=True)
    with suppress(OSError):
        run.path.rmdir()
        if run.path.parent == _RUNS:
            _RUNS.rmdir()


@contextmanager
def locked(run: Run) -> Iterator[None]:
    """One process at a time trains in a run folder; the system frees the lock when that process ends, however it ends."""
    import fcntl

    with disk_errors(run.path):
        handle = os.open(run.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError("train.locked", run.path, path=run.path) from error
        yield
    finally:
        os.close(handle)
