"""Who may come in: every route and every method behind the token, Host names, origins, and the headers of every answer."""

from __future__ import annotations

import asyncio

import pytest
from serve_fakes import FakePredictor, serving

from danlu.core.errors import InputError
from danlu.serve.gate import is_loopback
from danlu.serve.run import run

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
TOKEN = "correct horse"
WRONG = [
    {},
    {"authorization": ""},
    {"authorization": "Bearer"},
    {"authorization": "Bearer "},
    {"authorization": "Bearer wrong"},
    {"authorization": f"Bearer {TOKEN} "[:-3]},
    {"authorization": f"Basic {TOKEN}"},
    {"authorization": TOKEN},
    {"cookie": f"danlu_key={TOKEN}"},
    {"cookie": "danlu_key="},
]


def test_every_route_and_method_is_behind_the_token():
    async def check():
        async with serving(token=TOKEN, hosts=None) as (app, client):
            for path in [*app.routes, "/nowhere", "/predict/"]:
                for method in METHODS:
                    for headers in WRONG:
                        answer = await client.request(method, path, headers=headers)
                        if path == "/health/live":
                            assert answer.status_code == (200 if method in ("GET", "HEAD") else 405)
                        else:
                            assert answer.status_code == 401, (path, method, headers)
                            assert answer.headers["www-authenticate"].startswith("Bearer")
            right = {"authorization": f"bearer {TOKEN}"}
            for path, methods in app.routes.items():
                if "GET" in methods:
                    assert (await client.get(path, headers=right)).status_code == 200, path
            assert (await client.post("/predict", json="a", headers=right)).status_code == 200

    asyncio.run(check())


def test_a_host_header_cannot_bend_the_path():
    async def check():
        async with serving(token=TOKEN, hosts=None) as (_, client):
            for host in ("x/health/live?", "x/health/live#", "x/?token="):
                answer = await client.get("/metrics", headers={"host": host})
                assert answer.status_code in (400, 401)

    asyncio.run(check())


def test_a_browser_trades_the_token_for_a_cookie_once():
    async def check():
        async with serving(token=TOKEN, hosts=None) as (_, client):
            assert (await client.get("/", params={"token": "wrong"})).status_code == 401
            login = await client.get("/", params={"token": TOKEN})
            assert login.status_code == 303
            assert login.headers["location"] == "./"
            cookie = login.headers["set-cookie"].lower()
            assert "httponly" in cookie
            assert "samesite=strict" in cookie
            assert TOKEN not in cookie
            assert (await client.get("/")).status_code == 200
            assert (await client.post("/predict", json="a")).status_code == 200
            assert (await client.post("/predict", json="a", headers={"sec-fetch-site": "cross-site"})).status_code == 403

    asyncio.run(check())


@pytest.mark.parametrize(
    ("host", "good"),
    [
        ("127.0.0.1", True), ("127.0.0.1:8000", True), ("localhost:1", True), ("LocalHost", True), ("[::1]:8000", True), ("[::1]", True),
        ("evil.example", False), ("evil.example:8000", False), ("localhost.", False), ("localhost.evil", False), ("0.0.0.0", False),
        ("127.0.0.1.evil.example", False), ("127.0.0.1:8000:80", False), ("127.0.0.1:", False), ("", False), ("::1", False),
        ("[::1]x", False), ("localhost@evil.example", False), ("127.1", False), ("2130706433", False), ("localhost:８０", False),
    ],
)  # fmt: skip
def test_only_names_of_this_machine_are_answered(host, good):
    async def check():
        async with serving() as (_, client):
            answer = await client.get("/schema", headers={"host": host.encode()})
            assert answer.status_code == (200 if good else 403)

    asyncio.run(check())


@pytest.mark.parametrize(
    ("headers", "good"),
    [
        ({}, True),
        ({"origin": "http://127.0.0.1:8000"}, True),
        ({"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"origin": "null"}, False),
        ({"origin": "http://127.0.0.1:9000"}, False),
        ({"origin": "http://localhost:8000"}, False),
        ({"origin": "http://127.0.0.1:8000.evil.example"}, False),
        ({"origin": "https://evil.example"}, False),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
    ],
)
def test_no_other_sites_page_may_write(headers, good):
    async def check():
        async with serving() as (_, client):
            answer = await client.post("/predict", json="a", headers=headers)
            assert answer.status_code == (200 if good else 403)
            assert not any(name.startswith("access-control") for name in answer.headers)

    asyncio.run(check())


def test_every_answer_carries_the_security_headers():
    async def check():
        async with serving() as (app, client):
            answers = [await client.get(path) for path in [*app.routes, "/nowhere"]] + [await client.post("/predict", json="a")]
            for answer in answers:
                assert "script-src 'self'" in answer.headers["content-security-policy"]
                assert "unsafe" not in answer.headers["content-security-policy"]
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert answer.headers["x-frame-options"] == "DENY"
                assert answer.headers["cache-control"] == "no-store"

    asyncio.run(check())


def test_beyond_this_machine_only_with_a_token(monkeypatch):
    monkeypatch.delenv("DANLU_TOKEN", raising=False)
    for host in ("0.0.0.0", "::", "", "192.168.1.5", "example.com"):
        with pytest.raises(InputError) as caught:
            run("nowhere", host=host, port=0)
        assert caught.value.code == "serve.needs-token"
    assert [is_loopback(host) for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost", "::ffff:1.2.3.4")] == [True] * 4 + [False]


def test_the_token_is_not_shown_anywhere():
    async def check():
        async with serving(FakePredictor(), token=TOKEN) as (app, client):
            for path in app.routes:
                answer = await client.get(path, headers={"authorization": f"Bearer {TOKEN}"})
                assert TOKEN not in answer.text + str(answer.headers)

    asyncio.run(check())
