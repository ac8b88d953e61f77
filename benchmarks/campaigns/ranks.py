"""Killed ranks: one process of a job of two is killed at a random instant, again and again, and the job is resumed each time.

Every job must end within 30 seconds of the kill, with exit code 3 (0 where the training was over and the first process judged) and no
process left, and in the end hold, by hash, the weights, the last checkpoint and the log of a job that was never killed.

    python benchmarks/campaigns/ranks.py [KILLS, 40 by default]

Writes `benchmarks/results/DATE-ranks.json`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from outcome import outcome
from result import keep

from danlu.api import recipe_of
from danlu.tasks.table import task_class
from danlu.train.run import Run, to_yaml

TASK, PROCESSES, IN_A_ROW, LIMIT = "text-classification", 2, 4, 30.0


def write_recipe(folder: Path) -> Path:
    """Dropout, an average of weights, a checkpoint every 10 steps: 600 steps."""
    rows = "".join(f'"{row["text"]}",{row["label"]}\n' for row in task_class(TASK).tiny())
    (folder / "rows.csv").write_text("text,label\n" + rows, encoding="utf8")
    train = {
        "epochs": 60,
        "batch_size": 4,
        "early_stopping": {"patience": 0},
        "average": {"method": "ema"},
        "save": {"every": 10, "unit": "steps"},
        "listeners": [],
        "threads": 1,
    }
    recipe = recipe_of({"task": TASK, "data": {"path": str(folder / "rows.csv")}, "train": train})
    (folder / "recipe.yaml").write_text(to_yaml(recipe), encoding="utf8")
    return folder / "recipe.yaml"


def start(recipe: Path, out: Path) -> subprocess.Popen[bytes]:
    words = ["--resume", str(out)] if (out / "recipe.yaml").exists() else [str(recipe), "--out", str(out)]
    command = [sys.executable, "-m", "danlu", "train", *words, "--processes", str(PROCESSES)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def ranks_of(job: subprocess.Popen[bytes]) -> list[int]:
    return [int(word) for word in Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()]


def kill(recipe: Path, out: Path, after: float, rank: int) -> dict[str, Any] | None:
    """Starts or resumes the job and kills a rank; what came of it, or None where the job was done before."""
    job = start(recipe, out)
    try:
        job.wait(after)
        return None
    except subprocess.TimeoutExpired:
        ranks = ranks_of(job)
    if len(ranks) <= rank:  # the others are done, the first one judges
        rank = 0
    began = time.monotonic()
    os.kill(ranks[rank], signal.SIGKILL)
    code = job.wait(10 * LIMIT)
    seconds = time.monotonic() - began
    saved = max((int(path.name.removeprefix("step-")) for path in out.glob("checkpoints/step-*")), default=0)
    late = code == 0 and Run(out).finished
    left = sum(Path(f"/proc/{process}").exists() for process in ranks)
    found = {"rank": rank, "after_s": round(after, 2), "saved_step": saved, "exit": code, "after_the_end": late}
    return found | {"ended_s": round(seconds, 2), "orphans": left}


def main(kills: int) -> int:
    draw, done, jobs = random.Random(0), [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = write_recipe(folder)
        began = time.monotonic()
        if start(recipe, folder / "whole").wait() != 0:
            raise SystemExit("the job fails even when nobody kills it")
        whole, wanted = time.monotonic() - began, outcome(folder / "whole")
        while len(done) < kills:
            out, here = folder / f"run-{len(jobs)}", []
            while len(here) < IN_A_ROW and len(done) + len(here) < kills:
                found = kill(recipe, out, whole * draw.uniform(0.3, 0.95), draw.randrange(PROCESSES))
                if found is None:
                    break
                here.append(found)
                print(found, flush=True)
            code = 0 if Run(out).finished else start(recipe, out).wait()
            equal = code == 0 and outcome(out) == wanted
            print(f"run {len(jobs)}: {len(here)} kills, equal: {equal}", flush=True)
            jobs.append({"kills": len(here), "equal": equal})
            done += here
    late = sum(one["ended_s"] > LIMIT for one in done)
    summary = {
        "kills": len(done),
        "jobs": len(jobs),
        "jobs_equal": sum(job["equal"] for job in jobs),
        "ended_late": late,
        "slowest_end_s": max(one["ended_s"] for one in done),
        "killed_after_the_end": sum(one["after_the_end"] for one in done),
        "orphans": sum(one["orphans"] for one in done),
        "exits": sorted({one["exit"] for one in done}),
    }
    keep("ranks", {"load": os.getloadavg()[2], "whole_s": round(whole, 1), "summary": summary, "jobs": jobs, "kills": done})
    print(json.dumps(summary))
    wrong = any(one["exit"] != 3 and not one["after_the_end"] for one in done)
    return int(summary["jobs_equal"] < len(jobs) or late > 0 or summary["orphans"] > 0 or wrong)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 40))
