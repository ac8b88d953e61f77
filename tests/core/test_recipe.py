"""Recipes: YAML 1.2, lines, nearest names, overrides, variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from danlu.core.errors import DanluError
from danlu.core.recipe import Recipe
from danlu.core.recipe_file import load_recipe, make_recipe, read_yaml
from danlu.train.run import to_yaml

GOOD = "task: text-classification\ndata:\n  path: news.csv\ntrain:\n  epochs: 3\n  optimizer: {name: adamw, lr: 5e-5}\nseed: 7\n"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf8")
    return path


def test_yaml_is_1_2(tmp_path: Path) -> None:
    tree, lines = read_yaml("a: yes\nb: no\nc: 5e-5\nd: 1_0\ne: 010\nf: null\ng: on\nh: 1:30", "x")
    assert tree["a"] == "yes"
    assert tree["b"] == "no"
    assert tree["c"] == 5e-5
    assert tree["g"] == "on"
    assert tree["h"] == "1:30"
    assert tree["f"] is None
    assert lines[("c",)] == 3


def test_paths_start_at_the_recipe(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, GOOD))
    assert recipe.data.path == str(tmp_path / "news.csv")
    assert recipe.train.optimizer.lr == 5e-5
    assert recipe.seed == 7


def test_overrides_and_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "/somewhere")
    recipe = load_recipe(
        write(tmp_path, GOOD.replace("news.csv", "${WHERE}/news.csv")), ["train.epochs=9", "task.max_length=12", "data.augment=[]"]
    )
    assert recipe.data.path == "/somewhere/news.csv"
    assert recipe.train.epochs == 9
    assert recipe.task_options == {"max_length": 12}
    assert recipe.data.augment == []


def test_the_resolved_recipe_reads_back(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, GOOD), ["data.columns={text: [title, 'a: b'], label: 标签}"])
    assert load_recipe(write(tmp_path, to_yaml(recipe))) == recipe


WRONG = [
    ("", "recipe.not-mapping", ""),
    ("- a\n- b\n", "recipe.not-mapping", ""),
    ("task: x\ndata: {path: a}\ntrain:\n  epoch: 3\n", "recipe.unknown-key-near", "recipe.yaml:4"),
    ("task: x\ndata: {path: a}\ntrian: {}\n", "recipe.unknown-key-near", "recipe.yaml:3"),
    ("task: x\ndata: {path: a}\nqqqqq: 1\n", "recipe.unknown-key", "recipe.yaml:3"),
    ("task: x\ntask: y\ndata: {path: a}\n", "recipe.repeated-key", "recipe.yaml:2"),
    ("task: x\n", "recipe.missing-key", "recipe.yaml"),
    ("task: x\ndata:\n\t- a\n", "recipe.bad-yaml", "recipe.yaml:3"),
    ("task: x\ndata: {path: a\n", "recipe.bad-yaml", "recipe.yaml"),
    ("task: x\ndata: {path: a}\nseed: -1\n", "recipe.bad-value", "recipe.yaml:3"),
    ("task: x\ndata: {path: a}\nseed: 1.5\n", "recipe.bad-value", "recipe.yaml:3"),
    ("task: x\ndata: {path: a}\nseed: true\n", "recipe.bad-value", "recipe.yaml:3"),
    ("task: x\ndata: {path: a}\ntrain: {optimizer: {lr: .inf}}\n", "recipe.bad-value", "recipe.yaml:3"),
    ("task: x\ndata: {path: a}\ntrain: {optimizer: adam}\n", "recipe.bad-value", "recipe.yaml:3"),
    ("task: x\ndata: {path: a}\nmodel: {pretrained: a, architecture: b}\n", "recipe.bad-value", "recipe.yaml:3"),
    ("task: x\ndata: {path: '${DANLU_NO_SUCH}'}\n", "recipe.no-variable", "recipe.yaml"),
    ("task: !!python/object:os.system x\ndata: {path: a}\n", "recipe.tag", "recipe.yaml:1"),
    ("a: &a [x]\nb: [*a, *a]\n", "recipe.alias", "recipe.yaml:1"),
    ("task: {max_length: 3}\ndata: {path: a}\n", "recipe.bad-value", "recipe.yaml:1"),
    ("task: x\ndata: {path: a, split: {by: colour}}\n", "recipe.bad-value", "recipe.yaml:2"),
    ("task: x\ndata: {path: a, split: {test: 1.5}}\n", "recipe.bad-value", "recipe.yaml:2"),
]


@pytest.mark.parametrize(("text", "code", "where"), WRONG)
def test_a_wrong_recipe_is_one_sentence_with_its_line(tmp_path: Path, text: str, code: str, where: str) -> None:
    with pytest.raises(DanluError) as caught:
        load_recipe(write(tmp_path, text))
    assert caught.value.code == code
    assert caught.value.exit_code == 2
    assert where in caught.value.where
    assert "\n" not in caught.value.sentence()


def test_no_file_and_not_utf8(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(DanluError):
            load_recipe(path)
    bad = tmp_path / "bad.yaml"
    bad.write_bytes(b"task: \xff\xfe")
    with pytest.raises(DanluError, match="UTF-8"):
        load_recipe(bad)


@pytest.mark.parametrize("text", ["train.epochs", "=3", "train..x=1", "train.epochs=[", "trian.epochs=3", "train.epochs.x=3"])
def test_a_wrong_override_is_said(text: str) -> None:
    with pytest.raises(DanluError) as caught:
        make_recipe({"task": "x", "data": {"path": "a"}}, [text])
    assert caught.value.exit_code == 2


def test_budget_of_settings() -> None:
    """Of those that every recipe has; see docs/decisions on how a recipe stays easy."""
    def count(model: type) -> int:
        total = 0
        for field in model.model_fields.values():
            inner, extra = field.annotation, field.json_schema_extra or {}
            total += count(inner) if hasattr(inner, "model_fields") else extra.get("x-default") != "by method"
        return total

    assert count(Recipe) <= 60
