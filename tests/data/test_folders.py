from __future__ import annotations

import gzip
import shutil
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from making import write_picture, write_sound

from danlu.core.errors import InputError


def classes(root: Path, per_class: int = 12, names: tuple[str, ...] = ("猫", "dog"), start: int = 0) -> Path:
    for c, name in enumerate(names):
        for i in range(per_class):
            write_picture(root / name / f"{i}.png", start + 1000 * c + i)
    return root


def test_folder_per_class(tmp_path: Path, image_data) -> None:
    root = classes(tmp_path / "pets")
    (root / "猫" / "notes.txt").write_text("not a picture")
    (root / "猫" / ".DS_Store").write_text("x")
    data = image_data(root)
    assert len(data) == 24
    assert data.labels[0] == "dog"
    assert data.labels[-1] == "猫"
    assert [data.origin(i) for i in range(11)][1:] == [f"dog/{i}.png" for i in range(1, 11)]  # 2 stands before 10
    assert {"key": "data.note-foreign", "n": 1, "folder": "pets"} in data.notes
    assert data.row(0)["image"].shape == (5, 6, 3)
    assert data.raw(0, "image") == root / "dog" / "0.png"


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "Validation", "Testing"), ("训练集", "验证集", "测试集")])
def test_sides_on_top(tmp_path: Path, image_data, names: tuple[str, str, str]) -> None:
    for k, name in enumerate(names):
        classes(tmp_path / "set" / name, 4 + k, start=10_000 * k)
    data = image_data(tmp_path / "set")
    assert [int((data.sides == side).sum()) for side in ("train", "validation", "test")] == [8, 10, 12]
    assert data.split_by == "given"


def test_two_parts_are_train_and_test(tmp_path: Path, image_data) -> None:
    classes(tmp_path / "set" / "train", 20)
    classes(tmp_path / "set" / "val", 5, start=10_000)
    data = image_data(tmp_path / "set")
    assert [int((data.sides == side).sum()) for side in ("train", "validation", "test")] == [36, 4, 10]
    assert set(data.sides[[i for i in range(50) if data.origin(i).startswith("val/")]]) == {"test"}


def test_train_may_be_a_class(tmp_path: Path, image_data) -> None:
    data = image_data(classes(tmp_path / "vehicles", names=("train", "car", "plane")))
    assert set(data.labels) == {"train", "car", "plane"}


@pytest.mark.parametrize("form", ["zip", "tar.gz", "tar"])
def test_archive_with_a_folder_around(tmp_path: Path, image_data, form: str) -> None:
    root = classes(tmp_path / "outer" / "pets")
    path = tmp_path / f"pets.{form}"
    if form == "zip":
        with zipfile.ZipFile(path, "w") as made:
            for file in sorted(root.rglob("*.png")):
                made.write(file, file.relative_to(root.parent))
    else:
        with tarfile.open(path, "w:gz" if form == "tar.gz" else "w") as made:
            made.add(root, "pets")
    data = image_data(path)
    assert set(data.labels) == {"猫", "dog"}
    assert len(data.indices("train")) > 10


def test_notes_name_the_archive(tmp_path: Path, image_data) -> None:
    root = classes(tmp_path / "pets")
    (root / "dog" / "notes.txt").write_text("not a picture")
    (root / "dog" / "thumbs.db").write_text("x")
    shutil.make_archive(str(tmp_path / "p"), "zip", root)
    assert {"key": "data.note-foreign", "n": 1, "folder": "p.zip"} in image_data(tmp_path / "p.zip").notes


@pytest.mark.parametrize("table_first", [True, False])
def test_a_table_of_pictures_beside_a_folder_for_each_class(tmp_path: Path, image_data, table_first: bool) -> None:
    folder, table = classes(tmp_path / "a" / "pets"), tmp_path / "b" / "metadata.csv"
    rows = [(f"{i}.png", ("猫", "dog")[i % 2]) for i in range(10)]
    for i in range(10):
        write_picture(table.parent / f"{i}.png", 500 + i)
    table.write_text("\n".join(["picture,what", *map(",".join, rows)]))
    first, second = (table, folder) if table_first else (folder, table)
    data = image_data(first, split={"test": str(second)})
    assert data.fields == ({"image": ["picture"], "label": ["what"]} if table_first else {"image": ["file"], "label": ["label"]})
    assert len(data.indices("test")) == (24 if table_first else 10)
    assert len(data.indices("train")) + len(data.indices("validation")) == (10 if table_first else 24)
    assert {data.labels[i] for i in range(len(data))} == {"猫", "dog"}
    assert not data.faults
    assert data.extra_columns == ([] if table_first else ["picture", "what"])


