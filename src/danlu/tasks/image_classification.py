"""Image classification: one picture, one label. Pictures become one size, learned from the training rows."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from itertools import islice
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from danlu.core.errors import InputError
from danlu.core.types import Batch, Example, Row
from danlu.fields.image import fit_to, is_coloured, to_channels, whitening
from danlu.tasks.classification import Classification, ClassificationOptions

STEPS = ("affine", "flip", "shift", "erase", "colour")
SMALL_SIDE, LARGE_SIDE = 64, 128
_SAMPLE = 1000  # pictures looked at for size and colour
_BUDGET = 400.0  # seconds of training on two cores, where the rows alone would ask for more
_UNKNOWN = 1e-3
_SECONDS = {  # of two cores for one picture, forward and back: RGB, 32 x 32, or 128 x 128 behind a stem that quarters it
    "mlp": {"small": 3e-5, "base": 1e-4},
    "cnn": {"small": 3e-4, "base": 8e-4},
    "resnet": {"small": 1.3e-3, "base": 4e-3},
    "resnet18": {"small": 5e-3},
    "resnet34": {"small": 9e-3},
    "resnet50": {"small": 1.3e-2},
    "vit": {"small": 2e-3, "base": 7e-3},
}


class ImageOptions(ClassificationOptions):
    image_size: int | None = Field(
        None, ge=4, le=1024, description="Side in pixels of the square that every picture becomes; by default the data's own shape"
    )


class ImageClassification(Classification):
    """Facts: `channels`, `height`, `width`, `mean`, `std` are the model's; `coloured` and `mirrors` choose the augmentation."""

    name = "image-classification"
    inputs: ClassVar[dict[str, str]] = {"image": "image"}
    Options = ImageOptions
    architecture: ClassVar[str] = "cnn"
    whitening: np.ndarray | None = None  # of patches, where `fit` just saw the pictures; a bundle has it in its weights

    # -- facts -------------------------------------------------------------------------------------------------
    def fit_inputs(self, rows: Iterable[Row]) -> None:
        check_steps(self.steps)
        sample = [row for row in _spread(rows, _SAMPLE) if row.get("image") is not None]
        if not sample:
            raise InputError("image.no-pictures")
        pictures = [row["image"] for row in sample]
        self.coloured = any(is_coloured(image_HWC) for image_HWC in pictures)
        if not hasattr(self, "height"):
            self.channels = 3 if self.coloured else 1
            self.height, self.width = self._size([image_HWC.shape[:2] for image_HWC in pictures])
            self.mean, self.std = _moments([self._fitted(image_HWC) for image_HWC in pictures])
        fitted = [self._fitted(image_HWC) for image_HWC in pictures]
        self.whitening = whitening(fitted, self.mean, self.std)
        self.mirrors = mirrors(fitted, [row[self.target] for row in sample])

    def _size(self, shapes: list[tuple[int, int]]) -> tuple[int, int]:
        """Small pictures keep their median size exactly; larger ones keep its aspect at no more than 128 x 128 pixels."""
        if self.options.image_size:
            return self.options.image_size, self.options.image_size
        height, width = (int(side) for side in np.median(np.array(shapes), axis=0))
        if max(height, width) <= SMALL_SIDE:
            return height, width
        scale = min(1.0, LARGE_SIDE / math.sqrt(height * width))
        return tuple(max(8, round(side * scale / 8) * 8) for side in (height, width))

    def _fitted(self, image_HWC: np.ndarray) -> np.ndarray:
        return to_channels(fit_to(image_HWC, self.height, self.width), self.channels)

    def facts(self) -> dict[str, Any]:
        return self._model_facts() | {"coloured": self.coloured, "mirrors": self.mirrors}

    def _model_facts(self) -> dict[str, Any]:
        return {"channels": self.channels, "height": self.height, "width": self.width, "mean": self.mean, "std": self.std}

    def adopt(self, facts: dict[str, Any]) -> None:
        self.channels, self.height, self.width = facts["channels"], facts["height"], facts["width"]
        self.mean, self.std = list(facts["mean"]), list(facts["std"])
        self.coloured, self.mirrors = facts["coloured"], facts["mirrors"]

    # -- rows to arrays ----------------------------------------------------------------------------------------
    def encode_inputs(self, row: Row) -> dict[str, Any]:
        if row.get("image") is None:
            raise InputError("image.no-picture", field="image")
        return {"image": np.ascontiguousarray(self._fitted(row["image"]).transpose(2, 0, 1))}

    def show(self, example: Example) -> str:
        """Size and a coarse drawing in characters, light on dark."""
        image_CHW = example["image"]
        channels, height, width = image_CHW.shape
        columns = min(width, 32)
        lines = max(1, round(height / width * columns / 2))
        grey_HW = fit_to(to_channels(image_CHW.transpose(1, 2, 0), 1), lines * 2, columns)[:, :, 0].astype(float)
        shade_HW = (grey_HW[::2] + grey_HW[1::2]) / 2
        span = max(1.0, shade_HW.max() - shade_HW.min())
        index_HW = ((shade_HW - shade_HW.min()) / span * 4.999).astype(int)
        drawing = "\n".join("".join(" ░▒▓█"[i] for i in line) for line in index_HW)
        return f"{width} x {height} x {channels}\n{drawing}"

    # -- model and training ------------------------------------------------------------------------------------
    def build(self) -> Any:
        import torch

        from danlu.nn.table import architecture

        model = architecture("image", self.model.architecture)(len(self.labels), self.model.size, **self._model_facts())
        if self.whitening is not None and hasattr(model, "start"):
            model.start(torch.from_numpy(self.whitening))
        return model

    def augmentation(self) -> list[str]:
        """The recipe's steps, else what fits the data: mirrored only where mirrored pictures keep their class."""
        if self.steps is not None:
            return list(self.steps)
        if not self.coloured:
            return ["affine"]
        return [*(["flip"] if self.mirrors else []), "shift"]

    def augment(self, batch: Batch, seed: int, epoch: int) -> Batch:
        from danlu.nn.augment import augment_images

        return batch | {"image": augment_images(batch["image"], batch["row"], self.augmentation(), seed, epoch)}

    def defaults(self, rows: int) -> dict[str, Any]:
        """The fewer rows, the more often each is seen and the smaller the batch; slow models see fewer, so that two cores end in minutes."""
        seconds = _SECONDS.get(self.model.architecture, {}).get(self.model.size, _UNKNOWN) * (0.5 if self.channels == 1 else 1.0)
        scale = self.height * self.width / (32 * 32 if max(self.height, self.width) <= SMALL_SIDE else LARGE_SIDE**2)
        wanted = 12_000 * (max(1, rows) / 300) ** 0.7
        affordable = max(3 * rows, _BUDGET / (seconds * scale))
        batch = 2 ** round(math.log2(min(128, max(8, rows / 40))))
        return {
            "train.epochs": max(1, round(min(wanted, affordable) / max(1, rows))),
            "train.batch_size": batch,
            "train.optimizer.name": "adamw",
            "train.optimizer.lr": (1e-3 if self.model.architecture in ("vit", "mlp") else 3e-3) * math.sqrt(batch / 64),
            "train.optimizer.weight_decay": 0.05,
            "train.early_stopping.patience": 0,
        }

    @classmethod
    def tiny(cls) -> list[Row]:
        """48 noisy pictures of 12 x 12: a bar that lies, a bar that stands, a square."""
        random = np.random.Generator(np.random.Philox(7))
        rows = []
        for i in range(48):
            label, (top, left) = ("lying", "standing", "square")[i % 3], random.integers(1, 5, 2)
            tall, wide = {"lying": (2, 7), "standing": (7, 2), "square": (5, 5)}[label]
            image_HWC = random.integers(0, 60, (12, 12, 1), dtype=np.uint8)
            image_HWC[top : top + tall, left : left + wide] += np.uint8(150)
            rows.append({"image": image_HWC, "label": label})
        return rows


