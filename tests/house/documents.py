"""Pages of docs/ that are made from the code and from a real run. `python tests/house/documents.py` writes them; a test compares."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

DOCS = Path(__file__).parents[2] / "docs"
sys.path.insert(0, str(Path(__file__).parents[1]))
_NONE = {  # settings that nothing stands for where they are left out
    "data.path",
    "data.split.column",
    "data.split.train",
    "model.dropout",
    "model.pretrained",
    "train.batch_tokens",
}


def recipe_page() -> str:
    """Every setting: its dotted key, what it takes, its default and what it does."""
    from danlu.core.recipe import Recipe
    from danlu.tasks.table import TASKS, task_class

    lines = [
        "# The recipe",
        "",
        "Only `task` and `data` are needed. Where the default is *task*, the task decides by the data, where it is *by method*, the method named",
        "beside it; the run's `recipe.yaml` says what. A setting of another method than the one named is an error.",
        "YAML 1.2: `yes` and `no` are words, `5e-5` is a number, a repeated key is an error. `${NAME}` is an environment variable.",
        "`danlu recipe schema` prints the same as JSON Schema; `danlu train RECIPE key.path=value` overrides any of it.",
        "",
        "| key | takes | default | what it sets |",
        "| --- | --- | --- | --- |",
        *_settings(Recipe),
    ]
    for name in TASKS:
        cls = task_class(name)
        lines += ["", f"## Options of {name}", "", "Written beside the name: `task: {name: " + name + ", ...}`.", ""]
        lines += ["| key | takes | default | what it sets |", "| --- | --- | --- | --- |", *_settings(cls.Options, "task.")]
    return "\n".join(lines) + "\n"


def _settings(model: type[BaseModel], prefix: str = "") -> list[str]:
    lines: list[str] = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            lines += _settings(field.annotation, f"{prefix}{name}.")
            continue
        default = "required" if field.is_required() else field.get_default(call_default_factory=True)
        shown = {None: "*task*", "required": "*required*"}.get(default if isinstance(default, (str, type(None))) else "", f"`{default}`")
        if (field.json_schema_extra or {}).get("x-default") == "by method":
            shown = "*by method*"
        if default is None and f"{prefix}{name}" in _NONE:
            shown = "none"
        lines.append(f"| `{prefix}{name}` | {_takes(field.annotation)} | {shown} | {field.description} |")
    return lines


def _takes(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(_takes(part) for part in get_args(annotation) if part is not type(None))
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(annotation))
    if origin is list:
        return f"list of {_takes(get_args(annotation)[0])}"
    if origin is dict:
        return "mapping"
    return {str: "text", int: "whole number", float: "number", bool: "true or false"}.get(annotation, str(annotation))


def follow_one_row() -> str:
    """One row from the user's file to the HTTP answer, with the values at each stop, from a run made here and now."""
    import json
    import tempfile

    import tiny
    from starlette.testclient import TestClient

    import danlu
    from danlu.bundle.predictor import Predictor
    from danlu.serve.app import make_app
    from danlu.train.prepare import prepare

    task = "text-classification"
    with tempfile.TemporaryDirectory() as folder:
        path = tiny.write(task, Path(folder))
        run = danlu.train(tiny.recipe(task, path), out=Path(folder, "run"), progress=False, lang="en")
        prepared = prepare(run.recipe)
        events = list(dict.fromkeys(event["event"] for event in run.events()))
        i = int(prepared.sides["test"].rows[0])
        row, example = prepared.dataset.row(i), prepared.sides["test"].examples[0]
        batch = prepared.task.collate([example])
        predictor = Predictor(run.bundle)
        text = row["text"]
        (prediction,) = predictor.predict([text])
        with TestClient(make_app(predictor), base_url="http://127.0.0.1") as client:
            while client.get("/health/ready").status_code != 200:
                pass
            answer = client.post("/predict", json={"text": text}).json()
    same = answer["scores"] == prediction.scores
    stops = [
        (
            "data/dataset.py",
            "`open_dataset` reads the file, finds the columns and gives every row a side that never changes",
            f"{prepared.dataset.origin(i)}, side `{prepared.dataset.sides[i]}`",
        ),
        ("data/dataset.py", "`Dataset.row` is the row by field names", f"`{json.dumps(dict(row), ensure_ascii=False)}`"),
        (
            "tasks/text_classification.py",
            "`fit` learned labels and vocabulary from training rows alone",
            f"labels `{prepared.task.labels}`",
        ),
        (
            "tasks/text_classification.py",
            "`encode` turns the row into arrays, with `fields/`",
            ", ".join(f"`{k}` {v.dtype}{list(v.shape)}" for k, v in sorted(example.items())),
        ),
        ("data/contract.py", "`account` counts it as kept and shows it decoded back", f"`{prepared.task.show(example)}`"),
        (
            "data/batches.py",
            "`plan` puts it into a batch, `collate` stacks the batch",
            ", ".join(f"`{k}` {list(v.shape)}" for k, v in sorted(batch.items())),
        ),
        (
            "train/loop.py",
            "the loop turns batches of training rows into weights and says so in events",
            ", ".join(f"`{name}`" for name in events),
        ),
        ("bundle/store.py", "the bundle keeps weights and learned facts", "`danlu.json task.json model.safetensors card.md`"),
        ("bundle/predictor.py", "a new row meets the same `encode`, `collate` and model", f"`{prediction.label}`"),
        (
            "serve/app.py",
            "`POST /predict` answers what the predictor answers",
            f"`{answer['label']}`, scores {'equal' if same else 'different'}",
        ),
    ]
    lines = [
        "# Follow one row",
        "",
        "From the user's file to the HTTP answer, each file opened once. Values are from a real run, made by `tests/house/documents.py`.",
        "",
    ]
    for number, (file, what, value) in enumerate(stops, 1):
        lines += [f"{number}. **`{file}`**: {what}.", f"   {value}", ""]
    return "\n".join(lines)


PAGES = {"recipe.md": recipe_page, "follow-one-row.md": follow_one_row}

if __name__ == "__main__":
    for name, make in PAGES.items():
        (DOCS / name).write_text(make(), encoding="utf8")
