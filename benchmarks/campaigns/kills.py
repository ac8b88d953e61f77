"""Runs of five kinds of recipe killed (SIGKILL) at random instants, each resumed by `danlu train --resume` until it ends.

In the end every run must hold, by hash, what a run that nobody killed holds: the weights of the bundle, every tensor of the last checkpoint
(model, optimizer, best, average), its state, and the log of metrics. No checkpoint that the log calls saved may be missing after a kill.
An instant is drawn from a window that opens when the process has begun to train; kills before the first checkpoint are not counted.
The control resumes with another order of rows, as if the random state had not been restored, and must be told from the unbroken run.

    python benchmarks/campaigns/kills.py [KILLS, 200 by default]

Writes `benchmarks/results/DATE-kills.json`, anew after each run.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.extend([str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "tests")])

import tiny
from outcome import kept, outcome, saved
from result import keep

from danlu.api import recipe_of
from danlu.train.run import Run, to_yaml

IN_A_ROW = 5
LIMIT = 180.0
PLAIN = ("-m", "danlu")
CONTROL = (
    "-c",
    "import os, sys\n"
    "from danlu.cli.main import main\n"
    "from danlu.train import loop\n"
    "plan, resumed = loop.plan, '--resume' in sys.argv\n"
    "loop.plan = lambda lengths, size, seed, epoch: plan(lengths, size, seed + resumed * os.getpid(), epoch)\n"
    "main()",
)
Kind = tuple[str, dict[str, Any], dict[str, Any]]


def kinds(folder: Path) -> dict[str, Kind]:
    """Task, model and training of each kind; its length is such that some kills fit into it."""
    text = "text-classification"
    remembering = {
        "optimizer": {"name": "muon"},
        "average": {"method": "ema", "decay": 0.9},
        "schedule": {"name": "plateau", "patience": 2, "warmup": 0},
        "epochs": 20,
    }
    lora = {"pretrained": str(tiny.bert(folder / "bert")), "adapt": {"method": "lora"}, "dropout": 0.1}
    return {
        "text": (text, {}, {"epochs": 50}),
        "image": ("image-classification", {}, {"epochs": 30}),
        "audio": ("audio-classification", {}, {"epochs": 20}),
        "transformer, muon, ema, plateau": (text, {"architecture": "transformer"}, remembering),
        "lora of a small BERT": (text, lora, {"epochs": 20}),
    }


def write_recipe(folder: Path, kind: Kind) -> Path:
    task, model, settings = kind
    every_few = {"batch_size": 4, "save": {"every": 3, "unit": "steps"}, "early_stopping": {"patience": 0}, "listeners": []}
    tree = tiny.recipe(task, tiny.write(task, folder), **every_few | settings) | {"model": model}
    (folder / "recipe.yaml").write_text(to_yaml(recipe_of(tree)), encoding="utf8")
    return folder / "recipe.yaml"


def start(recipe: Path, out: Path, by: tuple[str, ...] = PLAIN) -> subprocess.Popen[bytes]:
    words = ["--resume", str(out)] if (out / "recipe.yaml").exists() else [str(recipe), "--out", str(out)]
    return subprocess.Popen([sys.executable, *by, "train", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def written(out: Path) -> int:
    file = out / "events.jsonl"
    return file.stat().st_mtime_ns if file.exists() else 0


def kill(recipe: Path, out: Path, window: float, draw: random.Random, by: tuple[str, ...]) -> dict[str, Any] | None:
    """Starts or resumes the run and kills it `window` seconds at most after it began to train; what was found, or None where it ended first."""
    before, first = written(out), not kept(out)
    process, deadline = start(recipe, out, by), time.monotonic() + LIMIT
    while process.poll() is None and (written(out) == before or (first and not any(out.glob("checkpoints/step-*")))):
        if time.monotonic() > deadline:
            process.kill()
        time.sleep(0.005)
    after = draw.uniform(0, window)
    try:
        process.wait(after)
        if process.returncode:
            raise SystemExit(f"{out} ended by itself with exit code {process.returncode}")
        return None
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    reached = max((event["step"] for event in Run(out).events()), default=0)
    found = {"after_s": round(after, 3), "reached_step": reached, "saved_step": kept(out), "lost": kept(out) < saved(out)}
    return found | {"while_writing": any(out.glob("checkpoints/.step-*")), "after_training": (out / "bundle").exists()}


def run_until_done(recipe: Path, out: Path, window: float, draw: random.Random, most: int, by: tuple[str, ...]) -> list[dict[str, Any]]:
    """At most `most` kills, then to the end."""
    kills: list[dict[str, Any]] = []
    while len(kills) < most and (found := kill(recipe, out, window, draw, by)):
        kills.append(found)
    if not Run(out).finished and start(recipe, out, by).wait() != 0:
        raise SystemExit(f"{out} cannot be resumed")
    return kills


def unbroken(folder: Path, kind: Kind) -> tuple[Path, dict[str, str], float]:
    """The recipe, what the run comes to when nobody kills it, and its seconds of training."""
    folder.mkdir()
    recipe = write_recipe(folder, kind)
    if start(recipe, folder / "whole").wait() != 0:
        raise SystemExit(f"{folder.name} fails even when nobody kills it")
    seconds = max(event["seconds"] for event in Run(folder / "whole").events() if event["event"] == "Finished")
    return recipe, outcome(folder / "whole"), seconds


def one_run(recipe: Path, wanted: dict[str, str], seconds: float, draw: random.Random, most: int, control: bool) -> dict[str, Any]:
    out = recipe.parent / f"run-{draw.randrange(2**30):08x}"
    kills = run_until_done(recipe, out, 0.4 * seconds, draw, most, CONTROL if control else PLAIN)
    found = outcome(out)
    differs = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    return {"control": control, "differs": differs, "kills": kills}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    kills = [kill for run in runs for kill in run["kills"]]
    return {
        "kills": len(kills),
        "runs": len(runs),
        "runs_equal": sum(not run["differs"] for run in runs),
        "lost_checkpoints": sum(kill["lost"] for kill in kills),
        "while_a_checkpoint_was_written": sum(kill["while_writing"] for kill in kills),
        "after_training": sum(kill["after_training"] for kill in kills),
        "most_steps_done_again": max((kill["reached_step"] - kill["saved_step"] for kill in kills), default=0),
    }


def record(runs: list[dict[str, Any]], wanted: dict[str, dict[str, str]]) -> dict[str, Any]:
    honest = {name: [run for run in runs if run["kind"] == name and not run["control"]] for name in wanted}
    control = [run for run in runs if run["control"]]
    return {
        "summary": summary([run for some in honest.values() for run in some]),
        "control": summary(control) | {"must_differ_told": bool(control) and all(run["differs"] for run in control)},
        "by_kind": {name: summary(some) for name, some in honest.items()},
        "compared": {name: sorted(parts) for name, parts in wanted.items()},
        "runs": runs,
    }


def main(wanted_kills: int = 200) -> int:
    draw, runs, wanted = random.Random(0), [], {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        ready = {}
        for number, (name, kind) in enumerate(kinds(folder).items()):
            ready[name] = unbroken(folder / f"kind-{number}", kind)
            wanted[name] = ready[name][1]
            print(f"{name:<34} unbroken: {ready[name][2]:.1f} s, {len(wanted[name])} hashes", flush=True)
        for round_number in range(wanted_kills):
            for name, (recipe, hashes, seconds) in ready.items():
                left = wanted_kills - sum(len(run["kills"]) for run in runs if not run["control"])
                control = round_number == 0 and name == "text"
                for is_control in (True, False) if control else (False,):
                    if left > 0:
                        runs.append({"kind": name, **one_run(recipe, hashes, seconds, draw, min(IN_A_ROW, left), is_control)})
                        file = keep("kills", record(runs, wanted))
                        said = "control, " if is_control else ""
                        print(f"{name:<34} {said}{len(runs[-1]['kills'])} kills, differs: {runs[-1]['differs']}", flush=True)
    result = record(runs, wanted)
    return told(result, file)


def told(result: dict[str, Any], file: Path) -> int:
    """Prints the table; the exit code."""
    for name, row in [*result["by_kind"].items(), ("all", result["summary"]), ("control (must differ)", result["control"])]:
        print(
            f"{name:<34} {row['kills']:>4} kills  {row['runs_equal']}/{row['runs']} runs equal  {row['lost_checkpoints']} checkpoints lost"
        )
    print(f"-> {file}")
    done = result["summary"]
    return int(done["runs_equal"] < done["runs"] or done["lost_checkpoints"] > 0 or not result["control"]["must_differ_told"])


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