def check_steps(steps: list[str] | None) -> None:
    """InputError for a name that is no augmentation step, with the nearest one."""
    for step in steps or []:
        if step not in STEPS:
            nearest = (difflib.get_close_matches(step, STEPS, n=1, cutoff=0) or STEPS)[0]
            raise InputError("image.unknown-step", "data.augment", step=step, nearest=nearest, steps=", ".join(STEPS))


def _spread(rows: Iterable[Row], most: int) -> Iterable[Row]:
    """At most `most` rows, evenly spread over all; only those are decoded where `rows` can be indexed."""
    if not hasattr(rows, "__getitem__"):
        rows = list(islice(rows, 100 * most))
    count = len(rows)
    return (rows[int(i)] for i in np.unique(np.linspace(0, count - 1, min(most, count)).astype(int)))


def _moments(pictures: list[np.ndarray]) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel over all pixels, of values in 0..1; a constant channel gets deviation 1."""
    pixels_NC = np.concatenate([image_HWC.reshape(-1, image_HWC.shape[2]) for image_HWC in pictures]) / np.float32(255)
    std = pixels_NC.std(axis=0, dtype=np.float64)
    return pixels_NC.mean(axis=0, dtype=np.float64).tolist(), np.where(std > 1e-3, std, 1.0).tolist()


def mirrors(pictures: list[np.ndarray], labels: list[str]) -> bool:
    """Whether pictures mirrored left to right keep their class, so that mirroring may be learned from.

    Class means of one half of the pictures (16 x 16, grey) classify the other half, as it is and mirrored. Where mirroring turns
    clearly more right answers wrong than wrong ones right (McNemar, two deviations), as with letters and arrows, it is not allowed.
    """
    x_NHW = np.stack([fit_to(to_channels(image_HWC, 1), 16, 16)[:, :, 0] for image_HWC in pictures]).astype(np.float32)
    names, y_N = np.unique(labels, return_inverse=True)
    by_class_N = np.argsort(y_N, kind="stable")
    known, asked = by_class_N[::2], by_class_N[1::2]
    far_HW = np.full((16, 16), 1e9, dtype=np.float32)
    members = [x_NHW[known][y_N[known] == c] for c in range(len(names))]
    means_CHW = np.stack([some_NHW.mean(axis=0) if len(some_NHW) else far_HW for some_NHW in members])

    def right(x_MHW: np.ndarray) -> np.ndarray:
        distance_MC = ((x_MHW[:, None] - means_CHW[None]) ** 2).sum(axis=(2, 3))
        return distance_MC.argmin(axis=1) == y_N[asked]

    plain_N, mirrored_N = right(x_NHW[asked]), right(x_NHW[asked][:, :, ::-1])
    lost, won = int((plain_N & ~mirrored_N).sum()), int((~plain_N & mirrored_N).sum())
    return lost - won <= 2 * math.sqrt(lost + won)
