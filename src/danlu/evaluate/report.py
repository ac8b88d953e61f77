"""The report on disk: `report.json`, the numbers, and `report.html`, one page of them that needs no network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from danlu.core.files import write_atomic, write_json


def write(folder: str | Path, report: Mapping[str, Any], lang: str | None = None) -> None:
    """Writes what `judge` returned into `folder`, each file replaced whole. `lang` is the page's language; the reader's own by default."""
    from danlu.evaluate.page.render import page

    write_json(Path(folder) / "report.json", report)
    write_atomic(Path(folder) / "report.html", page(report, lang))
