"""Malformed requests: each is answered with the right 4xx in the one error shape, the model never sees it, and the server goes on."""

from __future__ import annotations

import asyncio
import json

import pytest
from serve_fakes import FakePredictor, serving

JSON = {"content-type": "application/json"}
FORM = {"content-type": "multipart/form-data; boundary=x"}


def part(headers: str, content: str = "a", end: str = "--x--\r\n") -> str:
    return f"--x\r\n{headers}\r\n\r\n{content}\r\n{end}"


NAMED = 'Content-Disposition: form-data; name="text"'
TEXT = [  # body, status, code
    (b"", 400, "not-json"),
    (b"{", 400, "not-json"),
    (b"nonsense", 400, "not-json"),
    (b'{"text": "a"} more', 400, "not-json"),
    (b"{'text': 'a'}", 400, "not-json"),
    (b'{"text": "a",}', 400, "not-json"),
    (b'{"text": "\x01"}', 400, "not-json"),
    (b"9" * 5000, 400, "not-json"),
    (b'{"text": "a", "text": "b"}', 400, "json-repeat"),
    (b'{"text": NaN}', 400, "json-constant"),
    (b"[Infinity]", 400, "json-constant"),
    (b"-Infinity", 400, "json-constant"),
    (b"[" * 100_000, 400, "deep-json"),
    (b'{"text":' * 20_000, 400, "deep-json"),
    (b'{"text": "\xff\xfe"}', 400, "not-utf8"),
    ('{"text": "a"}'.encode("utf-16"), 400, "not-utf8"),
    (b"\x00\x01\x02", 400, "not-json"),
    (b"null", 422, "row-shape"),
    (b"true", 422, "row-shape"),
    (b"7", 422, "row-shape"),
    (b"1e400", 422, "row-shape"),
    (b"[]", 422, "no-rows"),
    (b'{"rows": []}', 422, "no-rows"),
    (b'{"rows": {}}', 422, "rows-no-list"),
    (b'{"rows": "a"}', 422, "rows-no-list"),
    (b'{"rows": null}', 422, "rows-no-list"),
    (b'{"rows": ["a"], "n": 1000000}', 422, "beside-rows"),
    (b'[{"text": "a"}, null]', 422, "row-shape"),
    (b"[[]]", 422, "row-shape"),
    (b'[["a"]]', 422, "row-shape"),
    (b"{}", 422, "field-missing"),
    (b'{"text": null}', 422, "field-missing"),
    (b'{"txet": "a"}', 422, "field-unknown"),
    (b'{"text": "a", "label": "b"}', 422, "field-unknown"),
    (b'{"text": "a", "temperature": -1e999}', 422, "field-unknown"),
    (b'{"": "a"}', 422, "field-unknown"),
    (b'{"text": 7}', 422, "not-text"),
    (b'{"text": 1e400}', 422, "not-text"),
    (b'{"text": true}', 422, "not-text"),
    (b'{"text": []}', 422, "not-text"),
    (b'{"text": {"text": "a"}}', 422, "not-text"),
    (b'{"text": "\\ud800"}', 422, "half-character"),
    (b'["\\udfff"]', 422, "half-character"),
    (json.dumps(["a"] * 9).encode(), 413, "too-many-rows"),
    (b'"' + b"a" * 101 + b'"', 413, "text-too-long"),
    (b'"' + b"a" * 300_000 + b'"', 413, "too-large"),
]
FORMS = [
    ("", 400, "not-multipart"),
    ("nonsense", 400, "not-multipart"),
    ("--x--\r\n", 422, "no-rows"),
    (part(NAMED, end=""), 400, "not-multipart"),
    (part("Content-Disposition: form-data"), 400, "not-multipart"),
    (part("Bad header"), 400, "not-multipart"),
    (part(NAMED + "\r\nX-A: " + "b" * 9000), 400, "not-multipart"),
    (part('Content-Disposition: form-data; name="tetx"'), 422, "field-unknown"),
    (part('Content-Disposition: form-data; name="file"; filename="../../etc/passwd"'), 422, "field-unknown"),
    ("".join(part(NAMED, end="") for _ in range(9)) + "--x--\r\n", 413, "too-many-parts"),
]
HEADERS = [
    ({}, 415, "media-type"),
    ({"content-type": "text/plain"}, 415, "media-type"),
    ({"content-type": "application/x-www-form-urlencoded"}, 415, "media-type"),
    ({"content-type": "application/xml"}, 415, "media-type"),
    ({"content-type": "image/png"}, 415, "media-type"),
    ({"content-type": "multipart/form-data"}, 400, "not-multipart"),
    ({"content-type": "multipart/form-data; boundary=" + "x" * 500}, 400, "not-multipart"),
    ({**JSON, "content-encoding": "gzip"}, 415, "encoded"),
    ({**JSON, "content-length": "99999999999999999999999"}, 413, "too-large"),
]
PICTURES = [
    (b'"http://169.254.169.254/latest"', "no-address"),
    (b'{"image": "https://example.com/a.png"}', "no-address"),
    (b'{"image": "file:///etc/passwd"}', "no-address"),
    (b'{"image": "data:image/png;base64,AAAA"}', "no-address"),
    (b'{"image": "ftp://[::1]/a"}', "no-address"),
    (b'{"image": "/etc/passwd"}', "media-shape"),
    (b'{"image": "a.png"}', "media-shape"),
    (b'{"image": 5}', "media-shape"),
    (b'{"image": [[0, 1]]}', "media-shape"),
    (b'{"image": {"url": "http://a"}}', "media-shape"),
    (b'{"image": {"path": "/etc/passwd"}}', "media-shape"),
    (b'{"image": {"base64": 5}}', "media-shape"),
    (b'{"image": {"base64": "AAAA", "path": "/etc/passwd"}}', "media-shape"),
    (b'{"image": {"base64": ""}}', "empty-media"),
    (b'{"image": {"base64": "not base64!"}}', "not-base64"),
    (b'{"image": {"base64": "AAA"}}', "not-base64"),
    ('{"image": {"base64": "图片"}}'.encode(), "not-base64"),
    (b'{"image": {"base64": "AAAA"}}', None),
    (b'{"image": {"base64": "UklGRiQAAABXQVZFZm10IA=="}}', None),
]
SMALL = {"max_rows": 8, "max_text": 100, "max_body": 250_000}


