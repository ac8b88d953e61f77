from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from danlu.core.errors import InputError
from danlu.data.columns import choose
from danlu.data.source import Source

LONG = [f"this is sentence number {i}, about {['cats', 'dogs'][i % 2]}" for i in range(60)]
LABELS = [("good", "bad", "fine")[i % 3] for i in range(60)]
IDS = [str(1000 + i) for i in range(60)]
DATES = [f"2024-01-{1 + i % 28:02}" for i in range(60)]


def fields(columns: dict[str, list[str]], given: dict | None = None, kind: str = "text") -> dict[str, list[str]]:
    source = Source.of(pl.DataFrame(columns), "t.csv", Path(), range(2, 62))
    return choose(source, given or {}, {kind: kind}, "label")[0]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("text", "label"), ("Review", "Sentiment"), ("comment_text", "toxic class"), ("文本", "标签"), ("评论", "类别"), ("内容", "情感"),
        ("Message", "Category"), ("tweet", "target"), ("sentence", "intent"), ("正文", "分类"), ("utterance", "y"), ("foo", "bar"),
    ],
)  # fmt: skip
def test_names_people_use(text: str, label: str) -> None:
    for order in ({text: LONG, label: LABELS}, {label: LABELS, text: LONG}, {"id": IDS, text: LONG, "date": DATES, label: LABELS}):
        assert fields(order) == {"text": [text], "label": [label]}


def test_title_and_body_are_joined() -> None:
    assert fields({"label": LABELS, "title": LONG, "text": LONG})["text"] == ["title", "text"]
    assert fields({"标题": LONG, "内容": LONG, "类别": LABELS})["text"] == ["标题", "内容"]
    assert fields({"column_1": LABELS, "column_2": LONG, "column_3": LONG}) == {"text": ["column_2", "column_3"], "label": ["column_1"]}
    assert fields({"question1": LONG, "question2": LONG, "label": LABELS})["text"] == ["question1", "question2"]


def test_short_chinese_texts_by_content() -> None:
    headlines = [f"第{i}条新闻标题" for i in range(60)]
    assert fields({"column_1": headlines, "column_2": LABELS}) == {"text": ["column_1"], "label": ["column_2"]}


def test_sparse_columns_are_no_labels() -> None:
    assert fields({"no": IDS, "Titel": LONG, "Kategorie": LABELS, "Datum": DATES}) == {"text": ["Titel"], "label": ["Kategorie"]}
    sparse = ["x", "y"] * 5 + [None] * 50
    assert fields({"v1": LABELS, "v2": LONG, "column_3": sparse}) == {"text": ["v2"], "label": ["v1"]}


def test_a_column_of_one_value_is_the_label_only_where_nothing_else_is() -> None:
    columns = {"Words": LONG, "Mood": LABELS, "Land": ["de"] * 60}
    assert fields(columns)["label"] == ["Mood"]
    assert fields({"Words": LONG, "Land": ["de"] * 60})["label"] == ["Land"]


def test_what_the_user_says_wins() -> None:
    columns = {"text": LONG, "other": LONG, "label": LABELS, "mood": LABELS}
    assert fields(columns, {"text": ["other", "text"], "label": "mood"}) == {"text": ["other", "text"], "label": ["mood"]}
    assert fields(columns, {"label": "mood"})["text"] == ["text"]


@pytest.mark.parametrize(
    ("given", "code", "says"),
    [
        ({"text": "txt"}, "data.no-such-column", "did you mean text?"),
        ({"label": "LABEL "}, "data.no-such-column", "did you mean label?"),
        ({"label": "zzzz"}, "data.no-such-column", "it has text, label"),
        ({"labels": "label"}, "data.no-such-field", "did you mean label?"),
        ({"label": ["text", "label"]}, "data.one-column", "exactly one"),
        ({"text": []}, "data.one-column", "text"),
    ],
)
def test_unknown_names(given: dict, code: str, says: str) -> None:
    with pytest.raises(InputError, match=says.replace("?", r"\?")) as caught:
        fields({"text": LONG, "label": LABELS}, given)
    assert caught.value.code == code
    assert caught.value.where.startswith("data.columns")


def test_nothing_fits() -> None:
    with pytest.raises(InputError) as caught:
        fields({"text": LONG, "id": IDS})
    assert caught.value.code == "data.no-target"
    with pytest.raises(InputError) as caught:
        fields({"label": LABELS})
    assert caught.value.code == "data.no-input"
    with pytest.raises(InputError) as caught:
        fields({"words": LONG, "label": LABELS}, kind="image")
    assert caught.value.code == "data.no-input"


def test_media_columns() -> None:
    files = [f"pictures/{i}.JPG" for i in range(60)]
    for name in ("file", "image_path", "图片", "whatever"):
        assert fields({name: files, "caption": LONG, "label": LABELS}, kind="image")["image"] == [name]


def test_guesses_are_told(tmp_path: Path, text_data) -> None:
    lines = [json.dumps({"review": text, "stars": label}) for text, label in zip(LONG, LABELS, strict=True)]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    notes = text_data(tmp_path / "t.jsonl").notes
    assert {"key": "data.note-named", "field": "text", "columns": "review"} in notes
    assert {"key": "data.note-named", "field": "label", "columns": "stars"} in notes
