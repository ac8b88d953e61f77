"""From a person's file to an HTTP answer, by the commands of the README alone, for every task."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import tiny

from danlu.tasks.table import task_class


def danlu(*words: object, cwd: Path, text: str | None = None, code: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DANLU_LANG": "en", "DANLU_CACHE": str(cwd / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "danlu", *map(str, words)], cwd=cwd, env=environment, input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def ask(address: str, value: Any, kind: str) -> dict[str, Any]:
    if kind == "text":
        body, content = json.dumps({"text": value}).encode(), "application/json"
    else:
        body, content = Path(value).read_bytes(), {"image": "image/png", "audio": "audio/wav"}[kind]
    request = urllib.request.Request(f"{address}predict", data=body, headers={"Content-Type": content})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


@pytest.mark.parametrize("task", tiny.ALL)
def test_file_to_answer(task: str, tmp_path: Path) -> None:
    kind = next(iter(task_class(task).inputs.values()))
    data = tiny.write(task, tmp_path)
    danlu("new", task, "--data", data, "--out", "recipe.yaml", cwd=tmp_path)
    contract = json.loads(danlu("check", "recipe.yaml", "--json", cwd=tmp_path).stdout)
    assert contract
    done = danlu("train", "recipe.yaml", "train.threads=1", "--out", "run", "--json", cwd=tmp_path)
    summary = json.loads(done.stdout)
    costs = {"timing", "peak_memory_bytes", "device", "precision", "useful_flops_share"}
    assert set(summary) == {"run", "bundle", "seconds", "metrics", "baselines"} | costs
    assert set(summary["timing"]) == {"setup_s", "fit_s", "evaluate_s"}
    for measures in (summary["metrics"]["test"], summary["metrics"]["validation"], *summary["baselines"].values()):
        for name in ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "f1_micro", "f1_weighted", "roc_auc", "pr_auc", "log_loss", "ece"):
            assert set(measures[name]) == {"value", "low", "high", "n"}, name
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf8")
    assert len(page) < 5_000_000
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
    evaluated = json.loads(danlu("evaluate", "run", "--data", data, "--json", cwd=tmp_path).stdout)
    assert evaluated["metrics"]["test"]["accuracy"]["n"] == len(tiny.rows(task))
    values = [row["text"] for row in tiny.rows(task)[:3]] if kind == "text" else [str(path) for path in sorted(data.rglob("*.*"))[:3]]
    lines = [json.loads(line) for line in danlu("predict", "run", *values, "--json", cwd=tmp_path).stdout.splitlines()]
    assert [set(line) for line in lines] == [{"label", "score", "scores"}] * 3
    piped = danlu("predict", "run", "-", "--json", cwd=tmp_path, text="\n".join(values)).stdout.splitlines()
    assert [json.loads(line) for line in piped] == lines
    answers = served(tmp_path, values, kind)
    for line, answer in zip(lines, answers, strict=True):
        assert answer["label"] == line["label"]
        assert answer["scores"] == pytest.approx(line["scores"], abs=1e-5)


def served(folder: Path, values: list[Any], kind: str) -> list[dict[str, Any]]:
    """The answers of `danlu serve`, which then drains and exits with 0."""
    environment = {**os.environ, "DANLU_LANG": "en"}
    process = subprocess.Popen(
        [sys.executable, "-m", "danlu", "serve", "run", "--port", "0"], cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        address = re.search(r"http://\S+/", process.stderr.readline())[0]
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{address}health/ready", timeout=5)
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.2)
        answers = [ask(address, value, kind) for value in values]
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    assert code == 0
    return [answer[0] if isinstance(answer, list) else answer for answer in answers]


def test_python_is_the_same_way(tmp_path: Path) -> None:
    import danlu as package

    task = "text-classification"
    run = package.train(tiny.recipe(task, tiny.write(task, tmp_path)), out=tmp_path / "run", progress=False)
    assert run.report["metrics"]["test"]["accuracy"]["n"] == 12
    assert package.load(run.path).predict(["The room was great"])[0].label in ("good", "bad")
    assert "<iframe" in run._repr_html_()
    assert package.train is sys.modules["danlu.train"]
    assert package.check(tiny.recipe(task, tmp_path / "rows.csv")).as_json()
    assert package.evaluate(run.path, tmp_path / "rows.csv")["metrics"]["test"]["accuracy"]["n"] == 48


def test_from_a_bundle_to_another(tmp_path: Path) -> None:
    """A new head on a kept body; only the head moves when only the head is trained."""
    from safetensors.torch import load_file

    import danlu as package

    task = "image-classification"
    path = tiny.write(task, tmp_path)
    first = package.train(tiny.recipe(task, path), out=tmp_path / "first", progress=False)
    recipe = {**tiny.recipe(task, path), "model": {"pretrained": str(first.path), "adapt": {"method": "head"}}}
    second = package.train(recipe, out=tmp_path / "second", progress=False)
    before, after = (load_file(run.bundle / "model.safetensors") for run in (first, second))
    moved = {name for name in before if not before[name].equal(after[name])}
    assert 0 < len(moved) <= 2
    assert {name.split(".")[0] for name in moved} == {next(iter(moved)).split(".")[0]}