def judge(answer, status: int, code: str | None) -> None:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert list(error) == ["code", "message", "where", "hint"]
    assert code is None or error["code"] == f"serve.{code}"
    assert error["message"]
    assert error["hint"]
    assert len(answer.content) < 1200
    for inside in ("Traceback", 'File "', "site-packages", "danlu/"):
        assert inside not in answer.text


async def all_of(predictor: FakePredictor, requests) -> None:
    async with serving(predictor, **SMALL) as (_, client):
        for content, headers, status, code in requests:
            judge(await client.post("/predict", content=content, headers=headers), status, code)
        assert (await client.get("/health/ready")).status_code == 200
        assert predictor.batches == [1]  # the self-test and nothing else


def test_bad_json_rows_and_texts():
    asyncio.run(all_of(FakePredictor(), [(body, JSON, status, code) for body, status, code in TEXT]))


def test_bad_forms():
    asyncio.run(all_of(FakePredictor(), [(body.encode(), FORM, status, code) for body, status, code in FORMS]))


def test_bad_headers():
    asyncio.run(all_of(FakePredictor(), [(b'{"text": "a"}', headers, status, code) for headers, status, code in HEADERS]))


def test_bad_pictures_and_every_kind_of_address():
    asyncio.run(all_of(FakePredictor({"image": "image"}), [(body, JSON, 422, code) for body, code in PICTURES]))


def test_uneven_form_of_two_fields():
    async def check():
        async with serving(FakePredictor({"text": "text", "image": "image"})) as (_, client):
            judge(await client.post("/predict", files=[("text", (None, "a")), ("text", (None, "b"))]), 422, "uneven-parts")

    asyncio.run(check())


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/predict", 405),
        ("PUT", "/predict", 405),
        ("DELETE", "/predict", 405),
        ("PATCH", "/predict", 405),
        ("OPTIONS", "/predict", 405),
        ("POST", "/schema", 405),
        ("BREW", "/", 405),
        ("GET", "/predict/", 404),
        ("GET", "/static/", 404),
        ("GET", "/static/../app.py", 404),
        ("GET", "/static/%2e%2e%2fapp.py", 404),
        ("GET", "/static/try.html", 404),
        ("GET", "//etc/passwd", 404),
        ("GET", "/" + "a" * 5000, 404),
    ],
)
def test_wrong_method_or_path(method, path, status):
    async def check():
        async with serving() as (_, client):
            judge(await client.request(method, path), status, "method" if status == 405 else "not-found")

    asyncio.run(check())