def test_deep_single_folders(tmp_path: Path, image_data) -> None:
    classes(tmp_path / "a" / "b" / "c" / "pets")
    assert set(image_data(tmp_path / "a").labels) == {"猫", "dog"}


@pytest.mark.parametrize("column", ["file", "file_name", "Filename", "path", "图片"])
def test_pictures_in_a_table(tmp_path: Path, image_data, column: str) -> None:
    for i in range(20):
        write_picture(tmp_path / "set" / "images" / f"{i}.png", i)
    lines = [f"images/{i}.png,{'ab'[i % 2]},{'train' if i < 14 else 'test'}" for i in range(20)]
    (tmp_path / "set" / "metadata.csv").write_text(f"{column},label,split\n" + "\n".join(lines))
    data = image_data(tmp_path / "set")
    assert data.fields == {"image": [column], "label": ["label"]}
    assert int((data.sides == "test").sum()) == 6
    assert data.origin(3) == "metadata.csv:5"
    assert not data.faults


@pytest.mark.parametrize("cell", ["{i}.png", "{i}", "images\\{i}.png", "data/images/{i}.png", "./images/{i}.PNG"])
def test_names_that_are_not_quite_paths(tmp_path: Path, image_data, cell: str) -> None:
    for i in range(12):
        write_picture(tmp_path / "set" / "images" / f"{i}.png", i)
    lines = [f"{cell.format(i=i)},{'ab'[i % 2]}" for i in range(12)]
    (tmp_path / "set" / "labels.csv").write_text("image,label\n" + "\n".join(lines))
    assert not image_data(tmp_path / "set" / "labels.csv").faults
    assert not image_data(tmp_path / "set").faults


def test_a_table_that_names_no_pictures_is_no_table_of_pictures(tmp_path: Path, image_data) -> None:
    root = classes(tmp_path / "pets")
    (root / "classes.csv").write_text("id,name\n0,dog\n1,cat\n")
    assert set(image_data(root).labels) == {"猫", "dog"}


def test_pictures_inside_parquet(tmp_path: Path, image_data) -> None:
    held = [{"bytes": write_picture(tmp_path / "p" / f"{i}.png", i % 15).read_bytes(), "path": f"{i}.png"} for i in range(20)]
    held[4] = {"bytes": b"broken", "path": "4.png"}
    (tmp_path / "set").mkdir()
    for name, rows in (("train-00000-of-00001", range(16)), ("test-00000-of-00001", range(16, 20))):
        frame = pl.DataFrame({"image": [held[i] for i in rows], "label": [i % 2 for i in rows]})
        frame.write_parquet(tmp_path / "set" / f"{name}.parquet")
    data = image_data(tmp_path / "set")
    assert len(data.indices("test")) == 4
    assert [data.origin(i) for i in data.faults] == ["train-00000-of-00001.parquet:5"]
    assert data.row(2)["image"].shape == (5, 6, 3)
    assert data.units[15] == data.units[0]


def test_missing_and_broken_pictures_are_left_out(tmp_path: Path, image_data) -> None:
    root = classes(tmp_path / "pets")
    broken = root / "dog" / "3.png"
    broken.write_bytes(broken.read_bytes()[:40])
    (root / "dog" / "4.png").write_bytes(b"")
    data = image_data(root)
    assert {data.origin(i): fault.reason for i, fault in data.faults.items()} == {
        "dog/3.png": "data.drop-unreadable",
        "dog/4.png": "data.drop-unreadable",
    }
    assert sum(len(data.indices(side)) for side in ("train", "validation", "test")) == 22
    with pytest.raises(InputError, match="no picture") as caught:
        data.row(3)
    assert "dog/3.png" in caught.value.sentence()


