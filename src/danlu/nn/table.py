"""Every architecture by kind of input and name. Adding one is one file and one line here; `tests/conformance` then covers it."""

from __future__ import annotations

from importlib import import_module

ARCHITECTURES: dict[str, dict[str, str]] = {
    "text": {},
    "image": {},
    "audio": {},
}


def architecture(kind: str, name: str) -> type:
    """The class behind a name; KeyError for a name that is not in the table."""
    module, _, attribute = ARCHITECTURES[kind][name].partition(":")
    return getattr(import_module(module), attribute)
