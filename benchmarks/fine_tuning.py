"""MiniLM on AG News with Danlu and with the Hugging Face Trainer, side by side: same rows, epochs, batch, learning rate and schedule.

    DANLU_DATA=... MINILM=... python benchmarks/fine_tuning.py [whole] [head] [last] [--rows 2000] [--pairs 3] [--against NAME ...]

`whole`: one epoch of the whole model, against the Trainer's defaults (fp32), the Trainer at its best (bf16, grouped by length) and the
loop of tutorials (padded to 128). `head` and `last` (2 of 6 layers): five epochs on a frozen body with a cold cache, against the Trainer in bf16.
A pair shares a seed. Time is from the first row encoded to the last step; memory is the peak of the process.

Writes `benchmarks/results/DATE-fine_tuning.json`.
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

import polars as pl
from pairs import compared, measure
from result import ROOT, add

LR, BATCH, LENGTH, TEST = 5e-5, 32, 128, 1000
MODEL = os.environ["MINILM"]
AG = Path(os.environ["DANLU_DATA"]) / "ag_news"
BF16 = ["--bf16"]
PEERS: dict[str, dict[str, tuple[str, list[str]]]] = {
    "whole": {"hf_fp32": ("hf_trainer", []), "hf_best": ("hf_trainer", [*BF16, "--grouped"]), "tutorial": ("tutorial_loop", [])},
    "head": {"hf_bf16": ("hf_trainer", [*BF16, "--trained-layers", "0"])},
    "last": {"hf_bf16": ("hf_trainer", [*BF16, "--trained-layers", "2"])},
}
ADAPT = {"whole": {"method": "full"}, "head": {"method": "head"}, "last": {"method": "last", "layers": 2}}


def danlu(work: str, folder: Path, seed: int) -> dict[str, Any]:
    recipe = {
        "task": {"name": "text-classification", "max_length": LENGTH, "label_smoothing": 0},
        "data": {"split": {"train": str(folder / "train.csv"), "test": str(folder / "test.csv"), "validation": 0}},
        "model": {"pretrained": MODEL, "adapt": ADAPT[work]},
        "train": {"epochs": epochs(work), "batch_size": BATCH, "optimizer": {"lr": LR}, "schedule": {"name": "linear", "warmup": 0}},
        "seed": seed,
    }
    file = folder / f"{work}-{seed}.yaml"
    file.write_text(json.dumps(recipe))
    with tempfile.TemporaryDirectory() as cold:
        words = [sys.executable, "-m", "danlu", "train", str(file), "--out", f"{cold}/run", "--json"]
        run = measure(words, {"DANLU_CACHE": f"{cold}/cache"})
    said = run.pop("said")
    share = said["useful_flops_share"]
    return run | {"fit_s": said["timing"]["fit_s"], "accuracy": said["metrics"]["test"]["accuracy"]["value"], "useful_flops_share": share}


def peer(work: str, name: str, folder: Path, seed: int) -> dict[str, Any]:
    script, extra = PEERS[work][name]
    values = {"model": MODEL, "train": folder / "train.csv", "test": folder / "test.csv", "epochs": epochs(work), "lr": LR}
    values |= {"batch": BATCH, "length": LENGTH, "seed": seed}
    words = [str(word) for key, value in values.items() for word in (f"--{key}", value)]
    run = measure([sys.executable, str(ROOT / "benchmarks" / "peers" / f"{script}.py"), *words, *extra], {"HF_HUB_OFFLINE": "1"})
    return run | run.pop("said")


def epochs(work: str) -> int:
    return 1 if work == "whole" else 5


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("works", nargs="*", choices=[*PEERS, []])
    parser.add_argument("--against", nargs="*", help="of the others only these")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--pairs", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for side, rows in (("train", args.rows), ("test", TEST)):
            pl.read_csv(AG / f"{side}.csv.gz").sample(rows, seed=1, shuffle=True).write_csv(folder / f"{side}.csv")
        for work in args.works or PEERS:
            peers = [name for name in PEERS[work] if name in (args.against or PEERS[work])]
            runs: dict[str, list[dict[str, Any]]] = {"danlu": [], **{name: [] for name in peers}}
            for seed in range(args.pairs):
                for who in runs:
                    runs[who].append(danlu(work, folder, seed) if who == "danlu" else peer(work, who, folder, seed))
                    print(f"{work:<6} {who:<9} seed {seed}  {json.dumps(runs[who][-1])}", flush=True)
            found = {who: summary(runs["danlu"], runs[who]) for who in peers}
            add("fine_tuning", {work: {"rows": args.rows, "test_rows": TEST, "epochs": epochs(work), "against": found, "runs": runs}})
            for who, line in found.items():
                print(f"{work:<6} against {who:<9} {json.dumps(line)}", flush=True)


def summary(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, Any]:
    """How many times faster, our memory as a share of theirs, and both mean accuracies."""
    memory = compared([run["peak_mb"] for run in theirs], [run["peak_mb"] for run in ours])
    accuracy = [round(mean(run["accuracy"] for run in runs), 4) for runs in (ours, theirs)]
    return {
        "times_faster": compared([run["fit_s"] for run in ours], [run["fit_s"] for run in theirs]),
        "memory": memory,
        "accuracy": accuracy,
    }


if __name__ == "__main__":
    main()
