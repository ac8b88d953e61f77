"""What a run came to, by hash: two runs are alike where every part is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from danlu.core.files import read_json
from danlu.train import checkpoint
from danlu.train.run import Run

LOGGED = ("Stepped", "Evaluated", "Finished")
MEASURED = ("seconds", "spent", "peak_memory", "events")  # of the state: what a clock or a meter read, and the length of the log


def outcome(run: Path) -> dict[str, str]:
    """The SHA-256 of the bundle's weights, of every file of tensors in the last checkpoint, of its state, and of the log of metrics."""
    last, damaged = checkpoint.newest(run / "checkpoints")
    if last is None or damaged:
        return {"damaged": str(damaged)}
    files = [run / "bundle" / "model.safetensors", *sorted(last.glob("*.safetensors"))]
    state = {name: value for name, value in read_json(last / "state.json").items() if name not in MEASURED}
    log = [{name: value for name, value in event.items() if name != "seconds"} for event in logged(run)]
    return {
        **{file.relative_to(run).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
        "state": _digest(state),
        "log": _digest(log),
    }


def logged(run: Path) -> list[dict[str, Any]]:
    return [event for event in Run(run).events() if event["event"] in LOGGED]


def saved(run: Path) -> int:
    """The step of the newest checkpoint that the log says is on the disk; 0 for none."""
    return max((event["step"] for event in Run(run).events() if event["event"] == "Saved"), default=0)


def kept(run: Path) -> int:
    """The step of the newest whole checkpoint that is there; 0 for none."""
    newest, _ = checkpoint.newest(run / "checkpoints")
    return int(newest.name.removeprefix("step-")) if newest else 0


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
