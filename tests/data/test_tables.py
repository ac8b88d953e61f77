from __future__ import annotations

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from danlu.core.errors import InputError
from danlu.data.tables import read_table


def table(path: Path, content: str | bytes, **options: object):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path, path.name, **options)


def body(rows, separator: str = ",") -> str:
    return "".join(f'"{text}"{separator}{label}\n' for text, label in rows)


@pytest.mark.parametrize("separator", [",", ";", "|", "\t"])
@pytest.mark.parametrize("ending", [".csv", ".tsv", ".txt"])
def test_separator_is_found(tmp_path: Path, text_rows, separator: str, ending: str) -> None:
    source = table(tmp_path / f"t{ending}", f"text{separator}label\n" + body(text_rows, separator))
    assert source.frame.rows() == text_rows
    assert source.line_N.tolist() == list(range(2, 42))


def test_cells_stay_as_written(tmp_path: Path) -> None:
    rows = [("NA", "00123"), ("null", "1e5"), ("True", "2024-01-02"), ("nan", "-0"), ("1.50", "12345678901234567890")] * 2
    source = table(tmp_path / "t.csv", "text,label\n" + "".join(f"{a},{b}\n" for a, b in rows) + ',""\n')
    assert source.frame.rows() == [*rows, (None, None)]


def test_json_numbers_stay_as_written(tmp_path: Path) -> None:
    line = '{"text": 1.50, "label": 12345678901234567890, "flag": true, "more": ["a", {"b": null}], "none": null}'
    source = table(tmp_path / "t.jsonl", line + "\n\n" + '{"text": "x", "later": "new column"}\n')
    assert source.frame.row(0, named=True) == {
        "text": "1.50", "label": "12345678901234567890", "flag": "true", "more": '["a", {"b": null}]', "none": None, "later": None,
    }  # fmt: skip
    assert source.line_N.tolist() == [1, 3]
    assert source.frame["later"].to_list() == [None, "new column"]


@pytest.mark.parametrize(
    "value",
    [
        [{"text": "a", "label": 1}],
        {"data": [{"text": "a", "label": 1}], "version": "2"},
        {"text": ["a"], "label": [1]},
        {"text": {"0": "a"}, "label": {"0": 1}},
        {"columns": ["text", "label"], "index": [0], "data": [["a", 1]]},
        {"x": {"text": "a", "label": 1}, "y": {"text": "b", "label": 2}},
        {"0": {"text": "a", "label": 1}, "1": {"text": "b", "label": 2}},
    ],
)
def test_shapes_of_json(tmp_path: Path, value: object) -> None:
    assert table(tmp_path / "t.json", json.dumps(value)).frame.row(0, named=True) == {"text": "a", "label": "1"}


@pytest.mark.parametrize("value", [{"a": {"x": 1}, "b": {"y": 2}}, {"a": {}, "b": {}}, {"a": 1}, {"a": {"x": {"y": 1}}, "b": {"x": 1}}])
def test_objects_that_are_no_rows(tmp_path: Path, value: object) -> None:
    with pytest.raises(InputError) as caught:
        table(tmp_path / "t.json", json.dumps(value))
    assert caught.value.code == "data.not-rows"


def test_a_first_line_that_tells_the_separator(tmp_path: Path) -> None:
    source = table(tmp_path / "t.csv", "sep=;\r\ntext;label\r\na, b, c;x\r\nd, e, f;y\r\n")
    assert source.frame.rows() == [("a, b, c", "x"), ("d, e, f", "y")]
    assert source.line_N.tolist() == [3, 4]


def test_json_lines_under_the_wrong_name(tmp_path: Path) -> None:
    assert len(table(tmp_path / "t.json", '{"text": "a"}\n{"text": "b"}\n').frame) == 2


def test_parquet_types_become_text(tmp_path: Path) -> None:
    frame = pl.DataFrame({"text": ["a", None], "label": [1, 2], "x": [0.5, None], "b": [True, False], "many": [["u"], None]})
    frame.write_parquet(tmp_path / "t.parquet")
    source = read_table(tmp_path / "t.parquet", "t.parquet")
    assert source.frame.rows() == [("a", "1", "0.5", "true", '["u"]'), (None, "2", None, "false", None)]


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_each_form_also_gzipped(tmp_path: Path, text_rows, ending: str) -> None:
    frame = pl.DataFrame({"text": [t for t, _ in text_rows], "label": [label for _, label in text_rows]})
    plain = tmp_path / f"t.{ending}"
    {
        "csv": frame.write_csv,
        "tsv": lambda path: frame.write_csv(path, separator="\t"),
        "jsonl": frame.write_ndjson,
        "json": frame.write_json,
        "parquet": frame.write_parquet,
    }[ending](plain)
    packed = tmp_path / f"t.{ending}.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert read_table(plain, "t").frame.rows() == read_table(packed, "t").frame.rows() == text_rows


def test_headless_like_ag_news(tmp_path: Path) -> None:
    content = "".join(f'"{i % 4 + 1}","Title {i} of the day","Some long story, number {i}"\n' for i in range(30))
    source = table(tmp_path / "train.csv", content)
    assert source.header is False
    assert source.frame.columns == ["column_1", "column_2", "column_3"]
    assert len(source.frame) == 30
    assert source.notes[-1]["key"] == "data.note-no-header"


@pytest.mark.parametrize("label", ["sports", "news", "类别", "question"])
def test_headless_label_then_text(tmp_path: Path, label: str) -> None:
    names = [label, "other", "third"]
    content = "".join(f"{names[i % 3]}\tthis is sentence {i}, which is long\n" for i in range(30))
    source = table(tmp_path / "train.txt", content)
    assert source.header is False
    assert len(source.frame) == 30