def test_sounds_per_class_and_by_metadata(tmp_path: Path, audio_data) -> None:
    for i in range(16):
        write_sound(tmp_path / "set" / ("yes" if i % 2 else "no") / f"{i}.wav", i)
    data = audio_data(tmp_path / "set")
    assert data.row(0)["audio"].rate == 8000
    assert set(data.labels) == {"yes", "no"}
    lines = [f"{'yes' if i % 2 else 'no'}/{i}.wav,{'yes' if i % 2 else 'no'},s{i % 3},{'test' if i > 11 else 'train'}" for i in range(16)]
    (tmp_path / "set" / "metadata.csv").write_text("file,label,speaker,split\n" + "\n".join(lines))
    data = audio_data(tmp_path / "set")
    assert data.extra_columns == ["speaker"]
    assert int((data.sides == "test").sum()) == 4


def test_texts_per_class(tmp_path: Path, text_data) -> None:
    for i in range(20):
        place = tmp_path / "imdb" / ("train" if i < 14 else "test") / ("pos" if i % 2 else "neg") / f"{i}.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"the film number {i} was something", encoding="utf-8")
    data = text_data(tmp_path / "imdb")
    assert data.row(0) == {"text": "the film number 0 was something", "label": "neg"}
    assert data.origin(0) == "train/neg/0.txt"
    assert int((data.sides == "test").sum()) == 6


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    folder = tmp_path / "mnist"
    folder.mkdir()
    random = np.random.default_rng(0)
    for part, n in (("train", 60), ("t10k", 20)):
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(random.integers(0, 255, (n, 5, 4), np.uint8))))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx((np.arange(n) % 3).astype(np.uint8)))
    return folder


def test_idx(mnist: Path, image_data) -> None:
    data = image_data(mnist)
    assert [len(data.indices(side)) for side in ("train", "validation", "test")] == [54, 6, 20]
    assert data.row(1)["image"].shape == (5, 4, 1)
    assert data.row(1)["label"] == "1"
    assert np.shares_memory(data.row(1)["image"], data.source.arrays["image"])
    assert data.origin(61) == "t10k-images-idx3-ubyte.gz:2"
    alone = image_data(mnist / "train-images-idx3-ubyte.gz", split={"test": str(mnist / "t10k-images-idx3-ubyte.gz")})
    assert [len(alone.indices(side)) for side in ("train", "validation", "test")] == [54, 6, 20]


def test_idx_that_lies(mnist: Path, image_data) -> None:
    labels = mnist / "train-labels-idx1-ubyte"
    whole = labels.read_bytes()
    for content, code in ((whole[:-1], "data.bad-idx"), (b"", "data.bad-idx"), (idx(np.zeros(59, np.uint8)), "data.idx-counts")):
        labels.write_bytes(content)
        with pytest.raises(InputError) as caught:
            image_data(mnist)
        assert caught.value.code == code
    labels.unlink()
    with pytest.raises(InputError) as caught:
        image_data(mnist)
    assert caught.value.code == "data.idx-alone"


def test_wrong_folders(tmp_path: Path, image_data, text_data, audio_data) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError) as caught:
        image_data(tmp_path / "empty")
    assert caught.value.code == "data.nothing-here-image"
    classes(tmp_path / "pets")
    for opened, code in ((text_data, "data.nothing-here-text"), (audio_data, "data.nothing-here-audio")):
        with pytest.raises(InputError) as caught:
            opened(tmp_path / "pets")
        assert caught.value.code == code
    write_picture(tmp_path / "loose" / "a.png", 1)
    with pytest.raises(InputError) as caught:
        image_data(tmp_path / "loose")
    assert caught.value.code == "data.no-classes-image"
    with pytest.raises(InputError, match="no ordinary file"):
        text_data("/dev/zero")
    with pytest.raises(InputError, match=r"did you mean .*pets"):
        image_data(tmp_path / "pest")
    for name in ("one.csv", "two.csv"):
        (tmp_path / "empty" / name).write_text("text,label\na,b\n")
    with pytest.raises(InputError) as caught:
        text_data(tmp_path / "empty")
    assert caught.value.code == "data.several-tables"


def test_moved_data_has_the_same_fingerprint(tmp_path: Path, image_data) -> None:
    classes(tmp_path / "pets")
    first = image_data(tmp_path / "pets")
    shutil.copytree(tmp_path / "pets", tmp_path / "elsewhere")
    second = image_data(tmp_path / "elsewhere")
    assert first.fingerprint == second.fingerprint
    assert (first.sides == second.sides).all()
    write_picture(tmp_path / "elsewhere" / "dog" / "3.png", 77)
    assert image_data(tmp_path / "elsewhere").fingerprint != first.fingerprint
