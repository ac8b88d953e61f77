from __future__ import annotations

from danlu.cli.options import Json, Lang, emit, speak


def models(json: Json = False, lang: Lang = "") -> None:
    from danlu.nn.table import listing

    speak(lang)
    found = listing()
    if json:
        emit({"models": found})
        return
    for entry in found:
        print(f"{entry['kind']:<6} {entry['name']:<12} {entry['size']:<6} {entry['parameters']:>13,}")
