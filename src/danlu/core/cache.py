"""What can be computed again, kept for the next run: sealed folders by key in the cache folder, the oldest removed beyond a limit.

A damaged entry is no entry, and nothing here ever changes a result.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from danlu.core.files import broken, disk_errors, folder_aside

_STALE = 24 * 3600  # seconds after which a half-written entry belongs to a process that is gone


def cache_folder() -> Path:
    """`DANLU_CACHE`, else the user's cache folder."""
    named = os.environ.get("DANLU_CACHE")
    if named:
        return Path(os.path.expanduser(named))
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or ("~/Library/Caches" if sys.platform == "darwin" else "~/.cache")
    return Path(os.path.expanduser(base)) / "danlu"


def cached(room: str, key: str) -> Path | None:
    """The whole entry `key` of a room of the cache, if there is one; a damaged one is removed."""
    entry = cache_folder() / room / key
    try:
        if not entry.is_dir():
            return None
        if broken(entry) is not None:
            shutil.rmtree(entry, ignore_errors=True)
            return None
        os.utime(entry)
    except OSError:
        return None
    return entry


@contextmanager
def caching(room: str, key: str, limit: float) -> Iterator[Path]:
    """A folder that becomes the entry `key` when the block ends well; then the oldest others go until the room holds `limit` bytes.

    ResourceError where it cannot be written.
    """
    entry = cache_folder() / room / key
    with disk_errors(entry):
        entry.parent.mkdir(parents=True, exist_ok=True)
    with folder_aside(entry) as aside:
        yield aside
    _prune(entry, limit)


def free_bytes() -> int:
    """What the disk of the cache folder has left; 0 where it cannot be asked."""
    try:
        return shutil.disk_usage(next(p for p in (cache_folder(), *cache_folder().parents) if p.exists())).free
    except OSError:
        return 0


def _prune(newest: Path, limit: float) -> None:
    now, held = time.time(), 0
    entries = sorted((p for p in newest.parent.iterdir() if p.is_dir() and p != newest), key=_age)
    for entry in [newest, *entries]:
        half_written = entry.name.startswith(".")
        held += sum(file.stat().st_size for file in entry.rglob("*") if file.is_file()) if not half_written else 0
        if (half_written and now - _changed(entry) > _STALE) or (not half_written and held > limit and entry != newest):
            shutil.rmtree(entry, ignore_errors=True)


def _age(entry: Path) -> float:
    return -_changed(entry)


def _changed(entry: Path) -> float:
    try:
        return entry.stat().st_mtime
    except OSError:  # another process has just removed it
        return 0.0
