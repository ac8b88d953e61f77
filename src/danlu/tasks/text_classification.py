"""Text classification: one text, one label, in any language. Texts become weighted n-grams or pieces, as the architecture wants them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from danlu.core.errors import InputError
from danlu.core.types import Batch, Example, Row
from danlu.data.batches import collate
from danlu.fields.text import Ngrams, units
from danlu.tasks.classification import Classification, ClassificationOptions

NGRAMS = {"small": 200_000, "base": 400_000}


class TextOptions(ClassificationOptions):
    max_length: int | None = Field(
        None, ge=1, le=8192, description="Words or pieces kept of a text; by default nearly every training text whole, at most 512"
    )


class TextClassification(Classification):
    """Facts: `ngrams` for a bag, `tokenizer` and `max_length` for the others, with `config` where the model is transformers' own."""

    name = "text-classification"
    inputs: ClassVar[dict[str, str]] = {"text": "text"}
    Options = TextOptions
    architecture = "bag"

    # -- facts -------------------------------------------------------------------------------------------------
    def fit_inputs(self, rows: Iterable[Row]) -> None:
        if not hasattr(self, "ngrams"):
            self.ngrams = Ngrams.learn((row["text"] for row in rows), NGRAMS[self.model.size])
        if not len(self.ngrams):
            raise InputError("text.no-words")

    def facts(self) -> dict[str, Any]:
        return {"ngrams": self.ngrams.state()}

    def adopt(self, facts: dict[str, Any]) -> None:
        self.ngrams = Ngrams(**facts["ngrams"])

    # -- rows to arrays ----------------------------------------------------------------------------------------
    def encode_inputs(self, row: Row) -> dict[str, Any]:
        found = units(row["text"])
        kept = found[: self.options.max_length]
        ids_T, weights_T = self.ngrams.encode(kept)
        return {"ids": ids_T, "weights": weights_T, "span": np.array([len(kept), len(found)])}

    def cut(self, example: Example) -> tuple[int, int]:
        kept, whole = example["span"]
        return int(kept), int(whole)

    def collate(self, examples: Sequence[Example]) -> Batch:
        """N-grams of all rows one after the other, with `offsets` int64 [B] where each row begins."""
        lengths_B = np.array([len(example["ids"]) for example in examples], dtype=np.int64)
        batch = {
            "ids": np.concatenate([example["ids"] for example in examples]).astype(np.int64),
            "weights": np.concatenate([example["weights"] for example in examples]),
            "offsets": lengths_B.cumsum() - lengths_B,
        }
        return batch | collate([{"target": example["target"]} for example in examples if "target" in example] or [{}])

    def show(self, example: Example) -> str:
        """The known n-grams, the weightiest first."""
        heaviest = example["ids"][np.argsort(-example["weights"], kind="stable")]
        return " | ".join(self.ngrams.vocabulary[i] for i in heaviest[:40])

    # -- model and training ------------------------------------------------------------------------------------
    def build(self) -> Any:
        from danlu.nn.table import architecture

        made = architecture("text", self.model.architecture or self.architecture)
        return made(len(self.labels), self.model.size, vocabulary=len(self.ngrams))

    def defaults(self, rows: int) -> dict[str, Any]:
        return {
            "train.epochs": 8,
            "train.batch_size": 64,
            "train.optimizer.name": "adamw",
            "train.optimizer.lr": 2e-3,
            "train.optimizer.weight_decay": 0.01,
            "train.early_stopping.patience": 3,
        }

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
            label = ("good", "bad")[i % 2]
            words, ends = parts[label]
            j = i // 2
            rows.append({"text": f"The {things[j % 4]} was {words[(j // 2) % 4]}, {ends[j % 3]}.", "label": label})
        return rows