def test_header_of_unknown_words(tmp_path: Path) -> None:
    content = "quux,frob\n" + "".join(f'"some sentence, number {i}",{"ab"[i % 2]}\n' for i in range(20))
    assert table(tmp_path / "t.csv", content).header is True


def test_header_can_be_forced(tmp_path: Path) -> None:
    content = "text,label\nhello there,a\n"
    assert len(table(tmp_path / "t.csv", content, header=False).frame) == 2
    assert len(table(tmp_path / "t.csv", content, header=True).frame) == 1


def test_ragged_rows_are_dropped_by_line(tmp_path: Path) -> None:
    rows = [f"text {i},{'ab'[i % 2]}" for i in range(20)]
    rows[4], rows[9] = "one,two,three", "alone"
    source = table(tmp_path / "t.csv", "text,label\n" + "\n".join(rows) + "\n")
    assert len(source.frame) == 18
    assert [(drop.reason, drop.origin) for drop in source.dropped] == [("data.drop-ragged", "t.csv:6"), ("data.drop-ragged", "t.csv:11")]


def test_lines_count_newlines_inside_cells(tmp_path: Path) -> None:
    content = 'text,label\r\n"two\r\nlines",a\r\nnext,b\n"x\ny\nz",a\nlast,b\n'
    assert table(tmp_path / "t.csv", content).line_N.tolist() == [2, 4, 5, 8]


def test_tabs_do_not_quote(tmp_path: Path) -> None:
    content = 'text\tlabel\n"Hello" she said\ta\nand "then\tb\n"open\ta\n' + "more\tb\n" * 5
    source = table(tmp_path / "t.tsv", content)
    assert source.frame["text"].to_list()[:3] == ['"Hello" she said', 'and "then', '"open']


def test_index_column_without_a_name(tmp_path: Path) -> None:
    source = table(tmp_path / "t.csv", ",text,label\n0,hello you,a\n1,good bye,b\n")
    assert source.frame.columns == ["column_1", "text", "label"]


@pytest.mark.parametrize(
    ("name", "content", "code", "where"),
    [
        ("t.csv", 'text,label\nfine,a\n"open,b\nmore,a\nlast,b\n', "data.open-quote", "t.csv:3"),
        ("t.csv", "text,label\n" + "a,b,c\n" * 9 + "x,y\n", "data.mostly-ragged", "t.csv:2"),
        ("t.csv", "text,text\na,b\n", "data.repeated-column", "t.csv:1"),
        ("t.csv", "", "data.empty", "t.csv"),
        ("t.csv", "\n\n  \n", "data.empty", "t.csv"),
        ("t.csv", "text,label\n", "data.empty", "t.csv"),
        ("t.csv", ",,\n,,\n,,\n", "data.empty", "t.csv"),
        ("t.csv", b"PK\x03\x04\x14\x00\x06\x00\x08\x00" + bytes(range(256)) * 9, "data.not-text", "t.csv:1"),
        ("t.jsonl", '{"text": "a"}\n{"text": \n', "data.bad-json-line", "t.jsonl:2"),
        ("t.jsonl", '{"text": "a"}\n[1, 2]\n', "data.not-an-object", "t.jsonl:2"),
        ("t.jsonl", "[" * 100_000 + "\n", "data.bad-json-line", "t.jsonl:1"),
        ("t.json", '[{"text": "a"},\n{"text" "b"}]', "data.bad-json", "t.json:2"),
        ("t.json", "[1, 2, 3]", "data.not-rows", "t.json"),
        ("t.json", '{"a": 1}', "data.not-rows", "t.json"),
        ("t.json", "[]", "data.empty", "t.json"),
        ("t.json", "[{}]", "data.empty", "t.json"),
        ("t.json", "[" * 100_000, "data.bad-json", "t.json"),
        ("t.parquet", b"PAR1 not really", "data.bad-parquet", "t.parquet"),
        ("t.csv.gz", b"\x1f\x8b\x08 cut short", "data.bad-gzip", None),
        ("t.xlsx", b"PK\x03\x04", "data.unknown-format", "t.xlsx"),
        ("t.csv", "a," * 20_000 + "b\n", "data.too-many-columns", "t.csv"),
        ("t.csv", "text,label\n" + "x" * 10_000_001 + ",a\n", "data.huge-cell", "t.csv:2"),
    ],
)
def test_one_clear_error(tmp_path: Path, name: str, content: str | bytes, code: str, where: str | None) -> None:
    with pytest.raises(InputError) as caught:
        table(tmp_path / name, content)
    assert caught.value.code == code
    assert where is None or caught.value.where == where
    assert "\n" not in caught.value.sentence()


def test_empty_cells_at_the_end_of_rows(tmp_path: Path) -> None:
    source = table(tmp_path / "t.csv", "text,label\nhello there,a,,\ngood bye,b\nagain,a,\n")
    assert source.frame.rows() == [("hello there", "a"), ("good bye", "b"), ("again", "a")]


def test_parquet_with_bytes(tmp_path: Path) -> None:
    frame = pl.DataFrame({"image": [{"bytes": b"\x89PNG\xff", "path": "a.png"}, None], "words": ["好".encode(), b"x"], "label": [0, 1]})
    frame.write_parquet(tmp_path / "t.parquet")
    source = read_table(tmp_path / "t.parquet", "t.parquet")
    assert source.frame.rows() == [("image:1", "好", "0"), ("image:2", "x", "1")]
    assert source.arrays["image"].tolist() == [b"\x89PNG\xff", None]


def test_half_a_surrogate_pair_in_json(tmp_path: Path) -> None:
    assert table(tmp_path / "t.jsonl", '{"text": "a\\ud800b"}\n').frame.rows() == [("a?b",)]
