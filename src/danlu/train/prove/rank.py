"""One of the processes of the proof `processes`: `python -m danlu.train.prove.rank FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

from danlu.core.files import read_json
from danlu.core.recipe import Recipe
from danlu.train.prove.case import Case
from danlu.train.run import Run
from danlu.train.world import join


def main(file: str) -> None:
    """Trains what the file says, together with the other processes."""
    asked = read_json(Path(file))
    case = Case(Recipe.model_validate(asked["recipe"]), Path(file).parent / "ranks")
    with join() as world:
        case.train_together(Run(asked["run"]), world, **asked["settings"])


if __name__ == "__main__":
    main(sys.argv[1])
