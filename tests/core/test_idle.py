"""A machine is idle when nobody else wants a core."""

import builtins
import io

import pytest

from danlu.core import idle


@pytest.mark.parametrize(("said", "is_idle"), [("1/80", True), ("2/80", False), ("x", False)])
def test_the_system_says_how_many_run(monkeypatch, said, is_idle):
    monkeypatch.setattr(builtins, "open", lambda *args, **kwargs: io.StringIO(f"0.10 0.20 0.30 {said} 4711\n"))
    monkeypatch.setattr(idle, "cores", lambda: 2)
    monkeypatch.setattr(idle.os, "cpu_count", lambda: 2)
    assert idle.idle() is is_idle


def test_a_large_machine_with_room_is_idle(monkeypatch):
    monkeypatch.setattr(builtins, "open", lambda *args, **kwargs: io.StringIO("9 9 9 9/999 1\n"))
    monkeypatch.setattr(idle, "cores", lambda: 4)
    monkeypatch.setattr(idle.os, "cpu_count", lambda: 64)
    assert idle.idle()


def test_a_system_that_does_not_say_is_not_idle(monkeypatch):
    def missing(*args, **kwargs):
        raise FileNotFoundError

    monkeypatch.setattr(builtins, "open", missing)
    assert not idle.idle()
