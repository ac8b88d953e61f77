"""Every method of adapting through the whole house: trained, saved, loaded and answering the same; what cannot be merged is recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch

import danlu
from danlu.bundle.predictor import Predictor
from danlu.core.errors import InputError

MERGED = {
    "full": {}, "head": {}, "last": {"layers": 1}, "named": {"names": ["layer.1", "*LayerNorm*"]}, "gradual": {}, "lora": {}, "dora": {}, "ia3": {},
}  # fmt: skip
KEPT = {"bottleneck": {"width": 8}, "prompt": {"tokens": 4}, "prefix": {"tokens": 4}}
TEXT, PICTURES, SOUNDS = "text-classification", "image-classification", "audio-classification"


def adapted(recipe: dict[str, Any], start: Path, method: str, **settings: Any) -> dict[str, Any]:
    return {**recipe, "model": {"pretrained": str(start), "adapt": {"method": method, **settings}}}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """A recipe of few steps, and a transformers folder to start from."""
    folder = tmp_path_factory.mktemp("text")
    recipe = tiny.recipe(TEXT, tiny.write(TEXT, folder), epochs=2, batch_size=8, optimizer={"lr": 0.02}, listeners=[])
    return recipe, tiny.bert(folder / "bert")


@pytest.mark.parametrize("method", MERGED | KEPT)
def test_a_bundle_answers_as_the_evaluation_did(method: str, text: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    recipe, start = text
    run = danlu.train(adapted(recipe, start, method, **(MERGED | KEPT)[method]), out=tmp_path / "run", progress=False)
    about = json.loads((run.bundle / "danlu.json").read_text(encoding="utf8"))
    assert about.get("adapter", {}).get("method") == (method if method in KEPT else None)
    predictor, rows = Predictor(run.bundle), tiny.rows(TEXT)[:9]
    scores = np.array([list(prediction.scores.values()) for prediction in predictor.predict(rows)])
    theirs = _as_transformers(run.bundle, predictor, rows, method == "prompt")
    said = (run.bundle / "card.md").read_text(encoding="utf8")
    if method in MERGED or method == "prompt":
        np.testing.assert_allclose(scores, theirs, atol=1e-5)
    if method in KEPT:
        assert "WITHOUT the adapter" in said
        assert not np.allclose(scores, _as_transformers(run.bundle, predictor, rows, False), atol=1e-5)
        with pytest.raises(InputError) as caught:
            danlu.train(adapted(recipe, run.path, "full"), out=tmp_path / "second", progress=False)
        assert caught.value.code == "bundle.keeps-adapter"
    else:
        assert "adapter" not in said


def _as_transformers(bundle: Path, predictor: Predictor, rows: list, with_peft: bool) -> np.ndarray:
    """What the folder answers to who has transformers (and peft) alone."""
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    net = AutoModelForSequenceClassification.from_pretrained(bundle)
    if with_peft:
        net = PeftModel.from_pretrained(net, bundle / "adapter")
    batch = predictor.task.collate([predictor.encode(row) for row in rows])
    ids_BT, lengths_B = torch.as_tensor(batch["ids"]), torch.as_tensor(batch["ids_lengths"])
    mask_BT = (torch.arange(ids_BT.shape[1]) < lengths_B[:, None]).long()
    with torch.no_grad():
        return net.eval()(input_ids=ids_BT, attention_mask=mask_BT).logits.softmax(dim=1).numpy()


def test_a_damaged_adapter_is_refused(text: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    run = danlu.train(adapted(text[0], text[1], "prefix"), out=tmp_path / "run", progress=False)
    (run.bundle / "adapter" / "adapter_model.safetensors").unlink()
    with pytest.raises(danlu.core.errors.RefusedError):
        danlu.load(run.path)


@pytest.mark.parametrize(
    ("method", "settings", "code"),
    [("named", {"names": ["layer.7"]}, "adapt.no-name"), ("prompt", {"tokens": 30}, "adapt.no-room")],
)
def test_what_does_not_fit_the_model_is_said_before_training(
    method: str, settings: dict[str, Any], code: str, text: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        danlu.train(adapted(text[0], text[1], method, **settings), out=tmp_path / "run", progress=False)
    assert caught.value.code == code
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("task", "architecture"), [(TEXT, "transformer"), (PICTURES, "cnn"), (SOUNDS, "cnn")])
def test_from_a_bundle_of_danlus_own(task: str, architecture: str, tmp_path: Path) -> None:
    recipe = tiny.recipe(task, tiny.write(task, tmp_path), epochs=1, batch_size=16, listeners=[])
    first = danlu.train({**recipe, "model": {"architecture": architecture}}, out=tmp_path / "first", progress=False)
    for method in ("gradual", "dora", "ia3", "bottleneck", "prompt", "prefix"):
        again = adapted(recipe, first.path, method)
        if task != TEXT and method in ("prompt", "prefix"):
            with pytest.raises(InputError) as caught:
                danlu.train(again, out=tmp_path / method, progress=False)
            assert caught.value.code == "adapt.no-attention"
            continue
        run = danlu.train(again, out=tmp_path / method, progress=False)
        rows = tiny.rows(task)[:5]
        together = Predictor(run.bundle).predict(rows)
        for row, prediction in zip(rows, together, strict=True):
            (alone,) = Predictor(run.bundle).predict([row])
            np.testing.assert_allclose(list(alone.scores.values()), list(prediction.scores.values()), atol=1e-5)
