"""How a result is written down: dated, with the machine and the commit it ran on."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def place(name: str) -> Path:
    return ROOT / "benchmarks" / "results" / f"{date.today()}-{name}.json"


def keep(name: str, result: dict[str, Any]) -> Path:
    """Writes `benchmarks/results/DATE-NAME.json`, in the place of an older one of that day."""
    file = place(name)
    file.write_text(json.dumps({**result, "machine": machine(), "commit": commit()}, indent=1, ensure_ascii=False) + "\n", encoding="utf8")
    return file


def add(name: str, result: dict[str, Any]) -> Path:
    """The same beside what other calls of that day put there."""
    file = place(name)
    return keep(name, (json.loads(file.read_text(encoding="utf8")) if file.exists() else {}) | result)


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return f"{len(os.sched_getaffinity(0))} cores of {name}, {platform.system()}, Python {platform.python_version()}"


def commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
