"""Every example by its recipe, as a whole command: test score with interval, time and peak memory, over seeds where it says so.

Processor time (all threads, from start to report) is what to compare: wall time depends on what else the machine does.

    DANLU_DATA=... MINILM=... python benchmarks/examples.py [NAME ...]

Results are added to `benchmarks/results/DATE-examples.json` as they come; an entry is replaced when it is run again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean

from result import ROOT, add

EXAMPLES: dict[str, tuple[str, int, str]] = {  # name: recipe, seeds, the metric that counts
    "digits-folder": ("digits/folder.yaml", 1, "accuracy"),
    "digits-idx": ("digits/idx.yaml", 1, "accuracy"),
    "news-bag": ("news/bag.yaml", 3, "accuracy"),
    "thucnews": ("news/thucnews.yaml", 3, "accuracy"),
    "sentiment": ("sentiment/recipe.yaml", 3, "balanced_accuracy"),
    "fsdd": ("voice-commands/fsdd.yaml", 1, "accuracy"),
    "speech-commands": ("voice-commands/speech_commands.yaml", 1, "accuracy"),
    "news-lstm": ("news/lstm.yaml", 1, "accuracy"),
    "news-minilm": ("news/minilm.yaml", 1, "accuracy"),
    "cifar10-compact": ("cifar10/recipe.yaml", 1, "accuracy"),
    "cifar10-tutorial": ("cifar10/tutorial.yaml", 1, "accuracy"),
    "cifar10-small": ("cifar10/small.yaml", 1, "accuracy"),
    "cifar10-resnet": ("cifar10/resnet.yaml", 1, "accuracy"),
}


def measure(recipe: str, seed: int, metric: str) -> dict[str, object]:
    """One command in a fresh run folder; wall seconds and the peak memory of the process in MB."""
    path = ROOT / "examples" / recipe
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as output:
        began = time.monotonic()
        words = [sys.executable, "-m", "danlu", "train", str(path), f"seed={seed}", "--out", f"{folder}/run", "--json"]
        process = subprocess.Popen(words, cwd=path.parent, stdout=output, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        if status:
            raise SystemExit(f"{recipe} failed with status {status}")
        output.seek(0)
        summary = json.loads(output.read())
        threads = json.loads(Path(folder, "run", "machine.json").read_text())["threads"]
    learned = summary["baselines"]["learned"][metric]
    return {
        "seed": seed,
        **summary["metrics"]["test"][metric],
        "baseline": learned["value"],
        "training_seconds": round(summary["seconds"], 1),
        "wall_seconds": round(wall, 1),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "threads": threads,
        "peak_mb": usage.ru_maxrss // 1024,
    }


def main(names: list[str]) -> None:
    for name in names or EXAMPLES:
        recipe, seeds, metric = EXAMPLES[name]
        runs = [measure(recipe, seed, metric) for seed in range(seeds)]
        values = [run["value"] for run in runs]
        add("examples", {name: {"recipe": recipe, "metric": metric, "mean": mean(values), "runs": runs}})
        spread = f" ({min(values):.4f} to {max(values):.4f})" if seeds > 1 else f" [{runs[0]['low']:.4f}, {runs[0]['high']:.4f}]"
        processor, memory = mean(run["processor_seconds"] for run in runs), max(run["peak_mb"] for run in runs)
        beside = f"baseline {runs[0]['baseline']:.4f}  {processor:.0f} s of processor  {memory} MB"
        print(f"{name:<18} {metric} {mean(values):.4f}{spread}  {beside}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
