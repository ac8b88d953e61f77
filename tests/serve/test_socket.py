"""A real process on a real socket: draining, overload, slow and lying clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
import uvicorn
from uvicorn.server import ServerState

from danlu.serve.metrics import Metrics
from danlu.serve.protocol import protocol

PROCESS = Path(__file__).parent / "serve_process.py"


@contextlib.contextmanager
def server(delay=0.0, drain_s=10.0, head_s=10.0, queue=64):
    """(process, port) of a server that is ready."""
    command = [sys.executable, str(PROCESS), *map(str, (delay, drain_s, head_s, queue))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            port = int(process.stdout.readline())
            deadline = time.monotonic() + 20
            while httpx.get(f"http://127.0.0.1:{port}/health/ready", trust_env=False).status_code != 200:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield process, port
        finally:
            process.kill()


def talk(port: int, data: bytes, wait: float = 5.0) -> bytes:
    """Everything the server says to these bytes until it closes or falls silent."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as connection:
        connection.sendall(data)
        return listen(connection)


def listen(connection: socket.socket) -> bytes:
    heard = b""
    with contextlib.suppress(TimeoutError, ConnectionResetError):
        while piece := connection.recv(65536):
            heard += piece
            head, _, body = heard.partition(b"\r\n\r\n")
            length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), None)
            if length is not None and len(body) >= length:
                break
    return heard


def post(body: bytes, extra: str = "") -> bytes:
    head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{extra}"
    return (head + ("" if "ength" in extra or "Transfer" in extra else f"Content-Length: {len(body)}\r\n") + "\r\n").encode() + body


def metrics(port: int) -> Counter:
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    lines = [line for line in text.splitlines() if line.startswith("danlu_requests_total{")]
    return Counter({line.rpartition(" ")[0][20:]: int(float(line.rpartition(" ")[2])) for line in lines})


def test_sigterm_answers_all_it_accepted_and_ends_with_0():
    with server(delay=0.25) as (process, port):

        async def ask():
            limits = httpx.Limits(max_connections=60)
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=20, trust_env=False) as client:
                asked = [asyncio.create_task(client.post("/predict", json=f"text {i}")) for i in range(50)]
                while "danlu_held_rows 50.0" not in (await client.get("/metrics")).text:
                    await asyncio.sleep(0.02)
                process.send_signal(signal.SIGTERM)
                process.send_signal(signal.SIGTERM)  # a supervisor's signal to process and group: one, not two
                await asyncio.sleep(0.1)
                ready = await client.get("/health/ready")
                refused = await client.post("/predict", json="late")
                return await asyncio.gather(*asked), ready, refused

        answers, ready, refused = asyncio.run(ask())
        assert [answer.status_code for answer in answers] == [200] * 50
        assert ready.json()["error"]["code"] == refused.json()["error"]["code"] == "serve.draining"
        assert process.wait(10) == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


def test_a_second_signal_ends_at_once():
    with server(delay=15) as (process, port), socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(post(b'"a"'))
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        time.sleep(1.3)
        process.send_signal(signal.SIGINT)
        assert process.wait(8) == 128 + signal.SIGTERM


def test_the_drain_has_an_end_and_says_what_it_cut():
    with server(delay=4, drain_s=1) as (process, port), socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(post(b'"a"'))
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        assert b"serve.draining" in listen(client)
        assert process.wait(8) == 128 + signal.SIGTERM


def test_overload_answers_every_request_and_counts_each_once():
    with server(delay=0.05, queue=16) as (_, port):

        async def load():
            limits = httpx.Limits(max_connections=50)
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=20, trust_env=False) as client:
                before = metrics(port)
                answers = await asyncio.gather(*(client.post("/predict", json="a") for _ in range(200)))
                return answers, metrics(port) - before

        answers, counted = asyncio.run(load())
        seen = Counter(answer.status_code for answer in answers)
        assert set(seen) == {200, 503}
        assert counted['{outcome="accepted",reason="",route="/predict"}'] == seen[200]
        assert counted['{outcome="refused",reason="full",route="/predict"}'] == seen[503]
        assert all(answer.json()["label"] == "short" for answer in answers if answer.status_code == 200)
        assert all(answer.headers["retry-after"] for answer in answers if answer.status_code == 503)


