"""The recipe that `danlu new` writes: what was found in the data filled in with the reason, everything else as a commented default."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from danlu.core.recipe import Data, Split
from danlu.core.words import say
from danlu.data.dataset import Dataset, open_dataset

_PLAIN = re.compile(r"(?:\.{0,2}/|[A-Za-z_])[\w./~+-]*", re.ASCII)
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"}


def draft(
    task: str, path: str, test: str | None = None, *, inputs: Mapping[str, str], target: str | None, out: str | Path = "recipe.yaml"
) -> str:
    """The text of a recipe that is to stand at `out`; relative paths are written to hold from there. InputError as `open_dataset`."""
    data = Data(path=_whole(path), split=Split(test=_whole(test) if test else None))
    dataset = open_dataset(data, dict(inputs), target, 0)
    folder = Path(os.path.expanduser(out)).resolve().parent
    lines = [
        f"# {say('draft.title')}",
        f"task: {scalar(task)}",
        "",
        "data:",
        f"  path: {scalar(_from(folder, path))}",
        *_header(dataset),
        *_columns(dataset),
        *_split(dataset, _from(folder, test) if test else None),
        "",
        *_defaults(),
    ]
    return "\n".join(lines) + "\n"


def scalar(value: str) -> str:
    """A text as YAML 1.2: bare where that is safe, else in double quotes as JSON has them."""
    if _PLAIN.fullmatch(value) and value.casefold() not in _WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)


def _whole(path: str) -> str:
    return str(Path(os.path.expanduser(path)).absolute())


def _from(folder: Path, path: str) -> str:
    """The path as the recipe should say it: as it was if absolute, else relative to the recipe's folder."""
    place = Path(os.path.expanduser(path))
    if place.is_absolute():
        return str(place)
    try:
        return Path(os.path.relpath(place.absolute(), folder)).as_posix()
    except ValueError:  # another drive
        return str(place.absolute())


def _comment(line: str, why: str) -> str:
    return f"{line}  # {' '.join(why.split())}"


def _header(dataset: Dataset) -> list[str]:
    if dataset.source.header is False:
        return [_comment("  header: false", say("draft.no-header"))]
    return []


def _columns(dataset: Dataset) -> list[str]:
    """The guessed columns with the reason; where the layout told them, nothing needs to be said."""
    known, guesses = dataset.source.known, [note for note in dataset.notes if "field" in note]
    here = all(note["columns"] == " + ".join(dataset.fields[note["field"]]) for note in guesses)  # else of another part
    if not (guesses and here) and all(known.get(field) == columns[0] for field, columns in dataset.fields.items()):
        return [f"  # {say('draft.by-layout')}"]
    reasons = {note["field"]: say(note["key"].replace("data.note-", "draft.")) for note in guesses}
    lines = ["  columns:"]
    for field, columns in dataset.fields.items():
        value = scalar(columns[0]) if len(columns) == 1 else "[" + ", ".join(_in_list(name) for name in columns) + "]"
        lines.append(_comment(f"    {field}: {value}", reasons.get(field, say("draft.by-layout"))))
    others = dataset.extra_columns
    if others:
        lines.append(f"  # {say('draft.other-columns', columns=', '.join(' '.join(name.split()) for name in others[:12]))}")
    return lines


def _in_list(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) and name.casefold() not in _WORDS else json.dumps(name, ensure_ascii=False)


def _values(note: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in note.items() if name != "key"}


def _split(dataset: Dataset, test: str | None) -> list[str]:
    lines = [f"  # {' '.join(say(note['key'], **_values(note)).split())}" for note in dataset.notes if "field" not in note]
    lines.append("  split:")
    if dataset.split_column:
        lines += ["    by: given", f"    column: {scalar(dataset.split_column)}"]
    elif dataset.split_by != "given":
        lines.append(_comment(f"    by: {dataset.split_by}", say("draft.split-by")))
    came = dataset.came
    if "validation" not in came:
        lines.append(_comment("    validation: 0.1", say("draft.validation")))
    if test:
        lines.append(f"    test: {scalar(test)}")
    elif "test" not in came:
        lines.append(_comment("    test: 0.1", say("draft.test")))
    return lines if lines[-1] != "  split:" else lines[:-1]


def _defaults() -> list[str]:
    """Other settings, commented out with what they do."""
    examples: dict[str, Sequence[tuple[str, str]]] = {
        "model": [("architecture: NAME", "draft.architecture"), ("size: small", "draft.size"), ("pretrained: PATH", "draft.pretrained")],
        "train": [
            ("epochs: N", "draft.epochs"),
            ("batch_size: N", "draft.batch-size"),
            ("optimizer: {lr: 0.001}", "draft.lr"),
            ("early_stopping: {patience: 5}", "draft.patience"),
        ],
    }
    lines = [f"# {say('draft.defaults')}"]
    for part, settings in examples.items():
        lines.append(f"# {part}:")
        lines += [_comment(f"#   {setting}", say(key)) for setting, key in settings]
    lines.append(_comment("seed: 0", say("draft.seed")))
    return lines
