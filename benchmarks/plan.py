"""What `danlu plan` says before a run and what the run then takes: twelve recipes over every kind of data, one seed each.

    DANLU_DATA=... MINILM=... python benchmarks/plan.py [NAME ...]

Peak memory is that of the training process, seconds are `fit_s` over the epochs. Writes `benchmarks/results/DATE-plan.json`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl
from pairs import measure
from result import add

DATA = Path(os.environ["DANLU_DATA"])
MINILM = os.environ.get("MINILM", "")
NEWS = {"path": "news.csv"}
SHORT = {"split": {"validation": 0.05, "test": 0.05}}
RECIPES: dict[str, dict[str, Any]] = {
    "bag": {"task": "text-classification", "data": {"path": str(DATA / "ag_news")}, "train": {"epochs": 3}},
    "textcnn": {"task": "text-classification", "data": NEWS, "model": {"architecture": "textcnn"}, "train": {"epochs": 2}},
    "gru": {"task": "text-classification", "data": NEWS, "model": {"architecture": "gru"}, "train": {"epochs": 2}},
    "transformer": {"task": "text-classification", "data": NEWS, "model": {"architecture": "transformer"}, "train": {"epochs": 2}},
    "minilm": {"task": "text-classification", "data": NEWS, "model": {"pretrained": MINILM}, "train": {"epochs": 1}},
    "minilm-head": {
        **{"task": "text-classification", "data": NEWS, "model": {"pretrained": MINILM, "adapt": {"method": "head"}}},
        "train": {"epochs": 5},
    },
    "minilm-lora": {
        **{"task": "text-classification", "data": NEWS, "model": {"pretrained": MINILM, "adapt": {"method": "lora"}}},
        "train": {"epochs": 1, "optimizer": {"name": "adafactor"}},
    },
    "cnn": {"task": "image-classification", "data": {"path": str(DATA / "mnist_folder.tar.gz")}, "train": {"epochs": 3}},
    "resnet": {
        **{"task": "image-classification", "data": {"path": str(DATA / "cifar10.tar.gz")}, "model": {"architecture": "resnet"}},
        "train": {"epochs": 2, "optimizer": {"name": "sgd", "lr": 0.1}},
    },
    "vit": {
        **{"task": "image-classification", "data": {"path": str(DATA / "cifar10.tar.gz")}, "model": {"architecture": "vit"}},
        "train": {"epochs": 2, "batch_size": 64},
    },
    "conformer": {
        **{"task": "audio-classification", "data": {"path": str(DATA / "fsdd.tar.gz")}, "model": {"architecture": "conformer"}},
        "train": {"epochs": 2},
    },
    "sound-cnn": {
        **{"task": "audio-classification", "data": {"path": str(DATA / "speech_commands.tar.gz")}, "model": {"architecture": "cnn"}},
        "train": {"epochs": 2, "optimizer": {"name": "muon"}},
    },
}


def off(predicted: float, measured: float) -> float:
    return round(predicted / measured - 1, 4)


def main(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pl.read_csv(DATA / "ag_news" / "train.csv.gz").sample(4000, seed=1, shuffle=True).write_csv(folder / "news.csv")
        found = {}
        for name in names or RECIPES:
            recipe = RECIPES[name]
            data = recipe["data"] | ({"path": str(folder / "news.csv"), **SHORT} if recipe["data"] is NEWS else {})
            file = folder / f"{name}.yaml"
            file.write_text(json.dumps(recipe | {"data": data}))
            plan = measure([sys.executable, "-m", "danlu", "plan", str(file), "--json"])["said"]
            run = measure([sys.executable, "-m", "danlu", "train", str(file), "--out", str(folder / name), "--json"])["said"]
            seconds = run["timing"]["fit_s"] / recipe["train"]["epochs"]
            found[name] = {
                "memory_off": off(plan["peak_memory_bytes"]["train"], run["peak_memory_bytes"]),
                "time_off": off(plan["seconds_per_epoch"], seconds),
                "peak_mb": run["peak_memory_bytes"] >> 20,
                "epoch_s": round(seconds, 2),
                "plan": plan,
            }
            add("plan", {name: found[name]})
            print(f"{name:<12} {json.dumps({key: value for key, value in found[name].items() if key != 'plan'})}", flush=True)
        worst = {key: max(abs(one[key]) for one in found.values()) for key in ("memory_off", "time_off")}
        middle = {key: median(abs(one[key]) for one in found.values()) for key in ("memory_off", "time_off")}
        print(f"worst {json.dumps(worst)}  median {json.dumps(middle)}")


if __name__ == "__main__":
    main(sys.argv[1:])
