"""The parts of a multipart/form-data body, kept in memory: the body's limit has bounded them already."""

from __future__ import annotations

from python_multipart.multipart import MultipartParser, parse_options_header

from danlu.serve.answers import Refusal


def read_parts(content_type: str, body: bytes, limit: int) -> list[tuple[str, bytes]]:
    """(name, content) of every part in order. Refusal 400 for a broken body, 413 for more than `limit` parts."""
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise Refusal(400, "serve.not-multipart", "content-type")
    reader = _Reader(limit)
    try:
        parser = MultipartParser(boundary, reader.callbacks(), max_header_size=4096)
        parser.write(body)
        parser.finalize()
    except ValueError:  # all errors of the parser are
        raise Refusal(400, "serve.not-multipart", "body") from None
    if not reader.ended:
        raise Refusal(400, "serve.not-multipart", "body")
    return reader.parts


class _Reader:
    """Collects what the parser calls out."""

    def __init__(self, limit: int) -> None:
        self.parts: list[tuple[str, bytes]] = []
        self.ended = False
        self._limit = limit
        self._name: str | None = None
        self._data = bytearray()
        self._header, self._value = bytearray(), bytearray()

    def callbacks(self) -> dict:
        return {
            "on_part_begin": self._part,
            "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header_end,
            "on_part_data": lambda data, start, end: self._data.extend(data[start:end]),
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    def _part(self) -> None:
        if len(self.parts) >= self._limit:
            raise Refusal(413, "serve.too-many-parts", "body", limit=self._limit)
        self._name = None
        self._data.clear()

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            name = parse_options_header(bytes(self._value))[1].get(b"name")
            self._name = None if name is None else name.decode("utf8", "replace")
        self._header.clear()
        self._value.clear()

    def _part_end(self) -> None:
        if self._name is None:
            raise Refusal(400, "serve.not-multipart", "body")
        self.parts.append((self._name, bytes(self._data)))

    def _end(self) -> None:
        self.ended = True
