"""Frozen first stages computed once: a run that starts behind them is the run that does not, and nothing about the cache changes a result."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file

import danlu
from danlu.core import cache
from danlu.core.errors import RefusedError
from danlu.fields.tokens import learn
from danlu.train import prefix
from danlu.train.run import Run
from danlu.train.train import resume, train

CASES = {
    "transformer": ("text-classification", "head", 1),
    "lstm": ("text-classification", "head", 1),
    "textcnn": ("text-classification", "head", 1),
    "cnn": ("image-classification", "last", 1),
    "vit": ("image-classification", "last", 2),
    "conformer": ("audio-classification", "last", 1),
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """A recipe that goes on from a run of the named architecture."""
    made: dict[str, dict[str, Any]] = {}

    def recipe(name: str) -> dict[str, Any]:
        if name not in made:
            task, method, layers = CASES[name]
            folder = tmp_path_factory.mktemp(name)
            rows = tiny.write(task, folder)
            tree = tiny.recipe(task, rows, epochs=1, listeners=[])
            run = danlu.train({**tree, "model": {"architecture": name}}, out=folder / "run", progress=False)
            tree = tiny.recipe(task, rows, epochs=2, batch_size=8, listeners=[], precision="fp32")
            tree["model"] = {"pretrained": str(run.path), "adapt": {"method": method, **({"layers": layers} if method == "last" else {})}}
            if task != "text-classification":
                tree["data"]["augment"] = []
            made[name] = tree
        return {**made[name], "train": dict(made[name]["train"])}

    return recipe


def weights(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.bundle / "model.safetensors")


def digest(run: Run) -> str:
    return hashlib.sha256((run.bundle / "model.safetensors").read_bytes()).hexdigest()


def said(run: Run) -> set[str]:
    return {event["key"] for event in run.events() if event["event"] == "Warned"}


@pytest.mark.parametrize("name", CASES)
def test_a_run_behind_the_prefix_is_the_run_with_it(name: str, base: Callable[[str], dict[str, Any]], tmp_path: Path) -> None:
    recipe = base(name)
    once = danlu.train(recipe, out=tmp_path / "once", progress=False)
    recipe["train"]["cache_limit"] = 0.0
    always = danlu.train(recipe, out=tmp_path / "always", progress=False)
    assert "train.prefix-kept" in said(once)
    assert not said(always)
    started = load_file(Path(recipe["model"]["pretrained"]) / "bundle" / "model.safetensors")
    assert any(not torch.equal(tensor, started[key]) for key, tensor in weights(once).items())
    same(once, always)


def same(once: Run, always: Run) -> None:
    """Weights and scores within float error."""
    other_weights = weights(always)
    for key, tensor in weights(once).items():
        torch.testing.assert_close(tensor, other_weights[key], atol=2e-5, rtol=1e-3, msg=key)
    scores = [[event for event in run.events() if event["event"] == "Evaluated"] for run in (once, always)]
    for one, other in zip(*scores, strict=True):
        assert one["metrics"] == pytest.approx(other["metrics"], abs=1e-4)


@pytest.mark.parametrize(("method", "kept"), [("head", 1), ("last", None)])
def test_so_is_a_transformers_body(method: str, kept: int | None, tmp_path: Path) -> None:
    """A new head of BERT needs a single position of each row; its last layer needs them all."""
    from transformers import BertConfig, BertModel

    task, folder = "text-classification", tmp_path / "body"
    torch.manual_seed(1)
    shape = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 400}
    BertModel(BertConfig(**shape, max_position_embeddings=40)).save_pretrained(folder)
    words = learn([row["text"] for row in tiny.rows(task)], 300).to_str()
    (folder / "tokenizer.json").write_text(words, encoding="utf8")
    recipe = tiny.recipe(task, tiny.write(task, tmp_path), epochs=2, batch_size=8, listeners=[], precision="fp32")
    recipe["model"] = {"pretrained": str(folder), "adapt": {"method": method, **({"layers": 1} if method == "last" else {})}}
    once = danlu.train(recipe, out=tmp_path / "once", progress=False)
    recipe["train"]["cache_limit"] = 0.0
    same(once, danlu.train(recipe, out=tmp_path / "always", progress=False))
    assert "train.prefix-kept" in said(once)
    (entry,) = (tmp_path / "cache" / prefix.ROOM).iterdir()
    values = np.load(entry / "train.npy", mmap_mode="r")
    _, lengths_N = np.load(entry / "train-rows.npy")
    assert values.shape == ((len(lengths_N), 1, 32) if kept else (lengths_N.sum(), 32))


class Crash(Exception):
    pass


def after(step: int) -> Callable[[Any], None]:
    def hear(event: Any) -> None:
        if type(event).__name__ == "Saved" and event.step >= step:
            raise Crash

    return hear


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_resumed_run_has_the_same_bits_with_and_without_its_cache(
    forgotten: bool, base: Callable[[str], dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = base("transformer")
    recipe["train"]["save"] = {"every": 1, "unit": "steps"}
    whole = danlu.train(recipe, out=tmp_path / "whole", progress=False)
    for step in (1, 3, 5):
        if forgotten:
            monkeypatch.setenv("DANLU_CACHE", str(tmp_path / f"cache{step}"))
        with pytest.raises(Crash):
            if step == 1:
                train(danlu.api.recipe_of(recipe), tmp_path / "killed", listen=[after(step)])
            else:
                resume(tmp_path / "killed", listen=[after(step)])
    saved = load_file(next((tmp_path / "killed" / "checkpoints").glob("step-*")) / "model.safetensors")
    assert not any("embeddings" in name for name in saved)  # what does not learn is not saved again and again
    assert digest(resume(tmp_path / "killed")) == digest(whole)


def test_other_frozen_weights_are_not_resumed(base: Callable[[str], dict[str, Any]], tmp_path: Path) -> None:
    recipe = base("transformer")
    recipe["train"]["save"] = {"every": 1, "unit": "steps"}
    with pytest.raises(Crash):
        train(danlu.api.recipe_of(recipe), tmp_path / "run", listen=[after(2)])
    other = tiny.recipe("text-classification", Path(recipe["data"]["path"]), epochs=1, listeners=[])
    base_run = danlu.train({**other, "model": {"architecture": "transformer"}, "seed": 7}, out=tmp_path / "other", progress=False)
    path = tmp_path / "run" / "recipe.yaml"
    path.write_text(path.read_text(encoding="utf8").replace(recipe["model"]["pretrained"], str(base_run.path)), encoding="utf8")
    with pytest.raises(RefusedError) as caught:
        resume(tmp_path / "run")
    assert caught.value.code == "train.checkpoint-differs"


def test_the_cache_is_found_again_and_a_damaged_one_is_not_believed(
    base: Callable[[str], dict[str, Any]], tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[bool] = []
    compute = prefix._compute
    monkeypatch.setattr(prefix, "_compute", lambda *args: (calls.append(args[3] is not None), compute(*args))[1])
    first = danlu.train(base("cnn"), out=tmp_path / "1", progress=False)
    assert calls.count(True) == 2
    again = danlu.train(base("cnn"), out=tmp_path / "2", progress=False)
    assert calls.count(True) == 2
    (entry,) = (own_cache / prefix.ROOM).iterdir()
    values = bytearray((entry / "train.npy").read_bytes())
    values[-5] ^= 0x40
    (entry / "train.npy").write_bytes(values)
    mended = danlu.train(base("cnn"), out=tmp_path / "3", progress=False)
    assert calls.count(True) == 4
    assert digest(first) == digest(again) == digest(mended)


@pytest.mark.parametrize("blocked", ["folder", "disk"])
def test_without_room_on_the_disk_memory_serves(
    blocked: str, base: Callable[[str], dict[str, Any]], tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = danlu.train(base("cnn"), out=tmp_path / "plain", progress=False)
    if blocked == "folder":
        (tmp_path / "file").touch()
        monkeypatch.setenv("DANLU_CACHE", str(tmp_path / "file"))
    else:
        monkeypatch.setenv("DANLU_CACHE", str(tmp_path / "full"))
        monkeypatch.setattr(prefix.os, "posix_fallocate", _full)
    recipe = base("cnn")
    recipe["train"]["cache_limit"] = 1.0
    assert digest(danlu.train(recipe, out=tmp_path / "run", progress=False)) == digest(plain)


def _full(*args: Any) -> None:
    raise OSError(28, "No space left on device")


def test_too_small_a_limit_and_augmented_rows_are_said(base: Callable[[str], dict[str, Any]], tmp_path: Path, own_cache: Path) -> None:
    recipe = base("cnn")
    recipe["train"] |= {"cache_limit": 1e-9, "epochs": 1}
    assert said(danlu.train(recipe, out=tmp_path / "small", progress=False)) == {"train.prefix-too-large"}
    del recipe["train"]["cache_limit"]
    recipe["data"] = {**recipe["data"], "augment": ["shift"]}
    assert said(danlu.train(recipe, out=tmp_path / "augmented", progress=False)) == {"train.prefix-augmented"}
    assert not own_cache.exists()


def test_texts_moved_for_the_worse_enter_at_the_front(base: Callable[[str], dict[str, Any]], tmp_path: Path) -> None:
    recipe = base("transformer")
    recipe["train"] |= {"adversarial": {"epsilon": 0.5}, "epochs": 1}
    assert said(danlu.train(recipe, out=tmp_path / "run", progress=False)) == {"train.prefix-adversarial"}


def test_averages_and_activations_computed_again_begin_behind_the_prefix_too(base: Callable[[str], dict[str, Any]], tmp_path: Path) -> None:
    recipe = base("vit")
    recipe["train"] |= {"average": {"method": "ema", "decay": 0.9}, "checkpoint_activations": True}
    once = danlu.train(recipe, out=tmp_path / "once", progress=False)
    assert "train.prefix-kept" in said(once)
    recipe["train"] |= {"cache_limit": 0.0, "checkpoint_activations": False}
    same(once, danlu.train(recipe, out=tmp_path / "always", progress=False))


def test_the_room_is_bounded_and_the_oldest_go(own_cache: Path) -> None:
    for number in range(4):
        with cache.caching("room", f"key{number}", 2500) as folder:
            (folder / "x").write_bytes(bytes(900))
        os.utime(own_cache / "room" / f"key{number}", (number, number))
    assert cache.cached("room", "key0") is None
    assert cache.cached("room", "key3") is not None


def test_rows_are_put_together_with_zeros() -> None:
    rows = [np.ones((n, 2), np.float32) for n in (3, 1)]
    task = prefix.Onward(None, ragged=True, bf16=False)
    batch = task.collate([{"inner": row, "length": len(row), "target": np.int64(0)} for row in rows])
    assert batch["inner"].tolist() == [[[1, 1]] * 3, [[1, 1], [0, 0], [0, 0]]]
    assert list(batch["target"]) == [0, 0]
