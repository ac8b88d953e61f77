"""This room answers before torch is imported: a fresh interpreter in which torch cannot be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from making import csv_of

CODE = """
import sys
sys.modules["torch"] = None
from danlu.core.recipe import Data
from danlu.data.contract import account, usable
from danlu.data.dataset import open_dataset
from danlu.data.draft import draft
data = open_dataset(Data(path=sys.argv[1]), {"text": "text"}, "label", 0)
usable(data)
draft("text-classification", sys.argv[1], inputs={"text": "text"}, target="label")
for heavy in ("sklearn", "scipy", "transformers", "soundfile", "PIL"):
    assert heavy not in sys.modules, heavy
print(len(data.indices("train")))
"""


def test_without_torch(tmp_path: Path, text_rows) -> None:
    (tmp_path / "t.csv").write_text(csv_of(text_rows))
    done = subprocess.run([sys.executable, "-c", CODE, str(tmp_path / "t.csv")], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "32", done.stderr
