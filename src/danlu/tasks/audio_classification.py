"""Audio classification: one sound, one label. Sounds become one rate and one length, learned from the training rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from danlu.core.errors import InputError
from danlu.core.recipe_file import nearest
from danlu.core.types import Batch, Example, Row, Sound
from danlu.core.words import say
from danlu.fields import audio
from danlu.tasks.classification import Classification, ClassificationOptions

STEPS = ("speed", "shift", "gain", "noise", "spec")
_MOST_RATE = 16_000  # Hz; speech and most noises keep what tells them apart
_LEAST_SECONDS, _MOST_SECONDS = 0.25, 10.0
_QUANTILE = 0.98  # of the training rows' durations that are kept whole
_HOP, _LONGEST_HOP, _FRAMES = 0.016, 0.032, 250  # seconds; longer sounds get longer hops, to stay near this many frames
_SAMPLE = 512  # sounds that means and deviations are learned from


class AudioOptions(ClassificationOptions):
    sample_rate: int | None = Field(
        None, ge=1000, le=192_000, description="Samples per second of what the model hears; by default the data's own, at most 16000"
    )
    seconds: float | None = Field(
        None, gt=0.02, le=60, description="Length that every sound is padded or cut to; by default it keeps 98% of sounds whole, at most 10"
    )
    features: Literal["log-mel", "mfcc"] = Field("log-mel", description="What the model is shown of a sound")
    mels: int = Field(64, ge=8, le=256, description="Mel bins")


class AudioClassification(Classification):
    """Facts: `rate`, `samples`, `hop`, `features`, `mels`, and `mean` and `deviation` of each feature."""

    name = "audio-classification"
    inputs: ClassVar[dict[str, str]] = {"audio": "audio"}
    Options = AudioOptions
    architecture: ClassVar[str] = "cnn"  # as good as the Conformer on spoken words, for a third of the time
    smoothing = 0.1
    steps: list[str] | None = None

    # -- facts -------------------------------------------------------------------------------------------------
    def fit_inputs(self, rows: Iterable[Row]) -> None:
        check_steps(self.steps)
        if hasattr(self, "rate"):
            return
        seconds, rates, kept, stride = [], [], [], 1
        for i, row in enumerate(row for row in rows if row.get("audio") is not None):
            sound = row["audio"]
            seconds.append(len(sound.samples) / sound.rate)
            rates.append(sound.rate)
            if i % stride == 0:
                kept.append(sound)
            if len(kept) > _SAMPLE:
                kept, stride = kept[::2], stride * 2
        if not kept:
            raise InputError("audio.no-sounds")
        self._measure(seconds, rates)
        self._normalise(kept)

    def _measure(self, seconds: list[float], rates: list[int]) -> None:
        """Rate, length and hop from all durations and rates."""
        asked = self.options
        self.rate = asked.sample_rate or min(_MOST_RATE, int(np.median(rates)))
        length = asked.seconds or float(np.clip(np.quantile(seconds, _QUANTILE), _LEAST_SECONDS, _MOST_SECONDS))
        self.samples = round(length * self.rate)
        self.hop = round(self.rate * float(np.clip(length / _FRAMES, _HOP, _LONGEST_HOP)))
        self.features, self.mels = asked.features, asked.mels

    def _normalise(self, sounds: list[Sound]) -> None:
        """Mean and deviation of each feature over all frames; a constant feature gets deviation 1."""
        frames_NM = np.concatenate(
            [audio.features(self._samples(sound) / np.float32(32767), self.rate, self.hop, self.mels, self.features) for sound in sounds]
        )
        deviation = frames_NM.std(axis=0, dtype=np.float64)
        self.mean = frames_NM.mean(axis=0, dtype=np.float64).tolist()
        self.deviation = np.where(deviation > 1e-3, deviation, 1.0).tolist()

    def _samples(self, sound: Sound) -> np.ndarray:
        """int16 [samples]."""
        return audio.to_int16(audio.fit_length(audio.resample(sound, self.rate), self.samples))

    def facts(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("rate", "samples", "hop", "features", "mels", "mean", "deviation")}

    def adopt(self, facts: dict[str, Any]) -> None:
        for name in ("rate", "samples", "hop", "features", "mels"):
            setattr(self, name, facts[name])
        self.mean, self.deviation = list(facts["mean"]), list(facts["deviation"])

    # -- rows to arrays ----------------------------------------------------------------------------------------
    def encode_inputs(self, row: Row) -> dict[str, Any]:
        """`audio` int16 [samples] and `whole`, the length at the fact rate before padding or cutting."""
        sound = row.get("audio")
        if sound is None:
            raise InputError("audio.no-sound", field="audio")
        return {"audio": self._samples(sound), "whole": np.int64(round(len(sound.samples) * self.rate / sound.rate))}

    def cut(self, example: Example) -> tuple[int, int]:
        whole = int(example["whole"])
        return min(whole, self.samples), whole

    def show(self, example: Example) -> str:
        """Length, rate, frames, level and where it is loudest."""
        wave = example["audio"].astype(np.float64) / 32767
        level = 10 * np.log10(np.mean(wave**2) + 1e-12)
        values = {
            "seconds": f"{self.samples / self.rate:.2f}", "rate": self.rate, "frames": 1 + self.samples // self.hop, "bins": len(self.mean),
            "features": self.features, "level": f"{level:.0f}", "peak": f"{np.abs(wave).argmax() / self.rate:.2f}",
        }  # fmt: skip
        return say("audio.shown", **values)

    # -- model and training ------------------------------------------------------------------------------------
    def build(self) -> Any:
        from danlu.nn.table import architecture

        return architecture("audio", self.model.architecture)(len(self.labels), self.model.size, **self.facts())

    def augmentation(self) -> list[str]:
        return list(STEPS if self.steps is None else self.steps)

    def augment(self, batch: Batch, seed: int, epoch: int) -> Batch:
        from danlu.nn.augment_audio import augment

        return batch | augment(batch["audio"], batch["row"].cpu().numpy(), seed, epoch, self.rate, tuple(self.augmentation()))

    def defaults(self, rows: int) -> dict[str, Any]:
        """After `fit`: 1,500 or 2,100 steps on one-second sounds, fewer on longer ones. Validation sides are small, so log-loss chooses."""
        batch = 16 if rows < 500 else 32
        steps = (2100 if self.model.architecture == "conformer" else 1500) * min(1.0, (64 * self.hop / self.samples) ** 0.5)
        return {
            "train.epochs": int(np.clip(round(steps * batch / max(1, rows)), 6, 60)),
            "train.batch_size": batch,
            "train.optimizer.name": "adamw",
            "train.optimizer.lr": 2e-3 if rows >= 500 else 1e-3,
            "train.optimizer.weight_decay": 0.05,
            "train.early_stopping.metric": "log_loss",
            "train.early_stopping.patience": 0,
        }

    @classmethod
    def tiny(cls) -> list[Row]:
        """48 quarter-second sounds at 8 kHz: a low hum, a high whistle, a hiss; in noise, at different levels."""
        random = np.random.Generator(np.random.Philox(7))
        time = np.arange(2000) / 8000
        rows = []
        for i in range(48):
            label = ("hum", "whistle", "hiss")[i % 3]
            pitch = {"hum": 150.0, "whistle": 1500.0, "hiss": 0.0}[label] * random.uniform(0.85, 1.15)
            clean = np.sin(2 * np.pi * pitch * time) if pitch else random.normal(0, 0.5, len(time))
            samples = random.uniform(0.1, 0.5) * (clean + random.normal(0, 0.05, len(time)))
            rows.append({"audio": Sound(samples.astype(np.float32), 8000), "label": label})
        return rows


def check_steps(steps: list[str] | None) -> None:
    """InputError for a name that is no augmentation step, with the nearest one."""
    for step in steps or []:
        if step not in STEPS:
            near = nearest(step, STEPS) or STEPS[0]
            raise InputError("audio.unknown-step", "data.augment", step=step, nearest=near, steps=", ".join(STEPS))
