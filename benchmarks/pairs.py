"""Whole commands side by side, in turn, each a fresh process: what each says of itself, and what the system says of it."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any


def measure(words: Sequence[str], environment: Mapping[str, str] = {}) -> dict[str, Any]:
    """One command: the last JSON object on its stdout, its wall and processor seconds and its peak resident memory in MB."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        began = time.monotonic()
        process = subprocess.Popen(words, stdout=output, stderr=errors, env={**os.environ, **environment})
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        if status:
            errors.seek(0)
            raise SystemExit(f"{' '.join(words)} failed with status {status}: {errors.read().decode()[-600:]}")
        output.seek(0)
        said = json.loads(output.read().decode().strip().splitlines()[-1])
    processor = usage.ru_utime + usage.ru_stime
    return {"said": said, "wall_s": round(wall, 2), "processor_s": round(processor, 2), "peak_mb": usage.ru_maxrss // 1024}


def compared(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Theirs over ours, pair by pair: the median, the least and the most."""
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    return {"ratio": round(median(ratios), 2), "low": round(min(ratios), 2), "high": round(max(ratios), 2), "pairs": len(ratios)}
