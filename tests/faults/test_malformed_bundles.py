"""Bundles, model folders and runs that are damaged, foreign or made by hand, and what people send to a good one."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
from test_disk import damage
from test_kill import Crash, crash_after

import danlu
from danlu.core.files import read_json, seal

Fails = Callable[..., dict[str, str]]
T, I = "text-classification", "image-classification"  # noqa: E741
MANIFEST = "danlu.json"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run of texts (gru) and of pictures, and one of texts that crashed after two checkpoints."""
    from danlu.train.train import train

    folder = tmp_path_factory.mktemp("runs")
    made = {}
    for task, model in ((T, {"architecture": "gru"}), (I, {})):
        recipe = tiny.recipe(task, tiny.write(task, folder / task), epochs=1, listeners=[])
        made[task] = danlu.train({**recipe, "model": model}, out=folder / f"run-{task}", progress=False).path
    recipe = tiny.recipe(T, folder / T / "rows.csv", batch_size=8, save={"every": 1, "unit": "steps"}, listeners=[])
    with pytest.raises(Crash):
        train(danlu.api.recipe_of(recipe), folder / "crashed", listen=[crash_after(3)])
    return {**made, "crashed": folder / "crashed"}


@pytest.fixture
def bundle(runs: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(runs[T] / "bundle", tmp_path / "bundle"))


def edit(file: Path, change: Callable[[Any], Any]) -> None:
    """Changes a JSON file of a bundle by hand, hashes and all."""
    tree = read_json(file)
    file.write_text(json.dumps(change(tree) or tree), encoding="utf8")
    if file.name != MANIFEST:
        about = read_json(file.parent / MANIFEST)
        seal(file.parent, MANIFEST, {key: value for key, value in about.items() if key != "files"})


def weights(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    if (folder / MANIFEST).exists():
        edit(folder / "task.json", lambda tree: tree)


EDITS: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "future format": (MANIFEST, lambda a: a.update(format=99), "bundle.newer"),
    "format in words": (MANIFEST, lambda a: a.update(format="one"), "bundle.newer"),
    "a list": (MANIFEST, lambda a: [1, 2], "bundle.bad-file"),
    "no task": (MANIFEST, lambda a: a.pop("task") and None, "bundle."),
    "task a word": (MANIFEST, lambda a: a.update(task="x"), "bundle."),
    "task unknown": (MANIFEST, lambda a: a["task"].update(name="nothing"), "bundle."),
    "task of another kind": (MANIFEST, lambda a: a["task"].update(name=I), "bundle."),
    "task of somebody": (MANIFEST, lambda a: a["task"].update(name="evil:Task"), "bundle.outside-code"),
    "task in the standard library": (MANIFEST, lambda a: a["task"].update(name="subprocess:Popen"), "bundle."),
    "option unknown": (MANIFEST, lambda a: a["task"].update(colour=3), "bundle.bad-file"),
    "option of a wrong type": (MANIFEST, lambda a: a["task"].update(max_length="x"), "bundle.bad-file"),
    "no model": (MANIFEST, lambda a: a.pop("model") and None, "bundle."),
    "architecture unknown": (MANIFEST, lambda a: a["model"].update(architecture="nothing"), "bundle.bad-file"),
    "architecture a number": (MANIFEST, lambda a: a["model"].update(architecture=7), "bundle.bad-file"),
    "architecture of somebody": (MANIFEST, lambda a: a["model"].update(architecture="evil:Net"), "bundle.outside-code"),
    "architecture of the system": (MANIFEST, lambda a: a["model"].update(architecture="os:system"), "bundle."),
    "another architecture": (MANIFEST, lambda a: a["model"].update(architecture="lstm"), "bundle.bad-weights"),
    "another size": (MANIFEST, lambda a: a["model"].update(size="base"), "bundle.bad-weights"),
    "adapter a word": (MANIFEST, lambda a: a.update(adapter="prompt"), "bundle.bad-file"),
    "adapter unknown": (MANIFEST, lambda a: a.update(adapter={"method": "nothing"}), "bundle.bad-file"),
    "adapter without its size": (MANIFEST, lambda a: a.update(adapter={"method": "prefix"}), "bundle.bad-file"),
    "adapter of another model": (MANIFEST, lambda a: a.update(adapter={"method": "prefix", "tokens": 3}), "bundle.bad-file"),
    "adapter nowhere": (MANIFEST, lambda a: a.update(adapter={"method": "bottleneck", "width": 2, "widths": {"x": 4}}), "bundle.bad-file"),
    "no files": (MANIFEST, lambda a: a.pop("files") and None, "bundle.damaged"),
    "files a list": (MANIFEST, lambda a: a.update(files=[1]), "bundle.damaged"),
    "files none": (MANIFEST, lambda a: a.update(files={}), "bundle.damaged"),
    "files outside": (MANIFEST, lambda a: a["files"].update({"../../etc/passwd": "0"}), "bundle.damaged"),
    "labels fewer": ("task.json", lambda s: s.update(labels=["good"]), "bundle.bad-weights"),
    "labels more": ("task.json", lambda s: s["labels"].append("new"), "bundle.bad-weights"),
    "labels none": ("task.json", lambda s: s.pop("labels") and None, "bundle.bad-file"),
    "labels a number": ("task.json", lambda s: s.update(labels=5), "bundle.bad-file"),
    "facts none": ("task.json", lambda s: s.pop("facts") and None, "bundle.bad-file"),
    "facts null": ("task.json", lambda s: s.update(facts=None), "bundle.bad-file"),
    "facts empty": ("task.json", lambda s: s.update(facts={}), "bundle.bad-file"),
    "tokenizer broken": ("task.json", lambda s: s["facts"].update(tokenizer="{"), "bundle.bad-file"),
    "length negative": ("task.json", lambda s: s["facts"].update(max_length=-4), "bundle.bad-file"),
    "length a word": ("task.json", lambda s: s["facts"].update(max_length="x"), "bundle.bad-file"),
    "a list of facts": ("task.json", lambda s: [1], "bundle.bad-file"),
}


