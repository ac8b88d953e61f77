"""Compiled kernels: few for transformers on texts, enough for everything else, and what the environment says stays."""

import os
import sys

import pytest

from danlu.core.kernels import keep_for, keep_some
from danlu.core.recipe_file import make_recipe

NAME = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"


def kept(monkeypatch, task, model, before=None):
    monkeypatch.delenv(NAME, raising=False)
    if before:
        monkeypatch.setenv(NAME, before)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    keep_some()
    keep_for(make_recipe({"task": task, "data": {"path": "x"}, "model": model}, []))
    return os.environ[NAME]


@pytest.mark.parametrize(
    ("task", "model", "count"),
    [
        ("text-classification", {"architecture": "transformer"}, "64"),
        ("text-classification", {"pretrained": "some/hub-id"}, "64"),
        ("text-classification", {"architecture": "textcnn"}, "256"),
        ("image-classification", {"architecture": "cnn"}, "256"),
    ],
)
def test_what_a_recipe_trains_decides(monkeypatch, task, model, count):
    assert kept(monkeypatch, task, model) == count


def test_a_bundle_is_a_transformer_where_it_has_a_config(monkeypatch, tmp_path):
    (tmp_path / "bundle").mkdir()
    model = {"pretrained": str(tmp_path)}
    assert kept(monkeypatch, "text-classification", model) == "256"
    (tmp_path / "bundle" / "config.json").write_text("{}")
    assert kept(monkeypatch, "text-classification", model) == "64"


def test_the_environment_goes_before(monkeypatch):
    assert kept(monkeypatch, "text-classification", {"architecture": "transformer"}, before="1024") == "1024"
