from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from danlu.cli.options import Json, Lang, emit, speak
from danlu.core.words import say


def predict(
    bundle: Annotated[str, typer.Argument(help=say("cli.option-bundle"), metavar="BUNDLE")],
    values: Annotated[list[str], typer.Argument(help=say("cli.option-values"), metavar="[TEXT|FILE|-]...")] = [],  # noqa: B006
    json: Json = False,
    lang: Lang = "",
) -> None:
    from danlu import api

    speak(lang)
    predictor = api.load(bundle)
    rows = list(values) or ["-"]
    kind = next(iter(predictor.task.inputs.values()))
    chunk = 1 if sys.stdin.isatty() else 64
    for value, prediction in _together(predictor, _rows(rows, kind), chunk):
        if json:
            emit(prediction.as_json())
        else:
            print(f"{prediction.label}\t{prediction.score:.4f}\t{_short(value)}", flush=True)


def _rows(values: list[str], kind: str) -> Iterator[Any]:
    """Each argument is a row; `-` stands for one row a line of standard input (a text, a path, or a JSON object of fields)."""
    import json

    from danlu.core.errors import InputError

    for value in values:
        if value != "-":
            yield _argument(value, kind)
            continue
        sys.stdin.reconfigure(encoding="utf-8-sig", errors="surrogateescape")
        for number, line in enumerate(sys.stdin, 1):
            text = line.rstrip("\r\n")
            if text.startswith("{"):
                try:
                    yield json.loads(text)
                except (ValueError, RecursionError) as error:
                    raise InputError("cli.bad-line", f"stdin:{number}", number=number) from error
            elif text.strip():
                yield text.encode("utf8", "surrogateescape").decode("utf8", "replace")


def _argument(value: str, kind: str) -> str:
    """A text, or the path of a picture or sound; InputError for what is surely a slip."""
    from danlu.core.errors import InputError

    path = Path(value)
    try:
        file, folder = path.is_file(), path.is_dir()
    except OSError:  # a text that is longer than any name
        file = folder = False
    if kind == "text":
        if file and path.suffix:
            raise InputError("cli.file-as-text", value, path=value)
    elif folder and value:
        raise InputError("cli.folder-as-file", value, path=value)
    elif not file:
        raise InputError("cli.no-file", value, path=value)
    return value


def _together(predictor: Any, rows: Iterator[Any], chunk: int) -> Iterator[tuple[Any, Any]]:
    """Rows with their predictions, as they come."""
    seen: list[Any] = []

    def remember() -> Iterator[Any]:
        for row in rows:
            seen.append(row)
            yield row

    for prediction in predictor.stream(remember(), chunk):
        yield seen.pop(0), prediction


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else text[:57] + "..."
