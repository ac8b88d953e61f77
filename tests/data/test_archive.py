from __future__ import annotations

import gzip
import io
import os
import tarfile
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from danlu.core.errors import DanluError, InputError
from danlu.data import archive
from danlu.data.archive import read_file, unpacked


def tar_of(path: Path, *entries: tarfile.TarInfo | tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as made:
        for entry in entries:
            if isinstance(entry, tuple):
                info = tarfile.TarInfo(entry[0])
                info.size = len(entry[1])
                made.addfile(info, io.BytesIO(entry[1]))
            else:
                made.addfile(entry)
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zip_of(path: Path, *entries: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in entries:
            made.writestr(name, data)
    return path


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_unpacks_once_without_foreign_files(tmp_path: Path, cache: Path, make) -> None:
    ending = ".zip" if make is zip_of else ".tgz"
    path = make(
        tmp_path / f"a{ending}", ("root/a.csv", b"1"), ("__MACOSX/root/._a.csv", b"2"), ("root/.DS_Store", b"3"), ("root/b/c.txt", b"4")
    )
    folder = unpacked(path)
    assert files_below(folder) == ["root/a.csv", "root/b/c.txt"]
    assert folder.is_relative_to(cache)
    stamp = folder.stat().st_mtime_ns
    assert unpacked(path) == folder
    assert folder.stat().st_mtime_ns == stamp
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]  # nothing left aside


@pytest.mark.parametrize("name", ["../out.txt", "a/../../out.txt", "/tmp/out.txt", "C:/out.txt", "..\\out.txt", "C:\\out.txt"])
@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_no_way_out(tmp_path: Path, cache: Path, make, name: str) -> None:
    path = make(tmp_path / ("a.zip" if make is zip_of else "a.tar.gz"), ("fine.txt", b"x"), (name, b"evil"))
    with pytest.raises(InputError) as caught:
        unpacked(path)
    assert caught.value.code == "data.escape"
    assert not list(tmp_path.rglob("out.txt"))
    assert not list((cache / "unpacked").iterdir())


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_no_links_and_devices(tmp_path: Path, kind: bytes) -> None:
    path = tar_of(tmp_path / "a.tar.gz", special("link", kind, "/etc/passwd"), ("link/x", b"y"))
    with pytest.raises(InputError) as caught:
        unpacked(path)
    assert caught.value.code == "data.link"


def test_no_symlink_in_zip(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr(info, "/etc/passwd")
    with pytest.raises(InputError) as caught:
        unpacked(tmp_path / "a.zip")
    assert caught.value.code == "data.link"


@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_bomb_is_stopped(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, make) -> None:
    monkeypatch.setattr(archive, "FREE_BYTES", 1 << 20)
    path = make(tmp_path / ("a.zip" if make is zip_of else "a.tar.gz"), ("zeros", bytes(40 << 20)))
    with pytest.raises(InputError) as caught:
        unpacked(path)
    assert caught.value.code == "data.bomb"
    assert not list((cache / "unpacked").iterdir())


def test_gzip_bomb_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "FREE_BYTES", 1 << 20)
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(bytes(40 << 20)))
    with pytest.raises(InputError) as caught:
        read_file(path)
    assert caught.value.code == "data.bomb"


def test_too_many_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_ENTRIES", 3)
    with pytest.raises(InputError) as caught:
        unpacked(zip_of(tmp_path / "a.zip", *((f"{i}.txt", b"x") for i in range(5))))
    assert caught.value.code == "data.too-many-entries"


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar", "a.tgz"])
@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"PK\x03\x04broken", b"\x1f\x8b\x08\x00broken"])
def test_not_an_archive(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        unpacked(tmp_path / name)
    assert caught.value.code == "data.bad-archive"


@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_cut_anywhere_is_refused(tmp_path: Path, make) -> None:
    whole = make(tmp_path / "whole", ("a.txt", os.urandom(3000)), ("b.txt", os.urandom(3000))).read_bytes()
    path = tmp_path / ("a.zip" if make is zip_of else "a.tar.gz")
    for length in range(1, len(whole) - 10, 577):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            unpacked(path)


def test_extended_header_is_not_read_without_bound(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 50 << 20
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(info.tobuf() + bytes(info.size)))
    tracemalloc.start()
    with pytest.raises(InputError) as caught:
        unpacked(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.code == "data.bad-archive"
    assert peak < 20 << 20


def test_names_in_gbk(tmp_path: Path) -> None:
    name = "动物/猫/图片.txt".encode("gbk")  # as packers without the UTF-8 flag write it
    path = zip_of(tmp_path / "a.zip", ("x" * len(name), b"x"))
    path.write_bytes(path.read_bytes().replace(b"x" * len(name), name))
    assert files_below(unpacked(path)) == ["动物/猫/图片.txt"]


def test_password_is_said(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", ("a.txt", b"x"))
    data = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + at] |= 1
    path.write_bytes(bytes(data))
    with pytest.raises(InputError) as caught:
        unpacked(path)
    assert caught.value.code == "data.encrypted"


def test_several_at_once(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", *((f"{i}.txt", b"x" * i) for i in range(200)))
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(unpacked, [path] * 8))
    assert len(set(folders)) == 1
    assert len(files_below(folders[0])) == 200


def test_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path / "file"))
    with pytest.raises(DanluError) as caught:
        unpacked(zip_of(tmp_path / "a.zip", ("a.txt", b"x")))
    assert caught.value.exit_code == 3
