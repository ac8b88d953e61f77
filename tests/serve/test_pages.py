"""The pages and the description for programs: nothing from outside, nothing inline, nothing of the user's run as code."""

from __future__ import annotations

import asyncio
import re

import pytest
from serve_fakes import FakePredictor, serving

HOSTILE = '"><script>alert(1)</script>{{7*7}}'


class Hostile(FakePredictor):
    def describe(self):
        return super().describe() | {"labels": [HOSTILE, "b"], "model": HOSTILE}


@pytest.mark.parametrize("inputs", [{"text": "text"}, {"image": "image"}, {"audio": "audio"}, {"text": "text", "image": "image"}])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_pages_load_only_our_own_files_and_run_nothing_inline(inputs, lang):
    async def check():
        async with serving(Hostile(inputs), wait=False) as (app, client):
            for path in ("/", "/docs"):
                page = (await client.get(path, params={"lang": lang})).text
                assert HOSTILE not in page
                assert "<script>" not in page
                assert not re.search(r"<[^>]*\s(on\w+|style)=", page)
                for address in re.findall(r'(?:src|href)="([^"]*)"', page):
                    assert not re.match(r"(\w+:)?//", address) or address.startswith("data:"), address
                    if address.startswith("static/"):
                        assert f"/{address}" in app.routes
                assert f'lang="{"zh-CN" if lang == "zh" else "en"}"' in page
            for name in (path for path in app.routes if path.startswith("/static/")):
                text = (await client.get(name)).text
                assert "http:" not in text
                assert "https:" not in text
                assert "innerHTML" not in text

    asyncio.run(check())


def test_the_description_for_programs_names_every_route_and_resolves():
    async def check():
        async with serving() as (app, client):
            api = (await client.get("/openapi.json")).json()
            for path, verbs in api["paths"].items():
                assert {verb.upper() for verb in verbs} == set(app.routes[path])
            assert set(app.routes) - set(api["paths"]) == {"/", "/docs"} | {p for p in app.routes if p.startswith("/static/")}
            for name in set(re.findall(r"#/components/schemas/(\w+)", str(api))):
                assert name in api["components"]["schemas"]
            about = (await client.get("/schema")).json()
            assert about["labels"] == ["long", "short"]
            assert about["row"] == api["components"]["schemas"]["Row"]
            answer = (await client.post("/predict", json=about["example"]["row"])).json()
            assert set(answer) == set(about["answer"]["required"])

    asyncio.run(check())
