"""A bundle's folder as files: finding it and checking it, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from danlu.core.errors import InputError, RefusedError
from danlu.core.files import broken, read_json
from danlu.core.recipe import Model
from danlu.tasks.table import OWN_MODEL, allow

FORMAT = 1
ABOUT, TASK, WEIGHTS = "danlu.json", "task.json", "model.safetensors"


def find(path: str | Path) -> Path:
    """The bundle's folder, given itself or its run folder; InputError where there is none."""
    path = Path(path)
    for folder in (path, path / "bundle"):
        if (folder / ABOUT).is_file():
            return folder
    if (path / "recipe.yaml").is_file():
        raise InputError("bundle.unfinished", path, path=path)
    raise InputError("bundle.not-a-bundle", path, path=path)


def is_bundle(path: str | Path) -> bool:
    """Whether a folder is a bundle or a run that has one."""
    return any((folder / ABOUT).is_file() for folder in (Path(path), Path(path) / "bundle"))


def start(path: str | Path) -> tuple[str, Model, dict[str, Any]]:
    """What a new training takes from a bundle: its task's name, its model, and what its task learned of its inputs.

    RefusedError for a bundle that is damaged, made by hand, or made with code that nobody here has named.
    """
    folder = find(path)
    about = read_about(folder)
    if kept := about.get("adapter"):
        raise InputError("bundle.keeps-adapter", folder, path=folder, method=kept.get("method") if isinstance(kept, dict) else kept)
    try:
        name, model, facts = str(about["task"]["name"]), Model.model_validate(about["model"]), dict(read_json(folder / TASK)["facts"])
        allow(model.architecture or "", OWN_MODEL)
    except RefusedError:
        raise
    except Exception as error:  # whatever a hand-made file provokes, the answer is the same
        raise RefusedError("bundle.bad-file", folder, path=folder, problem=problem_of(error)) from error
    return name, model, facts


def read_about(folder: Path) -> dict[str, Any]:
    """`danlu.json` of a bundle whose files all have their hash; RefusedError otherwise."""
    try:
        about = read_json(folder / ABOUT)
        found = about["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedError("bundle.bad-file", folder, path=folder, problem=problem_of(error)) from error
    if found != FORMAT:
        raise RefusedError("bundle.newer", folder, path=folder, found=found, known=FORMAT)
    bad = broken(folder, ABOUT)
    if bad is None:
        bad = next((name for name in (TASK, WEIGHTS) if name not in about["files"]), None)
    if bad:
        raise RefusedError("bundle.damaged", folder, path=folder, name=bad)
    return about


def problem_of(error: Exception) -> str:
    """What an exception says, on one short line."""
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
