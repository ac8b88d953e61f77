"""Who hears of events: the record, TensorBoard, W&B and MLflow. A listener is called with each event and closed at the end; it cannot reach back."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from danlu.core.errors import InputError
from danlu.core.events import Evaluated, Event, Finished, Started, Stepped
from danlu.core.files import disk_errors
from danlu.core.recipe import Recipe


class Listener(Protocol):
    def __call__(self, event: Event) -> None: ...

    def close(self) -> None: ...


class Recorder:
    """Appends every event to `events.jsonl`, the run's own record; of an older one the whole lines in its first `keep` bytes are kept.

    `missing`: how many of those bytes were not there any more.
    """

    def __init__(self, path: Path, keep: int) -> None:
        self._path = path
        with disk_errors(path):
            self._file = path.open("a+b")
            self._file.seek(0)
            kept = self._file.read(keep)
            self.missing = keep - len(kept)
            self._file.truncate(kept.rfind(b"\n") + 1)

    def __call__(self, event: Event) -> None:
        with disk_errors(self._path):
            self._file.write(event.as_line().encode() + b"\n")
            self._file.flush()

    def position(self) -> int:
        """Bytes so far, all of them on disk."""
        with disk_errors(self._path):
            os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        self._file.close()


def numbers(event: Event) -> dict[str, float]:
    """What an event adds to curves, by name."""
    if isinstance(event, Stepped):
        return {"train/loss": event.loss, "train/lr": event.lr, "train/gradient_norm": event.norm}
    if isinstance(event, Evaluated):
        return {f"validation/{name}": value for name, value in event.metrics.items()}
    return {}


def _unless_disk(failed: threading.ExceptHookArgs) -> None:
    if not issubclass(failed.exc_type, OSError):
        threading.__excepthook__(failed)


class TensorBoard:
    """Scalars as they come; the model's graph and a few examples at the start."""

    def __init__(self, folder: Path, step: int, draw: Callable[[Any], None] | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._before, threading.excepthook = threading.excepthook, _unless_disk  # its thread's fault comes back to us at the next call
        self._writer = SummaryWriter(str(folder), purge_step=step if step else None)
        if draw is not None and not step:
            draw(self._writer)

    def __call__(self, event: Event) -> None:
        for name, value in numbers(event).items():
            self._writer.add_scalar(name, value, event.step)

    def close(self) -> None:
        try:
            self._writer.close()
        finally:
            threading.excepthook = self._before


class Wandb:
    """A W&B run named after the folder; offline where WANDB_MODE says so. Needs `danlu[wandb]`."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        try:
            import wandb
        except ImportError as error:
            raise InputError("train.no-extra", "wandb", extra="wandb") from error
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "danlu"),
            name=folder.name,
            dir=str(folder),
            config=recipe.model_dump(mode="json"),
            resume="allow",
        )

    def __call__(self, event: Event) -> None:
        if values := numbers(event):
            self._run.log(values, step=event.step)
        if isinstance(event, Finished):
            self._run.summary.update({f"best/{name}": value for name, value in event.metrics.items()})

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """An MLflow run in the store that MLFLOW_TRACKING_URI names. Needs `danlu[mlflow]`."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise InputError("train.no-extra", "mlflow", extra="mlflow") from error
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(folder / 'mlflow.db').resolve()}"
        self._client = MlflowClient(tracking_uri=uri)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "danlu")
        found = self._client.get_experiment_by_name(name)
        experiment = (
            found.experiment_id if found else self._client.create_experiment(name, artifact_location=str((folder / "mlflow").resolve()))
        )
        self._run = self._client.create_run(experiment, run_name=folder.name).info.run_id
        for key, value in _flat(recipe.model_dump(mode="json")).items():
            self._client.log_param(self._run, key, str(value)[:500])

    def __call__(self, event: Event) -> None:
        for name, value in numbers(event).items():
            self._client.log_metric(self._run, name, value, step=event.step)
        if isinstance(event, Started):
            self._client.set_tag(self._run, "danlu.parameters", str(event.parameters))

    def close(self) -> None:
        self._client.set_terminated(self._run)


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        elif value is not None:
            flat[prefix + name] = value
    return flat
