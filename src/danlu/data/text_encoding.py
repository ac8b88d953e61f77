"""Bytes to text without asking: UTF-8, UTF-16, UTF-32, GB18030 (which holds GBK and GB2312), Big5 and Windows-1252 (which holds Latin-1),
told apart by what the bytes allow.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Sequence

from danlu.core.errors import InputError

_MARKS = (  # longer marks first: UTF-32 LE begins like UTF-16 LE
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_GB_CHARACTER = re.compile(rb"[\x81-\xfe](?:[0-9][\x81-\xfe][0-9]|[\x40-\x7e\x80-\xfe])")
_BIG5 = "cp950"  # as Windows writes Big5
_SAMPLE = 1 << 20
_FREQUENT = "\n\t,;|，。的了"  # none of them is two ASCII bytes


def decode(data: bytes, where: str) -> tuple[str, str]:
    """The text and the name of its encoding. InputError with the byte position where no encoding fits."""
    for mark, name in _MARKS:
        if data.startswith(mark):
            return _strict(data, name, where), name
    wide = _wide(data)
    if wide:
        return _strict(data, wide, where), wide
    if b"\x00" in data:
        position = data.index(b"\x00")
        line = data.count(b"\n", 0, position) + 1
        raise InputError("data.not-text", f"{where}:{line}", file=where, position=position)
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError as error:
        sample = data[:_SAMPLE]
        if not _damaged_utf8(sample):
            gb, western = _looks_gb(sample), _looks_western(sample)
            if (gb or not western) and _looks_big5(sample):
                return _strict(data, _BIG5, where), "big5"
            if gb:
                return _strict(data, "gb18030", where), "gb18030"
            if western:
                return _strict(data, "cp1252", where), "windows-1252"
        raise _undecodable(data, error.start, where) from None


def _strict(data: bytes, name: str, where: str) -> str:
    try:
        return data.decode(name)
    except UnicodeDecodeError as error:
        raise _undecodable(data, error.start, where) from None


def _undecodable(data: bytes, position: int, where: str) -> InputError:
    line = data.count(b"\n", 0, position) + 1
    return InputError("data.undecodable", f"{where}:{line}", file=where, position=position, line=line)


def _wide(data: bytes) -> str | None:
    """UTF-16 without a mark: of the two orders the one under which line ends, separators and frequent Chinese marks come up often.

    Zero bytes alone do not tell: U+4E00, "one", holds one on the wrong side.
    """
    sample = data[: min(len(data), _SAMPLE) // 2 * 2]
    if len(data) % 2 or not sample.count(0):
        return None
    found = {}
    for name in ("utf-16-le", "utf-16-be"):
        text = sample.decode(name, errors="replace")
        found[name] = 0 if "\x00" in text else sum(map(text.count, _FREQUENT))
    best = max(found, key=found.__getitem__)
    return best if found[best] * 200 >= len(sample) else None


def _damaged_utf8(sample: bytes) -> bool:
    """Damaged UTF-8 still holds more whole characters than broken ones."""
    lenient = sample.decode("utf-8", errors="replace")
    return sum(map(len, re.findall(r"[^\x00-\x7f\ufffd]+", lenient))) > lenient.count("\ufffd")


def _looks_western(sample: bytes) -> bool:
    """Whether high bytes are few and stand alone among ASCII, as accents and signs do, and nothing is a control character."""
    runs = re.findall(rb"[\x80-\xff]+", sample)
    high = sum(map(len, runs))
    alone = sum(len(run) for run in runs if len(run) == 1)
    return high < 0.3 * len(sample) and alone >= 0.6 * high and not re.search(rb"[\x01-\x08\x0e-\x1a\x1c-\x1f]", sample)


def _looks_gb(sample: bytes) -> bool:
    """Whether bytes that are not UTF-8 are GB18030: in Western text the byte after a high byte is mostly ASCII."""
    characters = _GB_CHARACTER.findall(sample)
    return bool(characters) and sum(c[-1] >= 0x80 or len(c) == 4 for c in characters) >= 0.5 * len(characters)


def _looks_big5(sample: bytes) -> bool:
    """Whether Chinese characters are everyday ones when read as Big5, and not when read as GB18030.

    Both sets have rows of signs, of everyday and of rare characters; text in the one, read as the other, hits the rare ones.
    """
    as_big5 = _everyday(sample, _BIG5, range(0xA1, 0xC7), 0x40)
    return as_big5 > 0.9 and as_big5 > _everyday(sample, "gb18030", (*range(0xA1, 0xA4), *range(0xB0, 0xD8)), 0xA1)


def _everyday(sample: bytes, name: str, rows: Sequence[int], least: int) -> float:
    """Share of characters beyond ASCII whose first byte is a row of `rows` and the second at least `least`; broken ones count against it."""
    text = sample.decode(name, errors="replace")
    found = Counter(character for character in text if character > "\x7f")
    codes = {character: character.encode(name) for character in found if character != "\ufffd"}
    usual = sum(found[character] for character, code in codes.items() if len(code) == 2 and code[0] in rows and code[1] >= least)
    return usual / (found.total() or 1)
