"""A real bundle of each task: what the server answers is what the predictor answers, from the first self-test on."""

from __future__ import annotations

import asyncio
import io
import wave

import numpy as np
import pytest
import torch
from PIL import Image
from serve_fakes import serving

from danlu.bundle import store
from danlu.bundle.predictor import Predictor
from danlu.core.recipe import Model
from danlu.tasks.table import TASKS, build_task, task_class


@pytest.fixture(scope="module", params=list(TASKS))
def predictor(request, tmp_path_factory) -> Predictor:
    """Fitted on the task's tiny rows, with random weights: what it says does not matter here, only that all say the same."""
    rows = task_class(request.param).tiny()
    spec = Model(architecture=task_class(request.param).architecture, size="small")
    task = build_task(request.param, {}, spec)
    task.fit(rows)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("bundle") / "bundle"
    store.save(folder, task, task.build(), {"task_name": request.param}, "card")
    found = Predictor(folder)
    found.rows = rows[:12]
    return found


def as_file(kind: str, value) -> str | bytes:
    """A decoded value as its user would send it, without loss."""
    out = io.BytesIO()
    if kind == "image":
        Image.fromarray(value.squeeze()).save(out, "PNG")
    elif kind == "audio":
        with wave.open(out, "wb") as sound:
            sound.setparams((1, 2, value.rate, 0, "NONE", ""))
            sound.writeframes((np.clip(value.samples, -1, 1) * 32767).astype("<i2").tobytes())
    return value if kind == "text" else out.getvalue()


def test_the_server_says_what_the_predictor_says(predictor):
    async def check():
        ((field, kind),) = predictor.task.inputs.items()
        sent = [as_file(kind, row[field]) for row in predictor.rows]
        expected = [prediction.as_json() for prediction in predictor.predict(sent)]
        async with serving(predictor) as (_, client):
            if kind == "text":
                many = await client.post("/predict", json=sent)
            else:
                many = await client.post("/predict", files=[(field, (str(i), data)) for i, data in enumerate(sent)])
            singly = await asyncio.gather(*(_one(client, field, kind, value) for value in sent))
            for found in (many.json(), [answer.json() for answer in singly]):
                assert [row["label"] for row in found] == [row["label"] for row in expected]
                for row, other in zip(found, expected, strict=True):
                    assert list(row) == ["label", "score", "scores"]
                    assert list(row["scores"]) == predictor.task.labels
                    assert row["scores"] == pytest.approx(other["scores"], abs=1e-5)
            sample = (await client.get("/schema")).json()["example"]["row"]
            assert (await client.post("/predict", json=sample)).status_code == 200
            if kind != "text":
                bad = await client.post("/predict", files={field: ("a", b"nonsense")})
                assert bad.status_code == 422

    asyncio.run(check())


async def _one(client, field, kind, value):
    if kind == "text":
        return await client.post("/predict", json={field: value})
    return await client.post("/predict", content=value, headers={"content-type": f"{kind}/x"})
