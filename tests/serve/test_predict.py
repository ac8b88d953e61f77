"""POST /predict: what comes in, what goes out, and what happens between requests that share a batch."""

from __future__ import annotations

import asyncio
import base64
import io

import numpy as np
import pytest
from PIL import Image
from serve_fakes import FakePredictor, counts, serving


def png(value: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(out, "PNG")
    return out.getvalue()


def run(coroutine):
    return asyncio.run(coroutine)


def expected(text: str) -> dict:
    return FakePredictor.answer(text).as_json()


def test_one_row_a_list_and_a_bare_string_answer_as_the_predictor_does():
    async def check():
        async with serving() as (_, client):
            one = await client.post("/predict", json={"text": "tiny"})
            assert one.status_code == 200
            assert one.json() == expected("tiny")
            assert list(one.json()) == ["label", "score", "scores"]
            rows = ["a" * n for n in (3, 60, 20)]
            for body in ([{"text": row} for row in rows], rows, {"rows": rows}, {"rows": [{"text": row} for row in rows]}):
                assert (await client.post("/predict", json=body)).json() == [expected(row) for row in rows]
            assert (await client.post("/predict", json="tiny")).json() == expected("tiny")
            assert (await client.post("/predict", json=["tiny"])).json() == [expected("tiny")]
            assert (await client.post("/predict", files={"text": (None, "tiny")})).json() == expected("tiny")

    run(check())


def test_pictures_come_as_base64_as_files_and_as_a_raw_body():
    async def check():
        async with serving(FakePredictor({"image": "image"})) as (_, client):
            dark, light = png(10), png(250)
            answers = [
                await client.post("/predict", json={"image": {"base64": base64.b64encode(light).decode()}}),
                await client.post("/predict", files={"image": ("x.png", light, "image/png")}),
                await client.post("/predict", files={"file": ("x.png", light)}),
                await client.post("/predict", content=light, headers={"content-type": "image/png"}),
                await client.post("/predict", content=light, headers={"content-type": "application/octet-stream"}),
            ]
            for answer in answers:
                assert answer.json()["label"] == "long", answer.text
            several = await client.post("/predict", files=[("files", ("a", dark)), ("files", ("b", light)), ("image", ("c", dark))])
            assert [row["label"] for row in several.json()] == ["short", "long", "short"]

    run(check())


def test_undecodable_picture_is_422_and_says_which_and_shows_nothing_of_the_inside():
    async def check():
        async with serving(FakePredictor({"image": "image"})) as (_, client):
            answer = await client.post("/predict", files=[("files", ("a", png(1))), ("files", ("b", b"GIF89a nonsense"))])
            assert answer.status_code == 422
            assert answer.json()["error"]["where"] == "rows[1]"
            assert "nonsense" not in answer.text

    run(check())


def test_requests_that_wait_together_run_together():
    async def check():
        predictor = FakePredictor()
        async with serving(predictor) as (app, client):
            predictor.open.clear()
            first = asyncio.create_task(client.post("/predict", json="first"))
            while len(predictor.batches) < 2:  # the self-test and `first`
                await asyncio.sleep(0.005)
            rest = [asyncio.create_task(client.post("/predict", json="x" * (5 + i % 3))) for i in range(20)]
            while len(app.engine.batcher) < 20:
                await asyncio.sleep(0.005)
            predictor.open.set()
            assert all(r.status_code == 200 for r in await asyncio.gather(first, *rest))
            assert predictor.batches[2:] == [20]

    run(check())


def test_a_poisoned_row_fails_alone():
    async def check():
        predictor = FakePredictor()
        async with serving(predictor) as (app, client):
            predictor.open.clear()
            texts = ["fine", "poison", "nan", "also fine", "unencodable", "encoder breaks"]
            tasks = [asyncio.create_task(client.post("/predict", json=text)) for text in texts]
            await asyncio.sleep(0.05)
            predictor.open.set()
            answers = await asyncio.gather(*tasks)
            assert [a.status_code for a in answers] == [200, 500, 500, 200, 422, 500]
            assert answers[3].json() == expected("also fine")
            assert not any("secret" in a.text or "Traceback" in a.text or "Error" in a.text for a in answers)
            together = await client.post("/predict", json=["fine", "unencodable"])
            assert together.json()["error"]["where"] == "rows[1]"
            assert counts(app)["/predict", "failed", "not-a-number"] == 1
            assert counts(app)["/predict", "failed", "internal"] == 2

    run(check())


def test_a_full_queue_refuses_before_reading_the_body():
    async def check():
        predictor = FakePredictor()
        async with serving(predictor, queue=4) as (app, client):
            predictor.open.clear()
            held = [asyncio.create_task(client.post("/predict", json="x")) for _ in range(4)]
            while app.admission.held < 4:
                await asyncio.sleep(0.005)
            read = []

            async def body():
                read.append(1)
                yield b'"x"'

            refused = await client.post("/predict", content=body(), headers={"content-type": "application/json"})
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "1"
            assert refused.json()["error"]["code"] == "serve.full"
            assert not read
            predictor.open.set()
            assert [r.status_code for r in await asyncio.gather(*held)] == [200] * 4
            assert (await client.post("/predict", json="x")).status_code == 200
            assert app.admission.held == 0
            assert counts(app) == {("/predict", "accepted", ""): 5, ("/predict", "refused", "full"): 1}

    run(check())


def test_rows_of_one_request_fill_the_queue():
    async def check():
        predictor = FakePredictor()
        async with serving(predictor, queue=10) as (app, client):
            predictor.open.clear()
            many = asyncio.create_task(client.post("/predict", json=["x"] * 12))
            while app.admission.held < 12:
                await asyncio.sleep(0.005)
            assert (await client.post("/predict", json="x")).status_code == 503
            predictor.open.set()
            assert len((await many).json()) == 12

    run(check())


def test_a_client_that_leaves_takes_its_rows_along():
    async def check():
        predictor = FakePredictor()
        async with serving(predictor) as (app, client):
            predictor.open.clear()
            first = asyncio.create_task(client.post("/predict", json="first"))
            while len(predictor.batches) < 2:
                await asyncio.sleep(0.005)
            await _left_after_sending(app, b'["a", "b", "c"]')
            assert app.admission.held == 1
            predictor.open.set()
            await first
            assert (await client.post("/predict", json="after")).status_code == 200
            assert predictor.batches == [1, 1, 1]
            assert counts(app)["/predict", "cancelled", "client-left"] == 1

    run(check())


async def _left_after_sending(app, body: bytes) -> None:
    """Speaks ASGI itself: a whole request, then a disconnect once its rows wait."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive():
        if messages:
            return messages.pop()
        while len(app.engine.batcher) < 3:
            await asyncio.sleep(0.005)
        return {"type": "http.disconnect"}

    async def send(message):
        raise AssertionError("nobody listens")

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": headers, "query_string": b"", "scheme": "http"}
    await app(scope, receive, send)


def test_a_body_that_never_ends_is_given_up():
    async def check():
        async with serving(receive_s=0.1) as (_, client):

            async def body():
                yield b'"x'
                await asyncio.sleep(5)

            asked = client.post("/predict", content=body(), headers={"content-type": "application/json"})
            assert (await asyncio.wait_for(asked, 3)).status_code == 408

    run(check())


def test_a_slow_model_is_answered_for_in_time_and_shows_as_stuck():
    async def check():
        predictor = FakePredictor()
        async with serving(predictor, answer_s=0.3, stuck_s=0.1) as (app, client):
            predictor.open.clear()
            answer = await client.post("/predict", json="x")
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "serve.too-late")
            ready = await client.get("/health/ready")
            assert (ready.status_code, ready.json()["error"]["code"]) == (503, "serve.stuck")
            assert (await client.post("/predict", json="x")).json()["error"]["code"] == "serve.stuck"
            await asyncio.sleep(0.4)
            assert (await client.get("/health/live")).status_code == 503
            predictor.open.set()
            await asyncio.sleep(0.05)
            assert (await client.get("/health/ready")).status_code == 200
            assert (await client.post("/predict", json="x")).status_code == 200
            assert counts(app)["/predict", "failed", "too-late"] == 1

    run(check())


def test_not_ready_before_the_self_test_and_never_with_a_model_that_fails_it():
    async def check():
        slow, broken = FakePredictor(), FakePredictor()
        slow.open.clear()
        async with serving(slow, wait=False) as (_, client):
            assert (await client.get("/health/live")).status_code == 200
            assert (await client.get("/health/ready")).json()["error"]["code"] == "serve.starting"
            assert (await client.post("/predict", json="x")).status_code == 503
            slow.open.set()
            await asyncio.sleep(0.1)
            assert (await client.get("/health/ready")).status_code == 200
        broken.answer = lambda value: FakePredictor.answer("nan")
        async with serving(broken, wait=False) as (_, client):
            await asyncio.sleep(0.1)
            assert (await client.get("/health/ready")).status_code == 503

    run(check())


def test_draining_takes_nothing_new_and_answers_what_it_took():
    async def check():
        predictor = FakePredictor()
        async with serving(predictor) as (app, client):
            predictor.open.clear()
            held = [asyncio.create_task(client.post("/predict", json="x")) for _ in range(10)]
            while app.admission.held < 10:
                await asyncio.sleep(0.005)
            app.drain()
            assert (await client.get("/health/ready")).json()["error"]["code"] == "serve.draining"
            assert (await client.get("/health/live")).status_code == 200
            assert (await client.post("/predict", json="x")).status_code == 503
            predictor.open.set()
            assert [r.status_code for r in await asyncio.gather(*held)] == [200] * 10

    run(check())


@pytest.mark.parametrize(("language", "word"), [("zh-CN,zh;q=0.9", "缺少"), ("en-GB", "missing")])
def test_errors_speak_the_askers_language(language, word):
    async def check():
        async with serving() as (_, client):
            answer = await client.post("/predict", json={}, headers={"accept-language": language})
            assert word in answer.json()["error"]["message"]

    run(check())
