"""What a model must beat: always guessing by class shares, and a cheap learned model on the same rows.

N training rows, M judged rows, C classes, F features.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from danlu.core.randomness import permutation
from danlu.evaluate.metrics import score
from danlu.fields.audio import mean_log_mel
from danlu.fields.image import fit_to, is_coloured, to_channels

_LOOK = 200  # rows looked at before choosing features
_CAPS = {"text": 50_000, "image": 10_000, "audio": 20_000}  # training rows of the learned baseline
_CJK = (("\u3040", "\u30ff"), ("\u3400", "\u9fff"), ("\uf900", "\ufaff"))  # Thai, Korean and the rest write spaces or do well with words


@dataclass(frozen=True)
class Baseline:
    """A baseline's name (a key of `words/report.toml`), how many rows it learned from, and its probabilities [M, C] on the judged rows."""

    name: str
    n_train: int
    probabilities_MC: np.ndarray

    def as_json(self, targets_M: np.ndarray, labels: list[str], seed: int) -> dict:
        """The scores in the shape of `metrics.score`, with "name" and "n_train"."""
        return {"name": self.name, "n_train": self.n_train, **score(self.probabilities_MC, targets_M, labels, seed)}


def baselines(task: Any, dataset: Any, encoded: Mapping[str, Any], side: str, seed: int) -> dict[str, Baseline]:
    """`majority` and `learned`, fitted on the training rows and answering for the rows of `side`.

    `encoded` maps a side to its rows (dataset indices) and examples, as `data.contract.account` gives them.
    """
    target_N = targets(encoded["train"])
    share_C = np.bincount(target_N, minlength=len(task.labels)) / len(target_N)
    rows_M = encoded[side].rows
    majority = Baseline("majority", len(target_N), np.tile(share_C, (len(rows_M), 1)))
    if not len(rows_M):
        return {"majority": majority}
    field, kind = next(iter(task.inputs.items()))
    chosen_N = np.sort(permutation(seed, 0, len(target_N))[: _CAPS[kind]])
    train = Column(dataset, encoded["train"].rows[chosen_N], field)
    name, features_NF, features_MF = _FEATURES[kind](train, Column(dataset, rows_M, field))
    learned_MC = logistic(features_NF, target_N[chosen_N], features_MF, len(task.labels), _STRENGTH[kind])
    return {"majority": majority, "learned": Baseline(name, len(chosen_N), learned_MC)}


def targets(encoded: Any) -> np.ndarray:
    """The label numbers of encoded rows: int64 [N]."""
    return np.array([int(example["target"]) for example in encoded.examples], dtype=np.int64)


@dataclass(frozen=True)
class Column:
    """One field of some rows, decoded as it is walked."""

    dataset: Any
    rows: np.ndarray
    field: str

    def __iter__(self) -> Iterable[Any]:
        return (row[self.field] for row in self.dataset.rows(self.rows))

    def look(self) -> list[Any]:
        """The first rows, to choose by."""
        return list(islice(self, _LOOK))


def logistic(features_NF: Any, target_N: np.ndarray, features_MF: Any, classes: int, strength: float) -> np.ndarray:
    """Multinomial logistic regression's probabilities [M, C]; `strength` is scikit-learn's C. Classes it never saw get 0."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    p_MC = np.zeros((features_MF.shape[0], classes))
    seen = np.unique(target_N)
    if len(seen) == 1:
        p_MC[:, seen[0]] = 1.0
        return p_MC
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a baseline that is nearly fitted is a baseline
        model = LogisticRegression(C=strength, max_iter=200).fit(features_NF, target_N)
    p_MC[:, model.classes_] = model.predict_proba(features_MF)
    return p_MC


def text_features(train: Column, judged: Column) -> tuple[str, Any, Any]:
    """TF-IDF of words 1-2, or of characters 1-3 where Chinese or Japanese script dominates."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    by_character = cjk_share(train.look()) > 0.3
    shape = {"analyzer": "char", "ngram_range": (1, 3)} if by_character else {"ngram_range": (1, 2)}
    least = 2 if len(train.rows) >= 1000 else 1  # rows an n-gram stands in: four times fewer features, no lower score
    vectorizer = TfidfVectorizer(**shape, min_df=least, dtype=np.float32)
    try:
        features = vectorizer.fit_transform(train), vectorizer.transform(judged)
    except ValueError:  # no n-gram at all: texts of nothing but marks
        features = np.zeros((len(train.rows), 1)), np.zeros((len(judged.rows), 1))
    return ("tfidf-characters" if by_character else "tfidf-words"), *features


def image_features(train: Column, judged: Column) -> tuple[str, np.ndarray, np.ndarray]:
    """Standardised pixels, at most 32 x 32 grey or 16 x 16 coloured."""
    look = train.look()
    channels = 3 if any(is_coloured(image_HWC) for image_HWC in look) else 1
    height, width = np.median([image_HWC.shape[:2] for image_HWC in look], axis=0)
    scale = min(1.0, (16 if channels == 3 else 32) / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))

    def pixels(column: Column) -> np.ndarray:
        return np.stack([to_channels(fit_to(image_HWC, *size), channels).ravel() for image_HWC in column]).astype(np.float32)

    return "pixels", *standardised(pixels(train), pixels(judged))


def audio_features(train: Column, judged: Column) -> tuple[str, np.ndarray, np.ndarray]:
    """Standardised mean and deviation over time of each log-mel bin."""
    rate = int(min(16_000, np.median([sound.rate for sound in train.look()])))

    def means(column: Column) -> np.ndarray:
        return np.stack([mean_log_mel(sound, rate) for sound in column])

    return "mean-log-mel", *standardised(means(train), means(judged))


def standardised(train_NF: np.ndarray, judged_MF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both by the mean and deviation of the training rows; a feature that hardly varies is not blown up."""
    mean_F, deviation_F = train_NF.mean(axis=0), train_NF.std(axis=0)
    floor = max(0.1 * float(deviation_F.max(initial=0.0)), 1e-6)
    return (train_NF - mean_F) / np.maximum(deviation_F, floor), (judged_MF - mean_F) / np.maximum(deviation_F, floor)


def cjk_share(texts: Iterable[str]) -> float:
    """Share of letters that are Han or kana."""
    letters = [letter for text in texts for letter in text[:1000] if letter.isalpha()]
    return sum(any(low <= letter <= high for low, high in _CJK) for letter in letters) / max(1, len(letters))


_FEATURES: dict[str, Callable[[Column, Column], tuple[str, Any, Any]]] = {
    "text": text_features,
    "image": image_features,
    "audio": audio_features,
}
_STRENGTH = {"text": 10.0, "image": 0.03, "audio": 0.3}
