"""Recipes and command lines that clumsy people write: one sentence, the right exit code, and nothing left behind."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Fails = Callable[..., dict[str, str]]
T = "text-classification"

# What is merged into a good recipe, and the key that the error must begin with.
TREES: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"modle": {}}, "recipe.unknown-key"),
    "unknown nested key": ({"train": {"optimiser": {}}}, "recipe.unknown-key"),
    "unknown deep key": ({"train": {"optimizer": {"learning_rate": 1}}}, "recipe.unknown-key"),
    "unknown task option": ({"task": {"name": T, "max_len": 9}}, "recipe.unknown-key"),
    "option of another task": ({"task": {"name": T, "mels": 9}}, "recipe.unknown-key"),
    "unknown task": ({"task": "text-clasification"}, "recipe.unknown-task"),
    "far task": ({"task": "qqq"}, "recipe.unknown-task"),
    "no such module": ({"task": "nowhere:Thing"}, "recipe.no-module"),
    "no such class": ({"task": "json:Thing"}, "recipe.no-module"),
    "class that is no task": ({"task": "json:JSONDecoder"}, "recipe.wrong-class"),
    "empty module": ({"task": ":"}, "recipe.no-module"),
    "task number": ({"task": 5}, "recipe.bad-value"),
    "task without name": ({"task": {"max_length": 5}}, "recipe.bad-value"),
    "task null": ({"task": None}, "recipe.bad-value"),
    "data text": ({"data": "rows.csv"}, "recipe.bad-value"),
    "data null": ({"data": None}, "recipe.bad-value"),
    "data path missing": ({"data": {"path": "nowhere.csv"}}, "data.no-such-path"),
    "data path null": ({"data": {"path": None}}, "data.no-path"),
    "data path empty": ({"data": {"path": ""}}, "data.no-path"),
    "data path nul": ({"data": {"path": "a\0b.csv"}}, "data."),
    "data path long": ({"data": {"path": "x" * 400}}, "data."),
    "data path number": ({"data": {"path": 5}}, "recipe.bad-value"),
    "data path list empty": ({"data": {"path": []}}, "data.no-path"),
    "data path list of nothing": ({"data": {"path": ["texts.csv", "nowhere.csv"]}}, "data.no-such-path"),
    "data path is the recipe": ({"data": {"path": "recipe.yaml"}}, "data."),
    "data path of nobody": ({"data": {"path": "~nobody-of-that-name/x.csv"}}, "data.no-such-path"),
    "test part of nobody": ({"data": {"split": {"test": "~nobody-of-that-name/x.csv"}}}, "data.no-such-path"),
    "pretrained of nobody": ({"model": {"pretrained": "~nobody-of-that-name/x"}}, "pretrained."),
    "data path is a url": ({"data": {"path": "https://example.org/rows.csv"}}, "data.address"),
    "data header word": ({"data": {"header": "maybe"}}, "recipe.bad-value"),
    "column missing": ({"data": {"columns": {"text": "texts"}}}, "data.no-such-column"),
    "column of no field": ({"data": {"columns": {"image": "text"}}}, "data.no-such-field"),
    "same column twice": ({"data": {"columns": {"text": "text", "label": "text"}}}, "data.label-is-input"),
    "two labels": ({"data": {"columns": {"label": ["text", "label"]}}}, "data.one-column"),
    "no column": ({"data": {"columns": {"text": []}}}, "data."),
    "columns list": ({"data": {"columns": ["text"]}}, "recipe.bad-value"),
    "column number": ({"data": {"columns": {"text": 3}}}, "recipe.bad-value"),
    "share too large": ({"data": {"split": {"validation": 0.99}}}, "data.shares"),
    "share of one": ({"data": {"split": {"validation": 1.0}}}, "recipe.bad-value"),
    "share negative": ({"data": {"split": {"test": -0.1}}}, "recipe.bad-value"),
    "share as percent": ({"data": {"split": {"test": 20}}}, "recipe.bad-value"),
    "split by group": ({"data": {"split": {"by": "group"}}}, "data.needs-column"),
    "split by one group": ({"data": {"split": {"by": "group", "column": "source"}}}, "data.one-group"),
    "split by no column": ({"data": {"split": {"by": "time", "column": "day"}}}, "data.no-such-column"),
    "split by no time": ({"data": {"split": {"by": "time", "column": "text"}}}, "data.no-time"),
    "split by hand": ({"data": {"split": {"by": "hand"}}}, "recipe.bad-value"),
    "split given but not": ({"data": {"split": {"by": "given"}}}, "data.not-given"),
    "test file missing": ({"data": {"split": {"test": "nowhere.csv"}}}, "data.no-such-path"),
    "train twice": ({"data": {"split": {"train": "texts.csv"}}}, "data.path-and-train"),
    "augment step": ({"data": {"augment": ["flip"]}}, "text.no-steps"),
    "augment text": ({"data": {"augment": "flip"}}, "recipe.bad-value"),
    "architecture": ({"model": {"architecture": "transfromer"}}, "recipe.unknown-architecture"),
    "architecture of pictures": ({"model": {"architecture": "resnet"}}, "recipe.unknown-architecture"),
    "architecture module": ({"model": {"architecture": "nowhere:Net"}}, "recipe.no-module"),
    "architecture that is none": ({"model": {"architecture": "json:JSONDecoder"}}, "recipe.wrong-class"),
    "size": ({"model": {"size": "huge"}}, "recipe.bad-value"),
    "both starts": ({"model": {"architecture": "bag", "pretrained": "x"}}, "recipe.bad-value"),
    "pretrained missing": ({"model": {"pretrained": "./nowhere"}}, "pretrained.not-found"),
    "pretrained offline": ({"model": {"pretrained": "nobody/nothing"}}, "pretrained.hub"),
    "pretrained odd": ({"model": {"pretrained": "a b/../c"}}, "pretrained.not-found"),
    "adapt without pretrained": ({"model": {"architecture": "gru", "adapt": {"method": "lora"}}}, "recipe.bad-value"),
    "adapt method": ({"model": {"adapt": {"method": "qlora"}}}, "recipe.bad-value"),
    "adapt names": ({"model": {"pretrained": "x", "adapt": {"method": "named"}}}, "recipe.bad-value"),
    "adapt names of lora": ({"model": {"pretrained": "x", "adapt": {"method": "lora", "names": ["a"]}}}, "recipe.bad-value"),
    "adapt rank": ({"model": {"adapt": {"method": "lora", "rank": 0}}}, "recipe.bad-value"),
    "epochs 0": ({"train": {"epochs": 0}}, "recipe.bad-value"),
    "epochs half": ({"train": {"epochs": 1.5}}, "recipe.bad-value"),
    "epochs text": ({"train": {"epochs": "ten"}}, "recipe.bad-value"),
    "epochs true": ({"train": {"epochs": True}}, "recipe.bad-value"),
    "epochs vast": ({"train": {"epochs": 10**400}}, "recipe.bad-value"),
    "batch vast": ({"train": {"batch_size": 10**9}}, "recipe.bad-value"),
    "batch twice": ({"train": {"batch_size": 4, "batch_tokens": 40}}, "recipe.bad-value"),
    "tokens of n-grams": ({"train": {"batch_tokens": 40}}, "train.no-tokens"),
    "batch negative": ({"train": {"batch_size": -1}}, "recipe.bad-value"),
    "optimizer": ({"train": {"optimizer": {"name": "adamm"}}}, "recipe.bad-value"),
    "optimizer's momentum": ({"train": {"optimizer": {"name": "adamw", "momentum": 0.9}}}, "recipe.bad-value"),
    "optimizer's momentum, unnamed": ({"train": {"optimizer": {"momentum": 0.9}}}, "recipe.bad-value"),
    "one beta": ({"train": {"optimizer": {"name": "lion", "betas": [0.9]}}}, "recipe.bad-value"),
    "beta 1": ({"train": {"optimizer": {"name": "lion", "betas": [0.9, 1.0]}}}, "recipe.bad-value"),
    "muon without matrices": ({"train": {"optimizer": {"name": "muon"}}}, "train.no-matrices"),
    "l1": ({"train": {"optimizer": {"l1": -0.1}}}, "recipe.bad-value"),
    "layer decay": ({"train": {"optimizer": {"layer_decay": 0}}}, "recipe.bad-value"),
    "schedule": ({"train": {"schedule": {"name": "cosin"}}}, "recipe.bad-value"),
    "schedule's setting of another": ({"train": {"schedule": {"parts": 4}}}, "recipe.bad-value"),
    "schedule to 0": ({"train": {"schedule": {"name": "exponential", "final": 0}}}, "recipe.bad-value"),
    "plateau without validation": (
        {"data": {"split": {"validation": 0}}, "train": {"schedule": {"name": "plateau"}}},
        "train.plateau-needs-validation",
    ),
    "optimizer text": ({"train": {"optimizer": "adamw"}}, "recipe.bad-value"),
    "rate negative": ({"train": {"optimizer": {"lr": -1.0}}}, "recipe.bad-value"),
    "rate vast": ({"train": {"optimizer": {"lr": 1e9}}}, "recipe.bad-value"),
    "rate diverges": (
        {
            "model": {"architecture": "gru"},
            "train": {"epochs": 200, "early_stopping": {"patience": 0}, "optimizer": {"lr": 99.0, "weight_decay": 10.0}},
        },
        "train.diverged",
    ),
    "metric": ({"train": {"early_stopping": {"metric": "acuracy"}}}, "recipe.bad-value"),
    "patience": ({"train": {"early_stopping": {"patience": -1}}}, "recipe.bad-value"),
    "clip": ({"train": {"clip": {"limit": 0}}}, "recipe.bad-value"),
    "clip nothing to a limit": ({"train": {"clip": {"by": "none", "limit": 1.0}}}, "recipe.bad-value"),
    "clip as it was": ({"train": {"clip_norm": 1.0}}, "recipe.unknown-key-near"),
    "loss": ({"task": {"name": T, "loss": {"name": "hinge"}}}, "recipe.bad-value"),
    "loss as a text": ({"task": {"name": T, "loss": "focal"}}, "recipe.bad-value"),
    "loss's setting of another": ({"task": {"name": T, "loss": {"gamma": 2}}}, "recipe.bad-value"),
    "focal": ({"task": {"name": T, "loss": {"name": "focal", "gamma": -1}}}, "recipe.bad-value"),
    "class weights": ({"task": {"name": T, "class_weights": "inverse"}}, "recipe.bad-value"),
    "dropout 1": ({"model": {"dropout": 1.0}}, "recipe.bad-value"),
    "adversarial": ({"train": {"adversarial": {"epsilon": -1}}}, "recipe.bad-value"),
    "checkpoint activations": ({"train": {"checkpoint_activations": "some"}}, "recipe.bad-value"),
    "average": ({"train": {"average": {"method": "mean"}}}, "recipe.bad-value"),
    "average's setting of another": ({"train": {"average": {"method": "swa", "decay": 0.9}}}, "recipe.bad-value"),
    "average from the end": ({"train": {"average": {"method": "ema", "start": 1.0}}}, "recipe.bad-value"),
    "warmup": ({"train": {"schedule": {"warmup": 3}}}, "recipe.bad-value"),
    "precision": ({"train": {"precision": "fp16"}}, "recipe.bad-value"),
    "device": ({"train": {"device": "tpu"}}, "recipe.bad-value"),
    "device that is not there": ({"train": {"device": "cuda:77"}}, "train.no-device"),
    "threads": ({"train": {"threads": 10**6}}, "recipe.bad-value"),
    "listener": ({"train": {"listeners": ["slack"]}}, "recipe.bad-value"),
    "listener text": ({"train": {"listeners": "tensorboard"}}, "recipe.bad-value"),
    "save unit": ({"train": {"save": {"unit": "minutes"}}}, "recipe.bad-value"),
    "save every 0": ({"train": {"save": {"every": 0}}}, "recipe.bad-value"),
    "seed negative": ({"seed": -1}, "recipe.bad-value"),
    "seed vast": ({"seed": 2**64}, "recipe.bad-value"),
    "max length 0": ({"task": {"name": T, "max_length": 0}}, "recipe.bad-value"),
    "max length text": ({"task": {"name": T, "max_length": "all"}}, "recipe.bad-value"),
    "smoothing 1": ({"task": {"name": T, "label_smoothing": 1}}, "recipe.bad-value"),
    "no such variable": ({"data": {"path": "${DANLU_NOWHERE}/x.csv"}}, "recipe.no-variable"),
    "pictures wanted of texts": ({"task": "image-classification"}, "data."),
    "sounds wanted of texts": ({"task": "audio-classification"}, "data."),
}


@pytest.mark.parametrize("name", TREES)
def test_bad_recipe(fails: Fails, recipe: Callable[..., Path], tmp_path: Path, name: str) -> None:
    changes, key = TREES[name]
    fails(2, key, "train", recipe(changes), "--out", tmp_path / "run")
    if key != "train.diverged":  # nothing was learned: the corrected recipe may have the folder
        assert not (tmp_path / "run").exists()


FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "recipe.not-mapping"),
    "comment only": (b"# nothing\n", "recipe.not-mapping"),
    "list": (b"- task\n- data\n", "recipe.not-mapping"),
    "text": (b"hello", "recipe.not-mapping"),
    "binary": (bytes(range(256)), "recipe.not-utf8"),
    "nul": (b"task: a\0b\n", "recipe.bad-yaml"),
    "utf-16": ("task: text-classification\n".encode("utf-16"), "recipe.not-utf8"),
    "tabs": (b"task: text-classification\ndata:\n\tpath: x.csv\n", "recipe.bad-yaml"),
    "bad indentation": (b"task: x\n  data:\n path: 1\n", "recipe.bad-yaml"),
    "open quote": (b'task: "text\ndata: {}\n', "recipe.bad-yaml"),
    "open bracket": (b"task: [a, b\n", "recipe.bad-yaml"),
    "twice": (b"task: a\ntask: b\n", "recipe.repeated-key"),
    "alias": (b"task: text-classification\ndata: &d {path: *d}\n", "recipe."),
    "recursion": (b"data: &a\n  path: x\n  columns: *a\n", "recipe.alias"),
    "laughs": (b"a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n", "recipe.alias"),
    "deep": (b"[" * 5000, "recipe.alias"),
    "deep mapping": (b"a: " + b"{a: " * 200 + b"1" + b"}" * 200, "recipe."),
    "python tag": (b"task: !!python/object/apply:os.system [ls]\n", "recipe.tag"),
    "two documents": (b"task: a\n---\ntask: b\n", "recipe.bad-yaml"),
    "no data": (b"task: text-classification\n", "recipe.missing-key"),
    "no task": (b"data: {path: x.csv}\n", "recipe.missing-key"),
    "key is a list": (b"? [a, b]\n: c\n", "recipe.odd-key"),
    "key is a number": (b"1: c\ntask: x\ndata: {}\n", "recipe.unknown-key"),
    "vast": (b"#" * 1_100_000, "recipe.too-long"),
    "merge key": (b"<<: {task: text-classification}\ndata: {path: x.csv}\n", "recipe.unknown-key"),
    "key is null": (b"~: 1\ntask: x\ndata: {}\n", "recipe.unknown-key"),
    "twice, deep": (b"task: x\ndata: {path: x}\ntrain:\n  optimizer: {lr: 0.1, lr: 0.2}\n", "recipe.repeated-key"),
    "yaml of tomorrow": (b"%YAML 9.9\n---\ntask: x\n", "recipe.bad-yaml"),
    "set": (b"task: !!set {a}\ndata: {path: x.csv}\n", "recipe.tag"),
    "date for a number": (b"task: text-classification\ndata: {path: x.csv}\nseed: 2024-01-01\n", "recipe.bad-value"),
    "null for a mapping": (b"task: text-classification\ndata: {path: x.csv, split: null}\n", "recipe.bad-value"),
    "variable in a variable": (b'task: text-classification\ndata: {path: "${A${NOWHERE_B}}"}\n', "recipe.no-variable"),
    "json with a comma missing": (b'{"task": "x" "data": {}}', "recipe.bad-yaml"),
    "a csv": (b"text,label\nhello,good\n", "recipe."),
    "vast number": (b"task: text-classification\ndata: {path: x}\nseed: " + b"9" * 5000, "recipe.bad-"),
    "odd number": (b"task: text-classification\ndata: {path: x}\nseed: 0x\n", "recipe.bad-value"),
    "not a number": (b"task: text-classification\ndata: {path: x}\ntrain: {optimizer: {lr: .nan}}\n", "recipe.bad-value"),
}


@pytest.mark.parametrize("name", FILES)
def test_bad_recipe_file(fails: Fails, tmp_path: Path, name: str) -> None:
    content, key = FILES[name]
    (tmp_path / "recipe.yaml").write_bytes(content)
    for verb in ("train", "check"):
        fails(2, key, verb, "recipe.yaml")
    fails(2, key, "recipe", "validate", "recipe.yaml")
    assert not (tmp_path / "runs").exists()


COMMANDS: dict[str, tuple[list[str], str]] = {
    "no command": (["trian"], "cli.no-command"),
    "no option": (["train", "--recipe", "x"], "cli.no-option"),
    "no recipe": (["train"], "cli.missing"),
    "recipe missing": (["train", "nowhere.yaml"], "recipe.no-file"),
    "recipe is a folder": (["train", "."], "recipe.is-folder"),
    "recipe is a long name": (["train", "x" * 400], "recipe.no-file"),
    "unknown task": (["train", "{recipe}", "task=txt-classification"], "recipe.unknown-task"),
    "override without equals": (["train", "{recipe}", "train.epochs"], "recipe.bad-override"),
    "override of nothing": (["train", "{recipe}", "=5"], "recipe.bad-override"),
    "override of an unknown key": (["train", "{recipe}", "train.epoch=5"], "recipe.unknown-key"),
    "override of a wrong type": (["train", "{recipe}", "train.epochs=[1"], "recipe.bad-yaml"),
    "override below a value": (["train", "{recipe}", "seed.x=5"], "recipe.bad-value"),
    "language": (["train", "{recipe}", "--lang", "fr"], "cli.no-language"),
    "resume and recipe": (["train", "{recipe}", "--resume", "x"], "cli.resume-alone"),
    "resume nothing": (["train", "--resume", "nowhere"], "train.not-a-run"),
    "resume a file": (["train", "--resume", "texts.csv"], "train.not-a-run"),
    "resume a folder": (["train", "--resume", "."], "train.not-a-run"),
    "out is a file": (["train", "{recipe}", "--out", "texts.csv"], "train.out-taken"),
    "out is below a file": (["train", "{recipe}", "--out", "texts.csv/run"], "files.bad-place"),
    "out has files": (["train", "{recipe}", "--out", "full"], "train.out-taken"),
    "out is too long": (["train", "{recipe}", "--out", "x" * 300], "files."),
    "new without data": (["new", T], "cli.missing"),
    "new of nothing": (["new", T, "--data", "nowhere.csv", "--out", "new.yaml"], "data.no-such-path"),
    "new of an unknown task": (["new", "txt-classification", "--data", "texts.csv"], "recipe.unknown-task"),
    "new over a file": (["new", T, "--data", "texts.csv", "--out", "texts.csv"], "cli.file-exists"),
    "new below a file": (["new", T, "--data", "texts.csv", "--out", "texts.csv/recipe.yaml"], "files."),
    "new over a folder": (["new", T, "--data", "texts.csv", "--out", "full", "--force"], "files."),
    "new of the wrong kind": (["new", "image-classification", "--data", "texts.csv", "--out", "new.yaml"], "data."),
    "evaluate nothing": (["evaluate", "nowhere", "--data", "texts.csv"], "bundle.not-a-bundle"),
    "predict with nothing": (["predict", "nowhere", "x"], "bundle.not-a-bundle"),
    "predict with a file": (["predict", "texts.csv", "x"], "bundle.not-a-bundle"),
    "predict with a nul": (["predict", "a\0b", "x"], "bundle.not-a-bundle"),
    "report of nothing": (["report", "nowhere"], "train.not-a-run"),
    "report of a folder": (["report", "full"], "train.not-a-run"),
    "quickstart below a file": (["quickstart", "--digits", "texts.csv/digits"], "files."),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_bad_command(fails: Fails, recipe: Callable[..., Path], tmp_path: Path, name: str) -> None:
    words, key = COMMANDS[name]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    before = {path: path.read_bytes() for path in (*tmp_path.glob("*.csv"), tmp_path / "full" / "thesis.txt")}
    fails(2, key, *(word.replace("{recipe}", str(recipe())) for word in words))
    assert {path: path.read_bytes() for path in before} == before
    assert not (tmp_path / "runs").exists()


def test_bad_port(fails: Fails) -> None:
    fails(2, "cli.usage", "serve", "x", "--port", "99999", json_out=False)
    fails(2, "cli.usage", "serve", "x", "--port", "http", json_out=False)
    fails(2, "serve.needs-token", "serve", "nowhere", "--host", "0.0.0.0", json_out=False)
    fails(2, "bundle.not-a-bundle", "serve", "nowhere", json_out=False)


def test_a_folder_that_is_not_mine(fails: Fails, recipe: Callable[..., Path], permissions_hold: None, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    fails(3, "files.not-writable", "train", recipe(), "--out", tmp_path / "locked" / "run")


CHINESE: list[list[str]] = [
    ["trian"],
    ["train"],
    ["train", "nowhere.yaml"],
    ["train", "{recipe}", "train.epochs=0"],
    ["train", "{recipe}", "train.epochs=x"],
    ["train", "{recipe}", "model.size=huge"],
    ["train", "{recipe}", "trian.x=1"],
    ["train", "{recipe}", "data.path=nowhere.csv"],
    ["train", "{recipe}", "train.device=tpu"],
    ["train", "{recipe}", "--bogus"],
    ["train", "{recipe}", "--out"],
    ["train", "--resume", "nowhere"],
    ["predict", "nowhere", "x"],
    ["serve", "nowhere", "--port", "x"],
    ["train", "bad.yaml"],
]


@pytest.mark.parametrize("words", CHINESE, ids=lambda words: " ".join(words))
def test_in_chinese(fails: Fails, recipe: Callable[..., Path], tmp_path: Path, words: list[str]) -> None:
    """Every clause of the sentence is Chinese; names, paths and values stay as they are."""
    (tmp_path / "bad.yaml").write_text("task: [")
    error = fails(2, "", *(word.replace("{recipe}", str(recipe())) for word in words), lang="zh", json_out=False)
    if words[-1] == "bad.yaml":
        return  # what the YAML library says stays in its own language
    foreign = re.findall(r"[A-Za-z]+ [a-z]+ [a-z]+", re.sub(r"`[^`]*`", "", error["message"]))
    assert re.search(r"[\u4e00-\u9fff]", error["message"])
    assert not foreign, error["message"]


def test_true_processes(recipe: Callable[..., Path], tmp_path: Path) -> None:
    """The same as a shell sees it, from nothing: one line and no warning before it."""
    with socket.create_server(("127.0.0.1", 0)):
        (tmp_path / "half.yaml").write_text('task: "\\ud800"\ndata: {path: texts.csv}\n')
        odd = os.fsdecode(b"\xff.yaml")
        good = recipe({"train": {"epochs": 0}})
        for words, code in ((["train", good], 2), (["predict", "nowhere", "x"], 2), (["check", odd], 2), (["check", "half.yaml"], 2)):
            environment = {**os.environ, "DANLU_LANG": "en", "LC_ALL": "C"}
            command = [sys.executable, "-m", "danlu", *map(str, words), "--json"]
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == code, done.stderr
            assert done.stderr.count("\n") == 1, done.stderr
            assert json.loads(done.stdout)["error"]["code"]
