"""Digits with Danlu and with what people write themselves, side by side: same pictures, same network.

    DANLU_DATA=... python benchmarks/pictures.py [mnist] [tiny] [--pairs 3]

`mnist`: 60,000 pictures until 0.99 of the 10,000 test pictures are right, against the tutorials' loop. Time is that of loading and training;
both judge outside it, Danlu once, after the passes its recipe says, the loop after each pass.
`tiny`: 1,797 pictures of 8 x 8, the whole command from start to report and saved model, against a Trainer script of as many passes.

Writes `benchmarks/results/DATE-pictures.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

from pairs import compared, measure
from result import ROOT, add

from danlu.data.digits import write_digits

GOAL = 0.99
MNIST = Path(os.environ["DANLU_DATA"]) / "mnist"
PASSES = {"mnist": 1, "tiny": 15}
BATCH, RATE = 32, 3e-3  # of `tiny`
TRAIN: dict[str, dict[str, Any]] = {
    "mnist": {"epochs": PASSES["mnist"], "batch_size": 128, "optimizer": {"lr": 4e-3}},
    "tiny": {"epochs": PASSES["tiny"], "batch_size": BATCH, "optimizer": {"lr": RATE}, "early_stopping": {"patience": 0}},
}


def danlu(work: str, folder: Path, seed: int) -> dict[str, Any]:
    data = {"path": str(MNIST), "split": {"validation": 0}} if work == "mnist" else {"path": str(folder / "digits"), "split": {}}
    if work == "tiny":
        data["split"] = {"validation": 0.1, "test": 0.2}
    recipe = {"task": "image-classification", "data": data, "model": {"architecture": "cnn"}, "train": TRAIN[work], "seed": seed}
    file = folder / f"{work}-{seed}.yaml"
    file.write_text(json.dumps(recipe))
    with tempfile.TemporaryDirectory() as out:
        run = measure([sys.executable, "-m", "danlu", "train", str(file), "--out", f"{out}/run", "--json"])
    said = run.pop("said")
    return run | {"fit_s": said["timing"]["fit_s"], "accuracy": said["metrics"]["test"]["accuracy"]["value"]}


def peer(work: str, folder: Path, seed: int) -> dict[str, Any]:
    peers = ROOT / "benchmarks" / "peers"
    with tempfile.TemporaryDirectory() as out:
        words = {
            "mnist": [peers / "mnist_loop.py", "--data", MNIST, "--goal", GOAL],
            "tiny": [
                *(peers / "hf_pictures.py", "--data", folder / "digits", "--out", out),
                *("--epochs", PASSES["tiny"], "--batch", BATCH, "--lr", RATE),
            ],
        }[work]
        run = measure([sys.executable, *map(str, words), "--seed", str(seed)])
    return run | run.pop("said")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("works", nargs="*", choices=[*PASSES, []])
    parser.add_argument("--pairs", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_digits(folder / "digits")
        for work in args.works or PASSES:
            clock = "fit_s" if work == "mnist" else "wall_s"
            ours, theirs = [], []
            for seed in range(args.pairs):
                for runs, run in ((ours, danlu(work, folder, seed)), (theirs, peer(work, folder, seed))):
                    runs.append(run)
                    print(f"{work:<6} {'danlu' if runs is ours else 'peer':<6} seed {seed}  {json.dumps(run)}", flush=True)
            found = {
                "times_faster": compared([run[clock] for run in ours], [run[clock] for run in theirs]),
                "accuracy": [round(mean(run["accuracy"] for run in runs), 4) for runs in (ours, theirs)],
            }
            add("pictures", {work: {**found, "runs": {"danlu": ours, "peer": theirs}}})
            print(f"{work:<6} {json.dumps(found)}", flush=True)


if __name__ == "__main__":
    main()
