"""Whether training works on this machine's GPUs as it does on its CPU: a minute, small models, exit 1 where something does not hold.

    python benchmarks/gpu_smoke.py              on the GPUs
    python benchmarks/gpu_smoke.py cpu          the same checks without one, to try the script

One GPU: a whole training against the CPU's, every exchange between processes (NCCL, in a group of one), a model divided by FSDP2. Two or
more: `danlu train --processes N`, ddp and fsdp, against one process.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from danlu.api import recipe_of
from danlu.core.types import Loss
from danlu.nn.model import Model
from danlu.nn.table import architecture
from danlu.tasks.table import task_class
from danlu.train.launch import Place
from danlu.train.ranks import Ranks
from danlu.train.run import Run, to_yaml
from danlu.train.shard import shard, step_by_tensor, whole

TASK = "text-classification"
ROWS, CLASSES = 8, 5


def write_recipe(folder: Path) -> Path:
    rows = "".join(f'"{row["text"]}",{row["label"]}\n' for row in task_class(TASK).tiny())
    (folder / "rows.csv").write_text("text,label\n" + rows, encoding="utf8")
    train = {
        "epochs": 3,
        "batch_size": 8,
        "micro_batch": 2,
        "precision": "fp32",
        "optimizer": {"name": "sgd", "lr": 0.05},
        "early_stopping": {"patience": 0},
        "listeners": [],
    }
    model = {"architecture": "transformer"}
    recipe = recipe_of({"task": TASK, "data": {"path": str(folder / "rows.csv")}, "model": model, "train": train})
    (folder / "recipe.yaml").write_text(to_yaml(recipe), encoding="utf8")
    return folder / "recipe.yaml"


def curve(recipe: Path, out: Path, device: str, processes: int = 1, *overrides: str) -> list[float]:
    """The losses of a whole command."""
    words = [str(recipe), f"train.device={device}", *overrides, "--out", str(out), "--processes", str(processes)]
    subprocess.run([sys.executable, "-m", "danlu", "train", *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return [event["loss"] for event in Run(out).events() if event["event"] == "Stepped"]


def apart(ours: list[float], theirs: list[float]) -> float:
    """The largest relative difference."""
    return max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))


@contextmanager
def group_of_one(device: torch.device) -> Iterator[Ranks]:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": "0", "WORLD_SIZE": "1"}
    world = Ranks(Place(0, 1, 0, 1))
    try:
        world.device(device)
        yield world
    finally:
        world.close()


def exchanges(world: Ranks, device: torch.device) -> bool:
    """Every method of a world, with tensors on the device."""
    model = torch.nn.Linear(3, 2).to(device)
    before = [p.detach().clone() for p in model.parameters()]
    model(torch.ones(4, 3, device=device)).sum().backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    loss = world.summed(model, Loss(torch.tensor(3.5, device=device), 4))
    world.alike(data="x", device=device.type)
    world.level(model.state_dict().values())
    part_MC = np.arange(6, dtype=np.float32).reshape(3, 2)
    return (
        (float(loss.total), float(loss.count)) == (3.5, 4.0)
        and all(torch.equal(p.grad, gradient) for p, gradient in zip(model.parameters(), gradients, strict=True))
        and all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))
        and world.told({"x": [1, 2.5]}) == {"x": [1, 2.5]}
        and world.most(3, 0) == [3, 0]
        and np.array_equal(world.gathered(part_MC, 3), part_MC)
        and torch.equal(world.same({"w": before[0]})["w"], before[0].cpu())
    )


def divided(device: torch.device, precision: torch.dtype) -> float:
    """The largest difference between the weights of a whole and of a divided model after three steps of AdamW."""
    cls = architecture("text", "transformer")
    models: list[Model] = [cls(CLASSES, "small", **cls.example_facts()) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    rows = models[0].example_batch(ROWS)
    models[0].to(device)
    shard(models[1], device, 1, lambda model: model(rows))
    optimizers = [torch.optim.AdamW(model.parameters(), lr=1e-3, eps=1e-3, fused=True) for model in models]
    step_by_tensor(optimizers[1])
    batch = {name: tensor.to(device) for name, tensor in rows.items()}
    for step in range(3):
        for model, optimizer in zip(models, optimizers, strict=True):
            torch.manual_seed(step)
            optimizer.zero_grad()
            with torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32):
                logits_BC = model.eval()(batch)
            torch.nn.functional.cross_entropy(logits_BC.float(), torch.arange(ROWS, device=device) % CLASSES).backward()
            optimizer.step()
    pairs = zip(models[0].state_dict().values(), models[1].state_dict().values(), strict=True)
    return max(float((own - whole(other)).abs().max()) for own, other in pairs)


def main(kind: str) -> int:
    if kind == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no GPU here; `gpu_smoke.py cpu` tries the script without one")
    device = torch.device(kind, 0) if kind == "cuda" else torch.device("cpu")
    count = torch.cuda.device_count() if kind == "cuda" else 2
    failed = []

    def check(name: str, compute: Callable[[], Any], bound: float) -> None:
        found = compute()
        passed = found is True or (found is not False and found <= bound)
        print(json.dumps({"check": name, "found": found, "bound": bound, "passed": passed}), flush=True)
        failed.extend([] if passed else [name])

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = write_recipe(folder)
        one = curve(recipe, folder / "one", kind)
        check("training as on the CPU, without dropout's own numbers", lambda: apart(curve(recipe, folder / "cpu", "cpu")[:1], one[:1]), 0.1)
        if count > 1:
            for parallel in ("ddp", "fsdp"):
                words = (folder / parallel, kind, count, f"train.parallel={parallel}")
                check(f"{count} processes, {parallel}", lambda words=words: apart(curve(recipe, *words), one), 1e-3)
    with group_of_one(device) as world:
        check("exchanges", lambda: exchanges(world, device), 0)
        check("divided model, fp32", lambda: divided(device, torch.float32), 1e-5)
        check("divided model, bf16", lambda: divided(device, torch.bfloat16), 1e-3)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "cuda"))
