"""Errors a user meets: one sentence of what, where it is, and what to do. The exit code is the kind of error."""

from __future__ import annotations

from danlu.core.words import hint, language, say


class DanluError(Exception):
    """Base of everything Danlu says on purpose.

    `key` names the sentence in `core/words/`; `where` is the file, row, key or line it is about; `values` fill the sentence.
    """

    exit_code = 2

    def __init__(self, key: str, /, where: object = "", **values: object) -> None:
        self.code = key
        self.where = str(where)
        self.values = values
        super().__init__(say(key, **values))

    @property
    def message(self) -> str:
        return say(self.code, **self.values)

    @property
    def hint(self) -> str:
        return hint(self.code, **self.values)

    def as_json(self) -> dict[str, dict[str, str]]:
        return {"error": {"code": self.code, "message": self.message, "where": self.where, "hint": self.hint}}

    def sentence(self) -> str:
        """What, where and what to do, on one line."""
        message, chinese = self.message, language() == "zh"
        if self.where and self.where.lower() not in message.lower():
            stem = message[:-1] if message[-1:] in ".?。？" else message
            message = stem + (f"（{self.where}）" if chinese else f" ({self.where})") + message[len(stem) :]
        return ("" if chinese else " ").join(part for part in (message, self.hint) if part)


class ProofFailed(DanluError):
    """A proof or comparison did not hold."""

    exit_code = 1


class InputError(DanluError):
    """Input or recipe that the user can fix."""

    exit_code = 2


class ResourceError(DanluError):
    """Out of disk or memory; what was saved before is safe."""

    exit_code = 3


class RefusedError(DanluError):
    """A checkpoint, bundle or model folder that Danlu will not load."""

    exit_code = 4


class Stopped(DanluError):
    """Stopped by a signal with the state saved: 130 for SIGINT, 143 for SIGTERM."""

    def __init__(self, key: str, /, signal: int, where: object = "", **values: object) -> None:
        super().__init__(key, where, **values)
        self.exit_code = 128 + signal
