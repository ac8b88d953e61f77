"""A transformers folder as files, without torch: config, tokenizer and where the weights are. Code is never run, pickles are never read."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from danlu.core.errors import InputError, RefusedError

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack")
WEIGHTS, SHARDS = "model.safetensors", "model.safetensors.index.json"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_OF_LABELS = ("id2label", "label2id", "num_labels", "problem_type")
_OF_FILES = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version")
_OFFSET_POSITIONS = ("roberta", "camembert", "xlm", "longformer", "mpnet", "data2vec-text", "luke", "xmod", "ibert")


@dataclass(frozen=True)
class Folder:
    """`config` lacks labels and paths; `labels` are those its own head answers with; `files` hold the weights."""

    path: Path
    config: dict[str, Any]
    labels: list[str]
    tokenizer: str
    tokenizer_config: dict[str, Any]
    files: list[Path]

    @property
    def longest(self) -> int | None:
        """The most pieces that the model has positions for, or None where there is no limit."""
        return longest(self.config, self.tokenizer_config)


def open_folder(name: str) -> Folder:
    """A folder, or a hub id that is fetched (never where `HF_HUB_OFFLINE` is set). RefusedError says why one is not taken."""
    path = _locate(name)
    config = _json(path, "config.json")
    tokenizer_config = _json(path, "tokenizer_config.json") if (path / "tokenizer_config.json").is_file() else {}
    if "auto_map" in config or "auto_map" in tokenizer_config:
        raise RefusedError("pretrained.code", path, path=path)
    if not isinstance(config.get("model_type"), str):
        raise RefusedError("pretrained.bad-file", path, path=path, name="config.json", problem="model_type")
    files = _weight_files(path)
    plain = {key: value for key, value in config.items() if key not in (*_OF_LABELS, *_OF_FILES)}
    own = config.get("id2label")
    named = {str(key): str(label) for key, label in own.items()} if isinstance(own, dict) else {}
    labels = [named[str(i)] for i in range(len(named)) if str(i) in named]
    return Folder(path, plain, labels, _tokenizer(path, tokenizer_config), tokenizer_config, files)


def longest(config: dict[str, Any], tokenizer_config: dict[str, Any]) -> int | None:
    """Positions of a model: its table, less those that RoBERTa's kin keep for padding, and no more than the tokenizer allows."""
    limits = []
    positions = config.get("max_position_embeddings") or config.get("n_positions")
    if isinstance(positions, int) and positions > 0:
        offset = (config.get("pad_token_id") or 0) + 1 if config["model_type"].startswith(_OFFSET_POSITIONS) else 0
        limits.append(positions - offset)
    allowed = tokenizer_config.get("model_max_length")
    if isinstance(allowed, int) and 0 < allowed < 1_000_000:
        limits.append(allowed)
    return min(limits, default=None)


def _locate(name: str) -> Path:
    path = Path(os.path.expanduser(name))
    if path.is_dir():
        return path
    if path.exists() or not _HUB_ID.fullmatch(name):
        raise InputError("pretrained.not-found", name, name=name)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.txt", "*.safetensors"]))
    except Exception as error:  # network, rights, no such id: the answer is the same sentence
        problem = " ".join(str(error).split()).partition(". ")[0][:160].rstrip(".") or type(error).__name__
        raise InputError("pretrained.hub", name, name=name, problem=problem) from error


def _json(path: Path, name: str) -> dict[str, Any]:
    file = path / name
    if not file.is_file():
        raise RefusedError("pretrained.missing", path, path=path, name=name)
    try:
        tree = json.loads(file.read_text(encoding="utf8"))
    except (ValueError, OSError) as error:
        raise RefusedError("pretrained.bad-file", path, path=path, name=name, problem=_line(error)) from error
    if not isinstance(tree, dict):
        raise RefusedError("pretrained.bad-file", path, path=path, name=name, problem="{ }")
    return tree


def _weight_files(path: Path) -> list[Path]:
    if (path / WEIGHTS).is_file():
        return [path / WEIGHTS]
    if (path / SHARDS).is_file():
        places = _json(path, SHARDS).get("weight_map")
        if not isinstance(places, dict):
            raise RefusedError("pretrained.bad-file", path, path=path, name=SHARDS, problem="weight_map")
        names = sorted({str(name) for name in places.values()})
        for name in names:
            if Path(name).name != name or not (path / name).is_file():
                raise RefusedError("pretrained.missing", path, path=path, name=name)
        return [path / name for name in names]
    if any(found for pattern in PICKLES for found in path.glob(pattern)):
        raise RefusedError("pretrained.pickled", path, path=path)
    raise RefusedError("pretrained.missing", path, path=path, name=WEIGHTS)


def _tokenizer(path: Path, settings: dict[str, Any]) -> str:
    """JSON of the folder's tokenizer, which the `tokenizers` library takes."""
    from danlu.nn.wordpiece import from_vocabulary, plain

    try:
        if (path / "tokenizer.json").is_file():
            return plain((path / "tokenizer.json").read_text(encoding="utf8"))
        if (path / "vocab.txt").is_file():
            lines = (path / "vocab.txt").read_text(encoding="utf8").splitlines()
            return from_vocabulary(lines, settings.get("do_lower_case", True), settings.get("tokenize_chinese_chars", True))
    except Exception as error:  # `tokenizers` raises bare Exception
        raise RefusedError("pretrained.bad-file", path, path=path, name="tokenizer", problem=_line(error)) from error
    raise RefusedError("pretrained.missing", path, path=path, name="tokenizer.json")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