def test_slow_clients_are_closed_and_others_do_not_notice():
    with server(head_s=1.0) as (_, port), contextlib.ExitStack() as stack:
        bodies = [post(b'"', "Content-Length: 90\r\n"), post(b"", "Transfer-Encoding: chunked\r\n")]
        starts = [b"", b"P", b"POST /predict HTTP/1.1\r\nHost: 127", *bodies]
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=6)) for _ in range(4) for start in starts]
        for connection, start in zip(slow, starts * 4, strict=True):
            connection.sendall(start)
        for _ in range(8):  # a byte now and then wins no time
            time.sleep(0.1)
            for connection, start in zip(slow, starts * 4, strict=True):
                if start and b"chunked" not in start:
                    with contextlib.suppress(ConnectionError):  # this one's time is over already
                        connection.sendall(b"a")
            assert httpx.post(f"http://127.0.0.1:{port}/predict", json="a", trust_env=False).status_code == 200
        heard = [listen(connection)[:12] for connection in slow]
        assert heard[::5] == [b""] * 4
        assert set(heard) == {b"", b"HTTP/1.1 408"}


def test_a_refused_body_that_never_ends_is_closed():
    with server(head_s=0.6) as (_, port), socket.create_connection(("127.0.0.1", port), timeout=6) as client:
        client.sendall(post(b"a", "Content-Length: 999999999\r\n"))
        assert listen(client).startswith(b"HTTP/1.1 413")
        with contextlib.suppress(ConnectionError):
            for _ in range(60):
                client.sendall(b"a")
                time.sleep(0.05)
            raise AssertionError("still open")


BROKEN = [
    (b"nonsense\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(600), 400),  # TLS to a plain port
    (b"GET / HTTP/9.9\r\n\r\n", 403),
    (b"GET / HTTP/1.0\r\n\r\n", 403),
    (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nBad Header: a\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nA: b\x00c\r\n\r\n", 400),
    (b"GET /" + b"a" * 300_000, 431),
    (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nA: " + b"a" * 1_000_000, 431),
    (post(b"", "Content-Length: -1\r\n"), 400),
    (post(b"", "Content-Length: a\r\n"), 400),
    (post(b"", "Content-Length: 1\r\nContent-Length: 2\r\n"), 400),
    (post(b"zz\r\n", "Transfer-Encoding: chunked\r\n"), 400),
    (post(b"5\r\nabc", "Transfer-Encoding: chunked\r\n") + b"\r\n\r\n0\r\n\r\n", 400),
    (post(b"", "Transfer-Encoding: gzip, chunked\r\n"), 400),
    (post(b"3\r\n\"a\"\r\n0\r\n\r\n", "Transfer-Encoding: chunked\r\n"), 200),
    (post(b'"a"', "Expect: 100-continue\r\n"), 100),
    (b"GET http://evil.example/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 404),
    (b"GET /schema HTTP/1.1\r\nHost: 127.0.0.1\r\nRange: bytes=0-,1-,2-,3-\r\n\r\n", 200),
    (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", 200),
]


def test_broken_http_is_answered_in_the_one_shape():
    with server() as (_, port):
        before = metrics(port)
        for data, status in BROKEN:
            heard = talk(port, data)
            head, _, body = heard.partition(b"\r\n\r\n")
            assert head.startswith(f"HTTP/1.1 {status}".encode()), (data[:80], heard[:200])
            if status in (400, 431):
                assert list(json.loads(body)["error"]) == ["code", "message", "where", "hint"]
                assert b"nosniff" in head
        counted = metrics(port) - before
        refused = sum(n for name, n in counted.items() if 'outcome="refused"' in name)
        assert refused == sum(status >= 400 for _, status in BROKEN)


def test_answers_are_not_held_back_for_an_acknowledgement():
    """Head and body are two writes; with Nagle's algorithm the second waits for the client's delayed ACK: 40 ms a request."""

    async def check():
        seen = []

        class Spy(protocol(Metrics(), 10, 1.0, 1.0)):
            def connection_made(self, transport):
                super().connection_made(transport)
                seen.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

        config = uvicorn.Config(lambda *_: None, log_config=None)
        listener = socket.create_server(("127.0.0.1", 0))
        loop = asyncio.get_running_loop()
        async with await loop.create_server(lambda: Spy(config, ServerState(), {}), sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            while not seen:
                await asyncio.sleep(0.01)
            writer.close()
        assert seen[0] != 0

    asyncio.run(check())


def test_a_chunked_body_beyond_the_limit_is_cut_off():
    with server() as (_, port):
        chunk = b"10000\r\n" + b"a" * 65536 + b"\r\n"
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            client.sendall(post(b"", "Transfer-Encoding: chunked\r\n"))
            with contextlib.suppress(ConnectionError):
                for _ in range(80):
                    client.sendall(chunk)
            assert listen(client).startswith(b"HTTP/1.1 413")
