"""The command line run in this process, and what every refusal must look like."""

from __future__ import annotations

import ctypes
import io
import json
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from danlu.cli.main import run

Fails = Callable[..., dict[str, str]]


@pytest.fixture
def fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> Iterator[Fails]:
    """`fails(exit_code, key, *words)` runs `danlu WORDS --json`: one sentence at the end of stderr and the same as JSON on stdout."""
    for name, value in {"DANLU_LANG": "en", "DANLU_CACHE": str(tmp_path / ".cache"), "HF_HUB_OFFLINE": "1", "DANLU_TOKEN": ""}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    handler = signal.getsignal(signal.SIGTERM)

    def call(code: int, key: str, *words: object, stdin: bytes = b"", lang: str = "en", json_out: bool = True) -> dict[str, str]:
        monkeypatch.setenv("DANLU_LANG", lang)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf8"))
        capfd.readouterr()
        found = run([*map(str, words), *(["--json"] if json_out else [])])
        out, err = capfd.readouterr()
        assert found == code, err
        *before, sentence = err.splitlines()
        assert "Traceback" not in err
        assert sentence.strip() == sentence
        assert not [line for line in before if line == sentence or "rror" in line], err
        assert not [str(warning.message) for warning in recwarn.list if issubclass(warning.category, RuntimeWarning)]
        error = json.loads(out.splitlines()[-1])["error"] if json_out else {"code": key, "message": sentence, "hint": "", "where": ""}
        assert set(error) == {"code", "message", "where", "hint"}
        assert error["code"].startswith(key), sentence
        assert error["code"] != "cli.unexpected"
        assert sentence.startswith(error["message"][:-1])
        assert sentence.endswith(error["hint"] or sentence)
        assert not re.search(r"{\w*}", sentence), sentence
        return error

    yield call
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Forty rows of two classes."""
    path = tmp_path / "texts.csv"
    words = ("good food and kind people", "terrible noise all night long")
    path.write_text("text,label,source\n" + "".join(f"{words[i % 2]} number {i},{'pn'[i % 2]},web\n" for i in range(40)), encoding="utf8")
    return path


@pytest.fixture
def recipe(tmp_path: Path, texts: Path) -> Callable[..., Path]:
    """Writes a recipe for `texts` that trains in a second: `recipe({"train": {...}})` merges into it."""

    def write(changes: dict[str, Any] | None = None) -> Path:
        tree: dict[str, Any] = {
            "task": "text-classification",
            "data": {"path": str(texts)},
            "train": {"epochs": 1, "threads": 1, "listeners": []},
        }
        path = tmp_path / "recipe.yaml"
        path.write_text(json.dumps(_merged(tree, changes or {}), ensure_ascii=False), encoding="utf8")
        return path

    return write


def _merged(tree: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    both = {
        name: _merged(tree[name], value) if isinstance(tree.get(name), dict) and isinstance(value, dict) else value
        for name, value in changes.items()
    }
    return {**tree, **both}


@pytest.fixture
def permissions_hold() -> Iterator[None]:
    """The permission bits of files count for root too: its two capabilities to pass them by are put aside in this thread."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()  # _LINUX_CAPABILITY_VERSION_3; effective is sets[0]
    assert libc.capget(header, sets) == 0
    before = sets[0]
    sets[0] = before & ~(1 << 1 | 1 << 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(header, sets) == 0
    yield
    sets[0] = before
    assert libc.capset(header, sets) == 0
