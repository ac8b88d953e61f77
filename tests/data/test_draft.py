from __future__ import annotations

from pathlib import Path

import pytest
from making import csv_of, write_picture
from ruamel.yaml import YAML

from danlu.core.recipe import Data
from danlu.core.recipe_file import load_recipe
from danlu.data.dataset import open_dataset
from danlu.data.draft import draft, scalar

TEXT = {"inputs": {"text": "text"}, "target": "label"}


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_recipe_loads_and_opens_the_same_data(tmp_path: Path, monkeypatch, text_rows, lang: str) -> None:
    monkeypatch.setenv("DANLU_LANG", lang)
    folder = tmp_path / "my: data # 数据"
    folder.mkdir()
    rows = [(text, label, "u1") for text, label in text_rows]
    (folder / "a.csv").write_text(csv_of(rows, "my: text,类 别,user"))
    out = tmp_path / "recipes" / "r.yaml"
    out.parent.mkdir()
    monkeypatch.chdir(tmp_path)
    out.write_text(draft("text-classification", "my: data # 数据/a.csv", out=out, **TEXT), encoding="utf-8")
    recipe = load_recipe(out)
    data = open_dataset(recipe.data, {"text": "text"}, "label", recipe.seed)
    assert data.fields == {"text": ["my: text"], "label": ["类 别"]}
    assert set(data.sides) == {"train", "validation", "test"}
    before = open_dataset(Data(path=str(folder / "a.csv")), {"text": "text"}, "label", 0)
    assert (before.sides == data.sides).all()


def test_headless_with_a_test_file(tmp_path: Path, text_rows) -> None:
    for name, part in (("a.tsv", text_rows[:30]), ("b.tsv", text_rows[30:])):
        (tmp_path / name).write_text("".join(f"{label}\t{text}\n" for text, label in part))
    text = draft("text-classification", str(tmp_path / "a.tsv"), str(tmp_path / "b.tsv"), out=tmp_path / "r.yaml", **TEXT)
    assert "header: false" in text
    (tmp_path / "r.yaml").write_text(text)
    recipe = load_recipe(tmp_path / "r.yaml")
    data = open_dataset(recipe.data, {"text": "text"}, "label", 0)
    assert data.fields == {"text": ["column_2"], "label": ["column_1"]}
    assert len(data.indices("test")) == 10
    assert "test:" in text


def test_folder_of_pictures_says_little(tmp_path: Path) -> None:
    for i in range(20):
        write_picture(tmp_path / "pets" / "ab"[i % 2] / f"{i}.png", i)
    text = draft("image-classification", str(tmp_path / "pets"), inputs={"image": "image"}, target="label", out=tmp_path / "r.yaml")
    assert "columns" not in text
    (tmp_path / "r.yaml").write_text(text)
    assert load_recipe(tmp_path / "r.yaml").data.split.test == 0.1


ODD = """plain|with space|a: b|# no|yes|no|null|~|1e5|00123|C:\\new\\table.csv|"quoted"|it's|- dash|中文|*x|&y|!t|%d|@a|`b`|{c}|[d]| lead|x:
2024-01-01|😀|0x1F|1_000|.5|.inf|../up/a.csv|./a.csv|~/a.csv|/a/b.csv|a/b-c_d.csv|..."""


@pytest.mark.parametrize("value", ["", "\t", "a\nb", *ODD.replace("\n", "|").split("|")])
def test_scalars_come_back(value: str) -> None:
    assert YAML(typ="safe", pure=True).load(f"key: {scalar(value)}  # why")["key"] == value
