"""The one writer of durable files: written aside, flushed to disk, renamed; a reader sees the old file or the new one, never half."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from danlu.core.errors import InputError, ResourceError

MANIFEST = "manifest.json"


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns a full disk, a quota, a size limit, a read-only folder or an impossible place into the sentence that names the path."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise ResourceError("files.disk-full", path, path=path) from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise ResourceError("files.not-writable", path, path=path) from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP):
            raise InputError("files.bad-place", path, path=path, problem=os.strerror(error.errno).lower()) from error
        if error.errno == errno.EIO:
            raise ResourceError("files.disk-error", path, path=path) from error
        raise


def sync_folder(folder: Path) -> None:
    """Makes a rename inside `folder` survive a power loss."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: Path, content: bytes | str) -> None:
    """Replaces `path` whole. ResourceError where the disk is full or read-only; the old file is then untouched."""
    path = Path(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with disk_errors(path):
        try:
            with aside.open("wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """`value` as indented UTF-8 JSON, replaced whole. NaN and infinity are our bug: ValueError."""
    write_atomic(path, json_text(value))


def json_text(value: Any) -> str:
    """The one way in which this house writes JSON to disk, so that a byte changed in such a file can be told."""
    return json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    return json.loads(Path(path).read_text(encoding="utf8"))


def settle(file: Path) -> None:
    """Sends a file to the disk and, where the system can, out of memory, so that who reads it next reads what the disk holds."""
    with disk_errors(file), file.open("rb") as handle:
        os.fsync(handle.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def sha256(path: Path) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(folder: Path, name: str = MANIFEST, about: Mapping[str, Any] | None = None) -> None:
    """Writes the manifest `name`: `about` and the SHA-256 of every file. It is written last, so that its presence says that all came before."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / name)
    for file in files:
        settle(file)
    write_json(folder / name, {**(about or {}), "files": {file.relative_to(folder).as_posix(): sha256(file) for file in files}})


def broken(folder: Path, name: str = MANIFEST) -> str | None:
    """None where every file of the manifest is there with its hash; else the name of the first that is not."""
    try:
        for listed, digest in read_json(folder / name)["files"].items():
            file = (folder / listed).resolve()
            if not file.is_relative_to(folder.resolve()) or not file.is_file() or sha256(file) != digest:
                return listed
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return name
    return None


@contextmanager
def folder_aside(target: Path, name: str = MANIFEST, about: Mapping[str, Any] | None = None) -> Iterator[Path]:
    """A new folder that becomes `target`, sealed, when the block ends well, and vanishes when it does not. An old `target` is replaced last."""
    aside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    with disk_errors(target):
        shutil.rmtree(aside, ignore_errors=True)
        try:
            aside.mkdir(parents=True)
            yield aside
            seal(aside, name, about)
            old = target.with_name(f".{target.name}.{os.getpid()}.old")
            shutil.rmtree(old, ignore_errors=True)
            if target.exists():
                target.replace(old)
            aside.replace(target)
            sync_folder(target.parent)
            shutil.rmtree(old, ignore_errors=True)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
