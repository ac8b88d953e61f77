"""Text classification: one text, one label, in any language. Texts become weighted n-grams or pieces, as the architecture wants them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from danlu.core.errors import InputError, RefusedError
from danlu.core.files import write_json
from danlu.core.types import Batch, Example, Row
from danlu.data.batches import collate
from danlu.fields.text import Ngrams, units
from danlu.fields.tokens import Pieces, learn
from danlu.tasks.classification import Classification, ClassificationOptions

NGRAMS = {"small": 200_000, "base": 400_000}
_TABLE = 8_000_000  # n-grams times labels: with many labels fewer n-grams
LONGEST = 512  # pieces, where the recipe and the model say nothing
LEAST = 16  # pieces that a prompt must leave for the text
RATES = {  # learning rate and epochs for what is trained of a transformers folder, where it is not the weights themselves
    "head": (1e-3, 10),
    "lora": (5e-4, 3),
    "dora": (5e-4, 3),
    "ia3": (5e-3, 3),
    "bottleneck": (1e-3, 3),
    "prompt": (1e-2, 5),
    "prefix": (5e-3, 3),
}
FEW = 5_000  # rows, below which the bag begins with its regression solved
_SAMPLE = 20_000  # texts whose lengths are looked at


class TextOptions(ClassificationOptions):
    max_length: int | None = Field(
        None, ge=4, le=8192, description="Words or pieces kept of a text; by default nearly every training text whole, at most 512 pieces"
    )


class TextClassification(Classification):
    """Facts: `ngrams` for a bag; `tokenizer` and `max_length` for the others, with `config` where the model is transformers' own."""

    name = "text-classification"
    inputs: ClassVar[dict[str, str]] = {"text": "text"}
    Options = TextOptions
    architecture = "bag"
    ngrams: Ngrams | None = None
    pieces: Pieces | None = None
    config: dict[str, Any] | None = None
    tokenizer_config: dict[str, Any] | None = None
    evidence: np.ndarray | None = None  # of n-grams for labels, where `fit` just saw many rows; a bundle has it in its weights
    solved: tuple[np.ndarray, np.ndarray] | None = None  # the regression on n-grams, where `fit` just saw few rows

    # -- facts -------------------------------------------------------------------------------------------------
    def fit_inputs(self, rows: Iterable[Row]) -> None:
        if self.steps:
            raise InputError("text.no-steps", "data.augment", step=self.steps[0])
        if self.ngrams is None and self.pieces is None:
            if self.model.pretrained and not self.model.architecture:
                self._open_pretrained(rows)
            elif self._architecture == "bag":
                self.ngrams = Ngrams.learn(_texts(rows), min(NGRAMS[self.model.size], max(10_000, _TABLE // len(self.labels))))
            else:
                tokenizer = learn(_texts(rows)).to_str()
                self.pieces = Pieces(tokenizer, self._max_length(tokenizer, rows, None))
        if self.config is not None and self.model.adapt.method == "prompt":
            self._make_room(self.model.adapt.tokens)
        if self.ngrams is not None:
            if max(self.ngrams.counts, default=0) < 2:  # no word stands in two rows
                raise InputError("text.no-words")
            known = [row for row in rows if row.get("text") is not None]
            classes = [self.index(row[self.target]) for row in known]
            if len(known) < FEW and len(set(classes)) > 1:
                self.solved = self.ngrams.regression(_texts(known), classes, len(self.labels))
            else:
                self.evidence = self.ngrams.evidence(_texts(known), classes, len(self.labels))

    def _open_pretrained(self, rows: Iterable[Row]) -> None:
        from danlu.nn.folder import open_folder

        folder = open_folder(self.model.pretrained or "")
        self.config, self.tokenizer_config = folder.config, folder.tokenizer_config
        self.pieces = Pieces(folder.tokenizer, self._max_length(folder.tokenizer, rows, folder.longest))
        size = folder.config.get("vocab_size")
        if isinstance(size, int) and len(self.pieces) > size:
            raise RefusedError("pretrained.vocabulary", folder.path, path=folder.path, n=len(self.pieces), size=size)

    def _make_room(self, tokens: int) -> None:
        """A prompt takes positions of the model: texts are cut so that they fit behind it."""
        from danlu.nn.folder import longest

        most = longest(self.config, self.tokenizer_config or {})
        if most is not None and most - tokens < LEAST:
            raise InputError("adapt.no-room", "model.adapt.tokens", tokens=tokens, longest=most)
        self.pieces = Pieces(self.pieces.json, min(self.pieces.max_length, (most or self.pieces.max_length + tokens) - tokens))

    def _max_length(self, tokenizer: str, rows: Iterable[Row], limit: int | None) -> int:
        """The option, else enough for 99 in 100 training texts, never more than the model has positions for."""
        wanted = self.options.max_length
        if wanted is None:
            sample = list(islice(_texts(rows), _SAMPLE))
            lengths = [whole for _, whole in Pieces(tokenizer, LONGEST).encode_many(sample)]
            wanted = min(LONGEST, max(16, math.ceil(float(np.quantile(lengths, 0.99)) / 8) * 8))
        return min(wanted, limit or wanted)

    def facts(self) -> dict[str, Any]:
        if self.ngrams is not None:
            return {"ngrams": self.ngrams.state()}
        facts = {"tokenizer": self.pieces.json, "max_length": self.pieces.max_length}
        return facts if self.config is None else facts | {"config": self.config, "tokenizer_config": self.tokenizer_config}

    def adopt(self, facts: dict[str, Any]) -> None:
        if "ngrams" in facts:
            self.ngrams = Ngrams(**facts["ngrams"])
        else:
            self.pieces = Pieces(facts["tokenizer"], facts["max_length"])
            self.config, self.tokenizer_config = facts.get("config"), facts.get("tokenizer_config")

    # -- rows to arrays ----------------------------------------------------------------------------------------
    def encode_inputs(self, row: Row) -> dict[str, Any]:
        return self._encode_texts([row["text"]])[0]

    def encode_many(self, rows: Sequence[Row]) -> list[Example]:
        examples = self._encode_texts([row["text"] for row in rows])
        for row, example in zip(rows, examples, strict=True):
            if row.get(self.target) is not None:
                example["target"] = np.int64(self.index(row[self.target]))
        return examples

    def _encode_texts(self, texts: list[str]) -> list[Example]:
        if self.ngrams is None:
            return [{"ids": ids_T, "whole": np.int64(whole)} for ids_T, whole in self.pieces.encode_many(texts, self.options.max_length)]
        examples = []
        for found in map(units, texts):
            ids_T, weights_T = self.ngrams.encode(found[: self.options.max_length])
            examples.append({"ids": ids_T, "weights": weights_T, "whole": np.int64(len(found))})
        return examples

    def cut(self, example: Example) -> tuple[int, int]:
        whole = int(example["whole"])
        most = self.options.max_length if self.pieces is None else len(example["ids"])
        return min(whole, most or whole), whole

    def length(self, example: Example) -> int:
        return 1 if self.pieces is None else len(example["ids"])

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Pieces: `ids` [B, T] and `ids_lengths`. N-grams: of all rows in one line, and `offsets` int64 [B] where each row begins."""
        if self.ngrams is None:
            return collate([{key: value for key, value in example.items() if key != "whole"} for example in examples])
        lengths_B = np.array([len(example["ids"]) for example in examples], dtype=np.int64)
        batch = {
            "ids": np.concatenate([example["ids"] for example in examples]).astype(np.int64),
            "weights": np.concatenate([example["weights"] for example in examples]),
            "offsets": lengths_B.cumsum() - lengths_B,
        }
        if all("target" in example for example in examples):
            batch["target"] = np.stack([example["target"] for example in examples])
        return batch

    def show(self, example: Example) -> str:
        """The pieces as text, or the known n-grams, the weightiest first."""
        if self.ngrams is None:
            return self.pieces.decode(example["ids"])
        heaviest = example["ids"][np.argsort(-example["weights"], kind="stable")]
        return " | ".join(self.ngrams.vocabulary[i] for i in heaviest[:40])

    # -- model and training ------------------------------------------------------------------------------------
    @property
    def _architecture(self) -> str:
        return self.model.architecture or self.architecture

    def build(self) -> Any:
        if self.config is not None:
            from danlu.nn.pretrained import Pretrained

            return Pretrained(len(self.labels), "base", config=self.config | self._names())
        import torch

        from danlu.nn.table import architecture

        made = architecture("text", self._architecture)
        if self.ngrams is not None:
            model = made(len(self.labels), self.model.size, vocabulary=len(self.ngrams))
            if self.evidence is not None:
                model.start(torch.from_numpy(self.evidence))
            if self.solved is not None:
                model.start_solved(*map(torch.from_numpy, self.solved))
            return model
        return made(len(self.labels), self.model.size, vocabulary=len(self.pieces), max_length=self.pieces.max_length)

    def _names(self) -> dict[str, Any]:
        return {"id2label": dict(enumerate(self.labels)), "label2id": {name: i for i, name in enumerate(self.labels)}}

    def export(self, folder: Path) -> None:
        """`config.json`, `tokenizer.json` and `tokenizer_config.json`, so that transformers' Auto classes read the bundle."""
        if self.config is None:
            return
        write_json(folder / "config.json", self.config | self._names())
        (folder / "tokenizer.json").write_text(self.pieces.json, encoding="utf8")
        write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"} | self.tokenizer_config)

    def defaults(self, rows: int) -> dict[str, Any]:
        return {f"train.{key}": value for key, value in self._training(rows).items()}

    def _training(self, rows: int) -> dict[str, Any]:
        method = self.model.adapt.method
        plan = {"batch_size": 64 if rows >= 5_000 else 32 if rows >= 1_000 else 16, "optimizer.name": "adamw", "optimizer.weight_decay": 0.01}
        if self.config is not None:
            rate, epochs = RATES.get(method, (5e-5, 3))
            plan |= {"epochs": epochs, "batch_size": 32, "optimizer.lr": rate, "early_stopping.patience": 2}
            if method == "gradual":  # until all layers are trained, with what stands before them
                whole = self.model.adapt.every * (1 + self.config.get("num_hidden_layers", 6)) + 1
                plan |= {"epochs": whole, "early_stopping.patience": 0}
            return plan
        most = 15 if self.ngrams is None else 40
        epochs = int(np.clip(60_000 / max(1, rows), 8, most))  # a small set is walked more often: about as many steps
        plan |= {"epochs": epochs, "early_stopping.patience": max(3, epochs // 4)}
        if self.ngrams is None:
            own = 5e-4 if self._architecture == "transformer" else 2e-3
            return plan | {"optimizer.lr": RATES[method][0] if method in ("ia3", "prompt", "prefix") else own}
        # the log-loss still tells weights apart where the accuracy of a small validation side is noise
        plan |= {"optimizer.lr": 2e-3, "early_stopping.metric": "log_loss"}
        return plan if self.solved is None else plan | {"optimizer.lr": 5e-4, "optimizer.weight_decay": 0.3}

    @classmethod
    def tiny(cls) -> list[Row]:
        """48 short reviews in English and Chinese, put together from a few words each way."""
        parts = {
            "good": (["great", "lovely", "很好", "wonderful"], ["I would come again", "下次还来", "everyone was kind"]),
            "bad": (["terrible", "awful", "很差", "dirty"], ["never again", "不会再来", "I want my money back"]),
        }
        things = ["room", "food", "服务", "staff"]
        rows = []
        for i in range(48):
            label, j = ("good", "bad")[i % 2], i // 2
            words, ends = parts[label]
            rows.append({"text": f"The {things[j % 4]} was {words[(j // 2) % 4]}, {ends[j % 3]}.", "label": label})
        return rows


def _texts(rows: Iterable[Row]) -> Iterator[str]:
    return (row["text"] for row in rows if row.get("text") is not None)
