"""10,000 damaged checkpoints: none may crash the reader, and none may be taken for whole.

    python benchmarks/campaigns/mutations.py [COUNT] [SEED]

Damaged as disks and people do it: flipped bits, cuts, zeros, files gone, empty, swapped with those of the other checkpoint, added, edited.
Such a checkpoint must be passed over for the one before. And *sealed anew*: files whose structure lies (headers of safetensors, types and
keys of the state) under a manifest that was made to fit; what the hashes cannot see must be refused with exit code 4. Loading one and
saying nothing is a silent load, also where the damage would have changed no value.
"""

from __future__ import annotations

import json
import random
import shutil
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.extend([str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "tests")])

import numpy as np
import tiny
import torch
from result import keep

from danlu.api import recipe_of
from danlu.core.errors import RefusedError
from danlu.core.files import MANIFEST, json_text, seal
from danlu.train import checkpoint, step
from danlu.train.checkpoint import State
from danlu.train.loop import Job
from danlu.train.optim import make_optimizer
from danlu.train.prepare import prepare
from danlu.train.start import starting_model

Mutation = Callable[[Path, Path, random.Random], None]
TENSORS = ("model.safetensors", "optimizer.safetensors", "best.safetensors")
FILES = (*TENSORS, "state.json", MANIFEST)


def flip(path: Path, other: Path, draw: random.Random) -> None:
    file = path / draw.choice(FILES)
    content = bytearray(file.read_bytes())
    for _ in range(draw.choice((1, 1, 1, 2, 8))):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    if bytes(content) == file.read_bytes():
        content[0] ^= 1
    file.write_bytes(content)


def flip_in_header(path: Path, other: Path, draw: random.Random) -> None:
    file = path / draw.choice(TENSORS)
    content = bytearray(file.read_bytes())
    content[draw.randrange(8 + struct.unpack("<Q", content[:8])[0])] ^= 1 << draw.randrange(8)
    file.write_bytes(content)


def cut(path: Path, other: Path, draw: random.Random) -> None:
    file = path / draw.choice(FILES)
    content = file.read_bytes()
    file.write_bytes(content[: draw.choice((0, 1, 8, len(content) - 1, draw.randrange(len(content))))])


def zeros(path: Path, other: Path, draw: random.Random) -> None:
    """A page that never reached the disk."""
    file = path / draw.choice(FILES)
    content = bytearray(file.read_bytes())
    start = draw.randrange(len(content)) // 4096 * 4096
    page = content[start : start + 4096]
    content[start : start + 4096] = bytes(len(page)) if any(page) else b"\x01" * len(page)
    file.write_bytes(content)


def longer(path: Path, other: Path, draw: random.Random) -> None:
    with (path / draw.choice(FILES)).open("ab") as file:
        file.write(draw.randbytes(draw.choice((1, 8, 4096))))


def gone(path: Path, other: Path, draw: random.Random) -> None:
    (path / draw.choice(FILES)).unlink()


def added(path: Path, other: Path, draw: random.Random) -> None:
    (path / draw.choice(("average.safetensors", "model-2.safetensors", "x.json"))).write_bytes((other / "model.safetensors").read_bytes())


def from_the_other(path: Path, other: Path, draw: random.Random) -> None:
    name = draw.choice(FILES)
    shutil.copy(other / name, path / name)


def within(path: Path, other: Path, draw: random.Random) -> None:
    one, two = draw.sample(FILES, 2)
    content = (path / one).read_bytes()
    (path / one).write_bytes((path / two).read_bytes())
    (path / two).write_bytes(content)


def whole_folder(path: Path, other: Path, draw: random.Random) -> None:
    shutil.rmtree(path)
    shutil.copytree(other, path)


def edited(path: Path, other: Path, draw: random.Random) -> None:
    """A value of the state or an entry of the manifest, changed by a careful hand."""
    name = draw.choice(("state.json", MANIFEST))
    tree = json.loads((path / name).read_text())
    table = tree["files"] if name == MANIFEST else tree
    key = draw.choice(sorted(table))
    how = draw.randrange(4)
    if how == 0:
        del table[key]
    elif how == 1:
        table[key] = draw.choice([None, 0, 1, -1, "", "x", [], {}, True])
    elif how == 2:
        table[f"{key}x"] = table.pop(key)
    else:
        table["more"] = table[key]
    (path / name).write_text(json_text(tree))


def spaces(path: Path, other: Path, draw: random.Random) -> None:
    """Other bytes, the same values."""
    file = path / draw.choice(("state.json", MANIFEST))
    tree = json.loads(file.read_text())
    file.write_text(draw.choice((json.dumps(tree), json_text(tree) + "\n", json_text(tree).replace("\n", "\r\n"))))


DAMAGE: tuple[Mutation, ...] = (
    flip, flip, flip, flip_in_header, cut, zeros, longer, gone, added, from_the_other, within, whole_folder, edited, spaces,
)  # fmt: skip


