"""The house holds itself: floors, ceilings, words in two languages, nothing heavy before it is needed."""

from __future__ import annotations

import ast
import re
import string
import subprocess
import sys
from pathlib import Path

import pytest

from danlu.core.words import LANGUAGES, catalogue

SRC = Path(__file__).parents[2] / "src" / "danlu"
FILES = sorted(SRC.rglob("*.py"))
FLOORS = {
    "core": 0,
    "data": 1,
    "fields": 1,
    "nn": 1,
    "tasks": 2,
    "bundle": 3,
    "evaluate": 4,
    "train": 5,
    "explain": 6,
    "compress": 6,
    "serve": 6,
    "cli": 7,
    "studio": 7,
}
TOP = 7  # the package's own files: api.py and __init__.py
NO_TORCH = {"core", "data", "fields", "tasks", "cli", "serve"}
SAYING = {"say", "hint", "InputError", "RefusedError", "ResourceError", "ProofFailed", "Stopped", "DanluError"}
LINES, FUNCTION, PARAMETERS = 400, 60, 8


def room(path: Path) -> str:
    parts = path.relative_to(SRC).parts
    return parts[0] if len(parts) > 1 else ""


def imports(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def top_level_imports(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {name.partition(".")[0] for name in imports(ast.Module([node], []))}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_imports_go_down(path: Path) -> None:
    here = room(path)
    floor = FLOORS.get(here, TOP)
    for name in imports(ast.parse(path.read_text(encoding="utf8"))):
        if name.startswith("danlu."):
            there = name.split(".")[1]
            if there in FLOORS and there != here:
                assert FLOORS[there] < floor or (not here and FLOORS[there] <= TOP), f"{here} imports {name}"


@pytest.mark.parametrize("path", [p for p in FILES if room(p) in NO_TORCH], ids=lambda p: str(p.relative_to(SRC)))
def test_torch_starts_at_nn(path: Path) -> None:
    assert not top_level_imports(ast.parse(path.read_text(encoding="utf8"))) & {"torch", "transformers", "peft"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_ceilings(path: Path) -> None:
    text = path.read_text(encoding="utf8")
    assert text.count("\n") <= LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno - node.lineno < FUNCTION, node.name
            assert len(node.args.args) + len(node.args.kwonlyargs) <= PARAMETERS + 1, node.name


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_nothing_reads_pickles_or_runs_code(path: Path) -> None:
    text = path.read_text(encoding="utf8")
    assert not re.search(
        r"\bimport (pickle|joblib|dill|marshal)\b|torch\.load\(|allow_pickle\s*=\s*True|trust_remote_code\s*=\s*True|shell\s*=\s*True|os\.system",
        text,
    )


def placeholders(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name}


ROOMS = sorted(path.stem for path in (SRC / "core" / "words").glob("*.toml"))


@pytest.mark.parametrize("name", ROOMS)
def test_every_sentence_is_said_in_both_languages(name: str) -> None:
    for key, entry in catalogue(name).items():
        for part in (entry, entry.get("hint")):
            if part is None:
                continue
            assert all(part.get(lang, "").strip() for lang in LANGUAGES), f"{name}.{key}"
            assert re.search(r"[\u4e00-\u9fff]", part["zh"]) or not re.search(r"[a-z]{3} [a-z]{3}", part["en"]), f"{name}.{key}: Chinese?"
            assert placeholders(part["en"]) == placeholders(part["zh"]), f"{name}.{key}"


def test_every_key_in_the_code_has_its_sentence() -> None:
    known = {f"{name}.{key}" for name in ROOMS for key in catalogue(name)}
    missing = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            first = node.args[0]
            if called in SAYING and isinstance(first, ast.Constant) and "." in str(first.value) and first.value not in known:
                missing.append(f"{path.name}:{node.lineno} {first.value}")
    assert not missing


def test_every_error_can_be_said() -> None:
    """Every value that a sentence asks for is handed over where the error is raised."""
    wrong = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            if called not in ("InputError", "RefusedError", "ResourceError", "ProofFailed") or not isinstance(node.args[0], ast.Constant):
                continue
            given = {keyword.arg for keyword in node.keywords}
            if None in given:
                continue
            name, _, key = node.args[0].value.partition(".")
            entry = catalogue(name).get(key, {})
            asked = placeholders(entry.get("en", "")) | placeholders(entry.get("hint", {}).get("en", ""))
            if not asked <= given:
                wrong.append(f"{path.name}:{node.lineno} {node.args[0].value} lacks {asked - given}")
    assert not wrong


def run_blocked(code: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a Python where importing torch, transformers or sklearn fails."""
    blocked = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'transformers', 'peft', 'sklearn'):\n"
        "            raise ImportError(f'{name} is blocked')\n"
        "sys.meta_path.insert(0, Block())\n"
    )
    return subprocess.run([sys.executable, "-c", blocked + code], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["recipe", "schema"], ["--version"]])
def test_help_needs_no_torch(words: list[str]) -> None:
    done = run_blocked(f"from danlu.cli.main import run; sys.exit(run({words!r}))")
    assert done.returncode == 0, done.stderr
    assert "danlu" in done.stdout.lower()
