"""What listeners were told is what their stores hold: read back from TensorBoard's files, W&B offline and MLflow on SQLite."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny

import danlu
from danlu.train.run import Run

TASK = "text-classification"


def trained(tmp_path: Path, *listeners: str) -> Run:
    recipe = tiny.recipe(TASK, tiny.write(TASK, tmp_path), listeners=list(listeners))
    return danlu.train(recipe, out=tmp_path / "run", progress=False)


def curve(run: Run, name: str) -> list[float]:
    return [event["metrics"][name] for event in run.events() if event["event"] == "Evaluated"]


def test_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = trained(tmp_path, "tensorboard")
    store = EventAccumulator(str(run.path / "tensorboard")).Reload()
    assert [point.value for point in store.Scalars("validation/log_loss")] == pytest.approx(curve(run, "log_loss"), rel=1e-5)
    losses = [event["loss"] for event in run.events() if event["event"] == "Stepped"]
    assert [point.value for point in store.Scalars("train/loss")] == pytest.approx(losses, rel=1e-5)
    assert store.Tags()["graph"]
    assert any(tag.startswith("examples/") for tag in store.Tags()["tensors"])


def wandb_records(file: Path) -> list[bytes]:
    """The records of an offline W&B file: LevelDB's log format (blocks of 32 KiB) after a header of 7 bytes."""
    content, at, records, part = file.read_bytes(), 7, [], b""
    assert content[:4] == b":W&B"
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:  # what is left of a block is padding
            at += 32768 - at % 32768
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        part += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or last part
            records.append(part)
            part = b""
    return records


def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = trained(tmp_path, "wandb")
    from wandb.proto import wandb_internal_pb2

    (file,) = run.path.rglob("run-*.wandb")
    history: list[dict[str, Any]] = []
    for content in wandb_records(file):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content)
        if record.WhichOneof("record_type") == "history":
            history.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item})
    found = [line["validation/log_loss"] for line in history if "validation/log_loss" in line]
    assert found == pytest.approx(curve(run, "log_loss"))


def test_mlflow_on_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'store.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    run = trained(tmp_path, "mlflow")
    client = MlflowClient(tracking_uri=uri)
    (stored,) = client.search_runs([client.get_experiment_by_name("danlu").experiment_id])
    points = client.get_metric_history(stored.info.run_id, "validation/log_loss")
    assert [point.value for point in points] == pytest.approx(curve(run, "log_loss"))
    assert stored.data.params["train.epochs"] == "3"
    assert stored.info.status == "FINISHED"