def lying_header(path: Path, other: Path, draw: random.Random) -> None:
    """A header that says other lengths, places, shapes or types than the file has."""
    file = path / draw.choice(TENSORS)
    content = file.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header, data = json.loads(content[8 : 8 + size]), content[8 + size :]
    entry = header[draw.choice(sorted(name for name in header if name != "__metadata__"))]
    how = draw.randrange(6)
    if how == 0:
        entry["data_offsets"][1] += draw.choice((-4, 4, 2**31, 2**62))
    elif how == 1:
        entry["data_offsets"] = [draw.choice((-1, 2**63, 4)), 8]
    elif how == 2:
        entry["shape"] = [*entry["shape"], draw.choice((2, 0, 2**40))]
    elif how == 3:
        entry["dtype"] = draw.choice(("F64", "I8", "X9", ""))
    elif how == 4:
        size = draw.choice((0, 1, size + 4096, 2**40, 2**63))
    else:
        data = data[: draw.randrange(len(data))]
    text = json.dumps(header).encode()
    size = size if how == 4 else len(text)
    file.write_bytes(struct.pack("<Q", size) + text + data)


def lying_state(path: Path, other: Path, draw: random.Random) -> None:
    """A state with wrong types, keys missing, unknown ones, or no state at all."""
    file = path / "state.json"
    tree = json.loads(file.read_text())
    key = draw.choice(sorted(set(tree) - {"step"}))
    how = draw.randrange(4)
    if how == 0:
        del tree[key]
    elif how == 1:
        tree["unknown"] = 1
    elif how == 2:
        tree[key] = draw.choice([{"a": None}, [["x"]], {"x": "y"}, [[]] if key != "scores" else "x", {"deep": {"er": 1}}])
    else:
        tree = {"step": tree["step"]}
    file.write_text(json_text(tree))


def other_tensors(path: Path, other: Path, draw: random.Random) -> None:
    """Tensors of other names or shapes."""
    from safetensors.torch import load_file, save_file

    file = path / draw.choice(("model.safetensors", "best.safetensors"))
    tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    name = draw.choice(sorted(tensors))
    how = draw.randrange(3)
    if how == 0:
        del tensors[name]
    elif how == 1:
        tensors[name] = torch.cat([tensors[name].reshape(-1), torch.zeros(1, dtype=tensors[name].dtype)])
    else:
        tensors[f"{name}.x"] = tensors.pop(name)
    save_file(tensors, file)


SEALED = (lying_header, lying_state, other_tensors)


def make(folder: Path) -> Job:
    """Two checkpoints of a tiny run: step-1, step-2."""
    task = "text-classification"
    prepared = prepare(recipe_of(tiny.recipe(task, tiny.write(task, folder))))
    model, _ = starting_model(prepared, prepared.recipe)
    job = Job(prepared.recipe, prepared.task, model, make_optimizer(model, prepared.recipe.train.optimizer), prepared.sides,
              torch.device("cpu"), "fp32", State())  # fmt: skip
    for number in (1, 2):
        step.take(job, np.arange(8), 10)
        job.state.step = number
        best = {name: tensor + 1 for name, tensor in model.state_dict().items()}  # no two files alike: swapping them is damage
        checkpoint.save(folder / "whole", job.state, job.recipe, checkpoint.collect(model, job.optimizer, best))
    return job


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def outcome(job: Job, folder: Path) -> str:
    """What resuming would do: `fell back`, `refused`, `silent`, or the name of what it crashed with."""
    try:
        path, _ = checkpoint.newest(folder)
        if path is None:
            return "none left"
        state, tensors = checkpoint.read(path, job.recipe)
        checkpoint.restore(path, tensors, job.model, job.optimizer)
        return "fell back" if state.step == 1 else "silent"
    except RefusedError:
        return "refused"
    except Exception as error:
        return f"crash: {type(error).__name__}"


def campaign(count: int, seed: int) -> dict[str, object]:
    table: dict[str, Counter[str]] = {}
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        job = make(Path(place))
        whole, folder = Path(place) / "whole", Path(place) / "damaged"
        assert outcome(job, whole) == "silent"  # undamaged, step 2 is loaded
        for number in range(count):
            mutate = draw.choice(DAMAGE if number % 5 < 4 else SEALED)
            while True:
                shutil.rmtree(folder, ignore_errors=True)
                shutil.copytree(whole, folder)
                mutate(folder / "step-2", folder / "step-1", draw)
                if content(folder / "step-2") != content(whole / "step-2"):
                    break  # an edit may put there what was there
            if mutate in SEALED:
                seal(folder / "step-2")
            table.setdefault(mutate.__name__, Counter())[outcome(job, folder)] += 1
    return {
        "count": count,
        "seed": seed,
        "crashes": sum(n for row in table.values() for name, n in row.items() if name.startswith("crash")),
        "silent": sum(row["silent"] for row in table.values()),
        "by_mutation": {name: dict(row) for name, row in sorted(table.items())},
    }


def main(count: int = 10_000, seed: int = 0) -> None:
    result = campaign(count, seed)
    for name, row in result["by_mutation"].items():
        print(f"{name:<16} " + "  ".join(f"{kind} {n}" for kind, n in sorted(row.items())))
    print(f"{count} damaged checkpoints: {result['crashes']} crashes, {result['silent']} silent loads -> {keep('mutations', result)}")
    sys.exit(1 if result["crashes"] or result["silent"] else 0)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
