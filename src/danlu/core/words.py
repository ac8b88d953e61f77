"""Every sentence a person reads, in English and Chinese, looked up by key.

A key is `room.name`; the sentences of a room stand in `words/ROOM.toml` beside this file:

    [no-such-file]
    en = "There is no file or folder {path}."
    zh = "找不到文件或文件夹 {path}。"
    hint.en = "..."        # optional: what to do
    hint.zh = "..."
"""

from __future__ import annotations

import os
import tomllib
from functools import cache
from pathlib import Path

LANGUAGES = ("en", "zh")
_FOLDER = Path(__file__).parent / "words"


def language() -> str:
    """`DANLU_LANG` if it names a language Danlu speaks, else the locale's, else English."""
    for name in ("DANLU_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(name, "").lower()
        if value:
            return "zh" if value.startswith("zh") else "en"
    return "en"


@cache
def catalogue(room: str) -> dict[str, dict]:
    """All entries of one room."""
    return tomllib.loads((_FOLDER / f"{room}.toml").read_text(encoding="utf8"))


def say(key: str, /, lang: str | None = None, **values: object) -> str:
    """The sentence `key` in the reader's language with `values` filled in. A missing key is our bug: KeyError."""
    entry = _entry(key)
    return entry[lang or language()].format(**values)


def hint(key: str, /, lang: str | None = None, **values: object) -> str:
    """What to do about the error `key`, or an empty string where the message says it already."""
    found = _entry(key).get("hint")
    return found[lang or language()].format(**values) if found else ""


def _entry(key: str) -> dict:
    room, _, name = key.partition(".")
    return catalogue(room)[name]