@pytest.mark.parametrize("name", EDITS)
def test_edited_bundle(fails: Fails, recipe: Callable[..., Path], bundle: Path, name: str) -> None:
    file, change, key = EDITS[name]
    edit(bundle / file, change)
    fails(4, key, "predict", bundle, "hello")
    fails(4, key, "serve", bundle, "--port", "0", json_out=False)
    fails(4, key, "evaluate", bundle, "--data", "texts.csv")


USED = [name for name in EDITS if not name.startswith(("labels", "option", "length", "adapter"))]  # those that a new training reads


@pytest.mark.parametrize("name", USED)
def test_training_from_an_edited_bundle(fails: Fails, recipe: Callable[..., Path], bundle: Path, name: str) -> None:
    file, change, key = EDITS[name]
    edit(bundle / file, change)
    other, fits = name.startswith("task "), not name.startswith("another")
    code, key = (2, "train.other-task") if other and name != "task a word" else (4, "bundle.") if fits else (2, "train.body-differs")
    fails(code, key, "train", recipe({"model": {"pretrained": str(bundle)}}), "--out", "run")
    assert not Path("run").exists()


@pytest.mark.parametrize("how", ["cut", "empty", "nan", "fewer", "none", "half"])
def test_weights(fails: Fails, recipe: Callable[..., Path], bundle: Path, how: str) -> None:
    """Weights that are not what the model needs, with hashes that say they are."""
    if how in ("cut", "empty"):
        damage(bundle / "model.safetensors", how)
        edit(bundle / "task.json", lambda tree: tree)
    elif how == "nan":
        weights(bundle, lambda tensors: next(iter(tensors.values())).fill_(float("nan")))
    elif how == "half":
        weights(bundle, lambda tensors: tensors.update({name: t[: len(t) // 2].clone() for name, t in tensors.items()}))
    else:
        weights(bundle, lambda tensors: tensors.clear() if how == "none" else tensors.popitem())
    fails(4, "bundle.", "predict", bundle, "hello")
    fails(2 if how in ("fewer", "half", "none") else 4, "", "train", recipe({"model": {"pretrained": str(bundle)}}), "--out", "run")


def test_bundle_of_another_task(fails: Fails, recipe: Callable[..., Path], runs: dict[str, Path]) -> None:
    fails(2, "train.other-task", "train", recipe({"model": {"pretrained": str(runs[I])}}), "--out", "run")
    fails(2, "bundle.unfinished", "predict", runs["crashed"], "hello")
    fails(2, "bundle.unfinished", "serve", runs["crashed"], json_out=False)
    fails(2, "bundle.unfinished", "report", runs["crashed"])


# -- model folders -------------------------------------------------------------------------------------------------
CONFIG = {
    "model_type": "bert", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
    "vocab_size": 10, "max_position_embeddings": 32, "pad_token_id": 0,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole transformers folder of a very small BERT."""
    from transformers import BertConfig, BertForSequenceClassification

    path = tmp_path / "bert"
    BertForSequenceClassification(BertConfig(**CONFIG)).save_pretrained(path)
    (path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "food", "number", "n", "p"]))
    return path


def changed(name: str, **values: Any) -> Callable[[Path], Any]:
    return lambda at: (at / name).write_text(json.dumps({**(read_json(at / name) if (at / name).exists() else {}), **values}))


FOLDERS: dict[str, tuple[Callable[[Path], Any], int, str]] = {
    "auto_map": (changed("config.json", auto_map={"AutoModel": "evil.Net"}), 4, "pretrained.code"),
    "auto_map of the tokenizer": (changed("tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", None]}), 4, "pretrained.code"),
    "pickles only": (lambda at: (at / "model.safetensors").rename(at / "pytorch_model.bin"), 4, "pretrained.pickled"),
    "no weights": (lambda at: (at / "model.safetensors").unlink(), 4, "pretrained.missing"),
    "no config": (lambda at: (at / "config.json").unlink(), 4, "pretrained.missing"),
    "no tokenizer": (lambda at: (at / "vocab.txt").unlink(), 4, "pretrained.missing"),
    "empty folder": (lambda at: [file.unlink() for file in at.iterdir()], 4, "pretrained.missing"),
    "config no json": (lambda at: (at / "config.json").write_text("{"), 4, "pretrained.bad-file"),
    "config a list": (lambda at: (at / "config.json").write_text("[]"), 4, "pretrained.bad-file"),
    "config binary": (lambda at: (at / "config.json").write_bytes(b"\xff\xfe\x00"), 4, "pretrained.bad-file"),
    "no type": (changed("config.json", model_type=None), 4, "pretrained.bad-file"),
    "unknown type": (changed("config.json", model_type="zzz"), 4, "pretrained.unknown-type"),
    "type without classifier": (changed("config.json", model_type="clip_vision_model"), 4, "pretrained."),
    "heads do not divide": (changed("config.json", num_attention_heads=5), 4, "pretrained."),
    "size a word": (changed("config.json", hidden_size="big"), 4, "pretrained."),
    "size vast": (changed("config.json", hidden_size=10**12), 3, "train.out-of-memory"),
    "size negative": (changed("config.json", num_hidden_layers=-1), 4, "pretrained."),
    "other shape": (changed("config.json", hidden_size=64), 4, "pretrained.bad-shape"),
    "more layers": (changed("config.json", num_hidden_layers=3), 4, "pretrained.bad-shape"),
    "activation unknown": (changed("config.json", hidden_act="zzz"), 4, "pretrained."),
    "labels odd": (changed("config.json", id2label=5), 0, ""),
    "weights cut": (lambda at: damage(at / "model.safetensors", "cut"), 4, "pretrained.bad-file"),
    "weights empty": (lambda at: damage(at / "model.safetensors", "empty"), 4, "pretrained.bad-file"),
    "weights nan": (lambda at: weights(at, lambda t: t["bert.embeddings.word_embeddings.weight"].fill_(float("nan"))), 4, "pretrained.nan"),
    "weights of something else": (
        lambda at: weights(at, lambda t: [t.clear(), t.update(x=__import__("torch").zeros(2))]),
        4,
        "pretrained.bad-shape",
    ),
    "shards missing": (
        lambda at: [(at / "model.safetensors").unlink(), changed("model.safetensors.index.json", weight_map={"a": "b.safetensors"})(at)],
        4,
        "pretrained.missing",
    ),
    "shards outside": (
        lambda at: [(at / "model.safetensors").unlink(), changed("model.safetensors.index.json", weight_map={"a": "../../x"})(at)],
        4,
        "pretrained.missing",
    ),
    "shards odd": (
        lambda at: [(at / "model.safetensors").unlink(), changed("model.safetensors.index.json", weight_map=[1])(at)],
        4,
        "pretrained.",
    ),
    "tokenizer broken": (lambda at: (at / "tokenizer.json").write_text("{}"), 4, "pretrained.bad-file"),
    "vocabulary empty": (lambda at: (at / "vocab.txt").write_text(""), 4, "pretrained."),
    "vocabulary too long": (
        lambda at: (at / "vocab.txt").write_text(
            "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]"] + [f"good{i}" for i in range(99)] + ["good", "food"])
        ),
        4,
        "pretrained.",
    ),
    "limits odd": (changed("tokenizer_config.json", model_max_length="long"), 0, ""),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_model_folder(fails: Fails, recipe: Callable[..., Path], folder: Path, tmp_path: Path, name: str) -> None:
    change, code, key = FOLDERS[name]
    change(folder)
    path = recipe({"model": {"pretrained": str(folder)}})
    if code:
        fails(code, key, "train", path, "--out", "run")
        assert (tmp_path / "run").exists() == (code == 3)
    else:
        danlu.train(str(path), out=tmp_path / "run", progress=False)


def test_pictures_from_a_model_folder(fails: Fails, recipe: Callable[..., Path], folder: Path, runs: dict[str, Path]) -> None:
    changes = {"task": I, "data": {"path": str(runs[I].parent / I / "media")}, "model": {"pretrained": str(folder)}}
    fails(2, "", "train", recipe(changes), "--out", "run")


# -- rows to predict -----------------------------------------------------------------------------------------------
LINES: dict[str, tuple[bytes, str]] = {
    "no json": (b'{"text": "a"\n', "cli.bad-line"),
    "no json after good": (b'{"text": "a"}\n{"text"\n', "cli.bad-line"),
    "deep json": (b'{"text":' * 5000, "cli.bad-line"),
    "empty object": (b"{}\n", "bundle.field-missing"),
    "another field": (b'{"txt": "a"}\n', "bundle.field-missing"),
    "null": (b'{"text": null}\n', "bundle.field-missing"),
    "number": (b'{"text": 5}\n', "data.want-text"),
    "list": (b'{"text": ["a"]}\n', "data.want-text"),
    "object": (b'{"text": {"a": 1}}\n', "data.want-text"),
    "true": (b'{"text": true}\n', "data.want-text"),
}


@pytest.mark.parametrize("name", LINES)
def test_bad_lines(fails: Fails, runs: dict[str, Path], name: str) -> None:
    content, key = LINES[name]
    fails(2, key, "predict", runs[T], "-", stdin=content)


def test_a_file_is_no_text(fails: Fails, runs: dict[str, Path], texts: Path) -> None:
    fails(2, "cli.file-as-text", "predict", runs[T], texts)
    fails(2, "cli.file-as-text", "predict", runs[T], "texts.csv", lang="zh")


def test_scores_on_the_training_data_say_so(
    runs: dict[str, Path], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from danlu.cli.main import run

    monkeypatch.setenv("DANLU_LANG", "en")
    assert run(["evaluate", str(runs[T]), "--data", str(runs[T].parent / T / "rows.csv")]) == 0
    assert "the data that the model was trained on" in capfd.readouterr().err


def test_odd_lines_are_answered(runs: dict[str, Path], tmp_path: Path) -> None:
    """Binary, half characters, no line at all: texts all the same."""
    for content, lines in ((b"", 0), (b"\n\n", 0), (bytes(range(256)), None), (b'{"text": "\\ud800"}\n', 1), (b"x" * 2_000_000, 1)):
        done = subprocess.run(
            [sys.executable, "-m", "danlu", "predict", str(runs[T]), "-", "--json"], input=content, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr
        assert lines is None or done.stdout.count(b"\n") == lines


def test_bad_pictures(fails: Fails, runs: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("I am no picture")
    (tmp_path / "b.png").write_bytes(b"")
    for value, key in (
        ("a.txt", "data.bad-image"),
        ("b.png", "data.bad-image"),
        ("nowhere.png", "cli.no-file"),
        (".", "cli.folder-as-file"),
        ("", "cli.no-file"),
    ):
        fails(2, key, "predict", runs[I], value)
    fails(2, "data.no-media-file", "predict", runs[I], "-", stdin=b"nowhere.png\n")
    fails(2, "data.", "predict", runs[I], "-", stdin=b"./\n")
    fails(2, "data.want-image", "predict", runs[I], "-", stdin=b'{"image": 5}\n')
    fails(2, "data.", "predict", runs[I], "-", stdin=b"a\0b\n")
    fails(2, "bundle.field-missing", "predict", runs[I], "-", stdin=b'{"text": "a"}\n')


def test_bad_evaluation(fails: Fails, runs: dict[str, Path], texts: Path, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("text,label\nhello,new\nyou,newer\n")
    (tmp_path / "bare.csv").write_text("text\nhello\nyou\n")
    (tmp_path / "empty.csv").write_text("")
    for data in ("nowhere.csv", "other.csv", "bare.csv", "empty.csv", str(runs[I].parent / I)):
        fails(2, "", "evaluate", runs[T], "--data", data)
    fails(2, "", "evaluate", runs[I], "--data", texts)


def test_bad_serving(fails: Fails, runs: dict[str, Path]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        error = fails(2, "serve.no-port", "serve", runs[T], "--port", taken.getsockname()[1], json_out=False)
    fails(2, "serve.no-port", "serve", runs[T], "--host", "no.such.host.invalid", "--token", "x", json_out=False)
    fails(2, "serve.no-port", "serve", runs[T], "--host", "192.0.2.1", "--token", "x", json_out=False)
    fails(2, "cli.bad-option", "serve", runs[T], "--queue", "0", json_out=False)
    fails(2, "serve.needs-token", "serve", runs[T], "--host", "::", json_out=False)
    assert error


# -- runs that somebody has laid hands on ----------------------------------------------------------------------------
HANDS: dict[str, tuple[Callable[[Path], Any], int, str]] = {
    "recipe cut": (lambda at: (at / "recipe.yaml").write_text("task: [\n"), 2, "recipe.bad-yaml"),
    "recipe empty": (lambda at: (at / "recipe.yaml").write_text(""), 2, "recipe.not-mapping"),
    "recipe gone": (lambda at: (at / "recipe.yaml").unlink(), 2, "train.not-a-run"),
    "recipe of another size": (lambda at: reword(at, "size: small", "size: base"), 4, "train.checkpoint-differs"),
    "recipe of another architecture": (lambda at: reword(at, "architecture: bag", "architecture: gru"), 4, "train.checkpoint-differs"),
    "recipe of another optimizer": (lambda at: sgd(at), 4, "train.checkpoint-differs"),
    "recipe of two optimizers": (lambda at: reword(at, "name: adamw", "name: sgd"), 2, "recipe.bad-value"),
    "data described badly": (lambda at: (at / "data.json").write_text("{"), 2, "train.bad-file"),
    "data described as a list": (lambda at: (at / "data.json").write_text("[]"), 2, "train.bad-file"),
    "data described elsewhere": (lambda at: (at / "data.json").write_text("{}"), 2, "train.bad-file"),
    "looks broken": (lambda at: (at / "looks.json").write_text("{"), 2, "train.bad-file"),
    "looks a number": (lambda at: (at / "looks.json").write_text("5"), 2, "train.bad-file"),
    "checkpoint of the future": (lambda at: state(at, colour=3), 4, "train.checkpoint-differs"),
}


def reword(at: Path, old: str, new: str) -> None:
    text = (at / "recipe.yaml").read_text(encoding="utf8")
    assert old in text
    (at / "recipe.yaml").write_text(text.replace(old, new), encoding="utf8")


def sgd(at: Path) -> None:
    reword(at, "name: adamw", "name: sgd")
    reword(at, "betas:\n    - 0.9\n    - 0.999\n", "betas: null\n")
    reword(at, "momentum: null", "momentum: 0.9")


def state(at: Path, **values: Any) -> None:
    for folder in (at / "checkpoints").glob("step-*"):
        changed("state.json", **values)(folder)
        seal(folder)


@pytest.mark.parametrize("name", HANDS)
def test_run_in_other_hands(fails: Fails, runs: dict[str, Path], tmp_path: Path, name: str) -> None:
    change, code, key = HANDS[name]
    run = Path(shutil.copytree(runs["crashed"], tmp_path / "run"))
    change(run)
    kept = sorted(path.name for path in (run / "checkpoints").iterdir())
    fails(code, key, "train", "--resume", run)
    if "looks" not in name:
        assert sorted(path.name for path in (run / "checkpoints").iterdir()) == kept


def test_data_gone(fails: Fails, runs: dict[str, Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs["crashed"], tmp_path / "run"))
    reword(run, "rows.csv", "deleted.csv")
    fails(2, "data.no-such-path", "train", "--resume", run)
    assert (run / "checkpoints").is_dir()


def test_a_finished_run_in_other_hands(fails: Fails, runs: dict[str, Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs[T], tmp_path / "run"))
    for content in ("{", "[]", "{}", '{"metrics": {}}'):
        (run / "report.json").write_text(content)
        fails(2, "train.bad-file", "report", run)
        fails(2, "train.bad-file", "report", run, "--lang", "zh", lang="zh")
        fails(2, "train.bad-file", "train", "--resume", run)


def test_events_in_other_hands(runs: dict[str, Path], tmp_path: Path) -> None:
    """What is no event is no event; the run goes on."""
    run = Path(shutil.copytree(runs["crashed"], tmp_path / "run"))
    size = (run / "events.jsonl").stat().st_size
    (run / "events.jsonl").write_bytes(b"oops\n\xff\n[1]\n" + b" " * size)
    assert danlu.resume(run, progress=False).finished


def test_environment(fails: Fails, recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    danlu.train(str(recipe({"train": {"threads": None}})), out=tmp_path / "run", progress=False)
    assert os.path.exists(tmp_path / "run" / "report.json")
