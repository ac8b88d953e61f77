"""Compressed data, opened as if a stranger had packed it: nothing leaves its folder, nothing grows without bound."""

from __future__ import annotations

import errno
import gzip
import hashlib
import lzma
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from danlu.core.cache import cache_folder
from danlu.core.errors import InputError, ResourceError

MAX_BYTES = 32 << 30  # everything in an archive together
MAX_ENTRIES = 2_000_000
MAX_RATIO = 100  # unpacked to packed; counted only once FREE_BYTES have come out
FREE_BYTES = 64 << 20
MAX_FILE_BYTES = 8 << 30  # one table, which is read into memory
ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")
_CHUNK = 1 << 20
_DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError,
    ValueError, TypeError, struct.error,
)  # fmt: skip
_FOREIGN = {"__macosx", "thumbs.db", "desktop.ini"}


def is_archive(path: Path) -> bool:
    return path.name.lower().endswith(ARCHIVES)


def is_foreign(name: str) -> bool:
    """Whether a file or folder name is an operating system's or hidden, never the user's data."""
    return name.startswith(".") or name.casefold() in _FOREIGN


def file_digest(path: Path) -> str:
    """BLAKE2 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def read_file(path: Path) -> bytes:
    """All bytes of a file, unpacked where they are gzip. InputError for a damaged or suspiciously large one."""
    try:
        packed = path.stat().st_size
        if packed > MAX_FILE_BYTES:
            raise InputError("data.too-large", path, file=path.name, limit=MAX_FILE_BYTES >> 30)
        with path.open("rb") as stream:
            if stream.read(2) != b"\x1f\x8b":
                stream.seek(0)
                return stream.read()
            stream.seek(0)
            budget = _Budget(path, packed, MAX_FILE_BYTES)
            with gzip.GzipFile(fileobj=stream) as unpacked:
                return b"".join(budget.chunks(unpacked))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError("data.bad-gzip", path, file=path.name) from error
    except OSError as error:
        raise InputError("data.unreadable-file", path, file=path.name, reason=error.strerror or str(error)) from error


def unpacked(path: Path) -> Path:
    """The folder that holds what an archive holds, unpacked once into the cache under the archive's own digest.

    Written aside and renamed, so that two processes may do it at once and a killed one leaves nothing half-done.
    """
    try:
        folder = cache_folder() / "unpacked" / file_digest(path)
    except OSError as error:
        raise InputError("data.unreadable-file", path, file=path.name, reason=error.strerror or str(error)) from error
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".aside-", dir=folder.parent))
    except OSError as error:
        raise ResourceError("data.cannot-unpack", path, file=path.name, folder=cache_folder(), reason=error.strerror or error) from error
    try:
        _unpack(path, aside)
        aside.chmod(0o755)
        try:
            aside.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    except _DAMAGED as error:
        raise InputError("data.bad-archive", path, file=path.name) from error
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ):  # positions and names that no archive should hold
            raise InputError("data.bad-archive", path, file=path.name) from error
        raise ResourceError("data.cannot-unpack", path, file=path.name, folder=cache_folder(), reason=error.strerror or error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


class _Budget:
    """Counts bytes that come out of one archive and stops at the limits."""

    def __init__(self, path: Path, packed: int, limit: int) -> None:
        self.path, self.packed, self.limit, self.out = path, max(1, packed), limit, 0

    def chunks(self, stream: IO[bytes]) -> Iterator[bytes]:
        while block := stream.read(_CHUNK):
            self.out += len(block)
            if self.out > self.limit:
                raise InputError("data.too-large", self.path, file=self.path.name, limit=self.limit >> 30)
            if self.out > FREE_BYTES and self.out > MAX_RATIO * self.packed:
                raise InputError("data.bomb", self.path, file=self.path.name, ratio=MAX_RATIO)
            yield block


def _unpack(path: Path, folder: Path) -> None:
    budget, count = _Budget(path, path.stat().st_size, MAX_BYTES), 0
    for name, stream in _zip_entries(path) if path.name.lower().endswith(".zip") else _tar_entries(path):
        count += 1
        if count > MAX_ENTRIES:
            raise InputError("data.too-many-entries", path, file=path.name, limit=MAX_ENTRIES)
        parts = _inside(name, path)
        if stream is None or not parts or any(is_foreign(part) for part in parts):
            continue
        place = folder.joinpath(*parts)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with stream, place.open("xb") as out:
                for block in budget.chunks(stream):
                    out.write(block)
        except (FileExistsError, NotADirectoryError):
            raise InputError("data.repeated-entry", path, file=path.name, entry=name) from None


def _inside(name: str, path: Path) -> tuple[str, ...]:
    """The parts of an entry's name; InputError where it would leave the folder."""
    pure = PurePosixPath(name.replace("\\", "/"))
    if pure.is_absolute() or ".." in pure.parts or "\x00" in name or any(":" in part[:2] for part in pure.parts[:1]):
        raise InputError("data.escape", path, file=path.name, entry=name)
    return pure.parts


class _TarEntry(tarfile.TarInfo):
    """An entry whose extended header is of a sane size: tarfile reads it into memory whole."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if not self.isreg() and self.size > _CHUNK:
            raise tarfile.ReadError("header too large")
        return super()._proc_member(archive)


def _tar_entries(path: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    with tarfile.open(path, "r|*", tarinfo=_TarEntry) as archive:
        for entry in archive:
            if not (entry.isreg() or entry.isdir()):
                raise InputError("data.link", path, file=path.name, entry=entry.name)
            yield entry.name, archive.extractfile(entry) if entry.isreg() else None
            archive.members = []  # streamed: do not remember a million entries


def _zip_entries(path: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if kind and kind not in (stat.S_IFREG, stat.S_IFDIR):
                raise InputError("data.link", path, file=path.name, entry=entry.filename)
            if entry.flag_bits & 1:
                raise InputError("data.encrypted", path, file=path.name)
            yield _zip_name(entry), None if entry.is_dir() else archive.open(entry)


def _zip_name(entry: zipfile.ZipInfo) -> str:
    """The name as its maker meant it: without the UTF-8 flag many packers write the local encoding, in China GBK."""
    if entry.flag_bits & 0x800 or entry.filename.isascii():
        return entry.filename
    raw = entry.filename.encode("cp437")
    for encoding in ("utf-8", "gb18030"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return entry.filename
