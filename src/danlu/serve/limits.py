"""Every limit of the server in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Rows, bytes and seconds. `queue` bounds the rows that are accepted and not yet answered, so it bounds the wait, too:
    about `queue / max_batch` batches."""

    queue: int = 64
    max_batch: int = 32
    max_rows: int = 256  # in one request; one that is accepted may overshoot the queue by this
    max_body: int | None = None  # bytes; None: 4 MiB where rows are text, 32 MiB where they are pictures or sounds
    max_text: int = 200_000  # characters in one field
    receiving: int = 256  # requests whose body is on its way at the same time
    receive_s: float = 30.0  # for a whole body
    answer_s: float = 30.0  # from a whole body to its answer
    linger_s: float = 0.002  # how long a batch that is not full waits for company
    stuck_s: float = 5.0  # a thread this long at one piece of work makes the server not ready; six times as long, not live

    def body(self, inputs: Mapping[str, str]) -> int:
        """The limit of one body in bytes, given the fields of a row and their kinds."""
        if self.max_body is not None:
            return self.max_body
        return 4 * MEBIBYTE if set(inputs.values()) <= {"text"} else 32 * MEBIBYTE
