"""Text as weighted n-grams: units that follow the script, a vocabulary of training rows, TF-IDF weights.

A unit is a word, a punctuation mark, or one character of a script that is written without spaces (Han, kana, Thai, ...).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u3005\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # kana, Han
)
_UNIT = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|[^\w\s]")
_FLOWING = re.compile(rf"[{_UNSPACED}]")
_LONGEST_WORD = 40  # a longer "word" is an address, a hash or base64: its beginning is enough
_DOUBT = 2.0  # rows
_FEW = 1000  # rows, below which an n-gram of a single row still says something about new ones
_STRENGTH = 10.0  # how little the regression is held back; scikit-learn's C
INSIDE = "~"  # marks a piece of a word: no unit or n-gram of units begins so and goes on


def normalise(text: str) -> str:
    """One form for what reads alike: NFKC (full width to half, ligatures apart), then casefold."""
    return unicodedata.normalize("NFKC", text).casefold()


def units(text: str) -> list[str]:
    """Words, marks and single characters of unspaced scripts, in order, normalised."""
    return [unit[:_LONGEST_WORD] for unit in _UNIT.findall(normalise(text))]


def sequences(found: list[str]) -> list[str]:
    """All units, pairs of neighbours, and triples of characters of unspaced scripts."""
    grams = found + [f"{a} {b}" for a, b in pairwise(found)]
    flows = [_FLOWING.match(unit) is not None for unit in found]
    if any(flows):
        grams += [" ".join(found[i : i + 3]) for i in range(len(found) - 2) if flows[i] and flows[i + 1] and flows[i + 2]]
    return grams


@lru_cache(maxsize=200_000)
def inside(word: str) -> tuple[str, ...]:
    """The pieces of 3 to 5 characters of a word with its borders: `~<th`, `~the`, `~he>`, ... None for marks and unspaced characters."""
    if not word[0].isalnum() or _FLOWING.match(word):
        return ()
    bordered = f"<{word}>"
    return tuple(INSIDE + bordered[i : i + n] for n in (3, 4, 5) for i in range(len(bordered) - n + 1) if n < len(bordered))


class Ngrams:
    """The n-grams worth knowing and how many training rows hold each. Two blocks: sequences of units, and pieces of words."""

    def __init__(self, vocabulary: list[str], counts: list[int], rows: int) -> None:
        self.vocabulary, self.counts, self.rows = vocabulary, counts, rows
        self._index = {gram: i for i, gram in enumerate(vocabulary)}
        self._idf = np.log((1 + rows) / (1 + np.asarray(counts, dtype=np.float64))) + 1
        self._pieces: dict[str, list[int]] = {}

    @classmethod
    def learn(cls, texts: Iterable[str], most: int, least_rows: int | None = None) -> Ngrams:
        """The `most` n-grams that stand in the most rows, at least in `least_rows` (by default 2, of few texts 1); ties in alphabetical order."""
        counts: Counter[str] = Counter()
        rows = 0
        for text in texts:
            found = units(text)
            counts.update({*sequences(found), *(piece for word in set(found) for piece in inside(word))})
            rows += 1
        least_rows = least_rows or (2 if rows >= _FEW else 1)
        kept = sorted((gram for gram, count in counts.items() if count >= least_rows), key=lambda gram: (-counts[gram], gram))[:most]
        return cls(kept, [counts[gram] for gram in kept], rows)

    def state(self) -> dict[str, Any]:
        return {"vocabulary": self.vocabulary, "counts": self.counts, "rows": self.rows}

    def __len__(self) -> int:
        return len(self.vocabulary)

    def encode(self, found: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Of units: ids int32 [T] of known n-grams, once each, and their weights float32 [T].

        A weight is (1 + log count in the row) * idf (Salton & Buckley 1988). The sequences' weights have Euclidean length 1; those of the
        pieces the square root of the share of units that are words, so that one foreign word in a Chinese text stays a detail.
        """
        known = self._index
        pieces = [self._inside(word) for word in found]
        words = sum(1 for word in found if inside(word))
        blocks = [
            ([known[gram] for gram in sequences(found) if gram in known], 1.0),
            ([i for ids in pieces for i in ids], math.sqrt(words / max(1, len(found)))),
        ]
        parts = [self._weighed(np.asarray(block, dtype=np.int32), length) for block, length in blocks if block]
        if not parts:
            return np.zeros(0, np.int32), np.zeros(0, np.float32)
        return np.concatenate([ids for ids, _ in parts]), np.concatenate([weights for _, weights in parts])

    def evidence(self, texts: Iterable[str], classes: Iterable[int], count: int) -> np.ndarray:
        """How much each n-gram speaks for each of `count` classes: float32 [V, count].

        The log of how often it stands in rows of the class over how often elsewhere, both as shares of what would stand there by chance
        (Wang & Manning 2012). `_DOUBT` rows by chance are added, so that a rare n-gram says little.
        """
        rows_VC = np.zeros((len(self), count), dtype=np.float64)
        for text, number in zip(texts, classes, strict=True):
            rows_VC[self.encode(units(text))[0], number] += 1
        share_C = (rows_VC.sum(axis=0) + 1) / (rows_VC.sum() + count)
        within_VC = rows_VC / share_C + _DOUBT
        outside_VC = (rows_VC.sum(axis=1, keepdims=True) - rows_VC) / (1 - share_C) + _DOUBT
        return np.log(within_VC / outside_VC).astype(np.float32)

    def regression(self, texts: Iterable[str], classes: Iterable[int], count: int) -> tuple[np.ndarray, np.ndarray]:
        """Logistic regression on the weights of n-grams: coefficients float32 [V, count] and intercepts float32 [count].

        Of two classes each gets half, with opposite signs; a class without rows gets zeros.
        """
        from scipy.sparse import csr_matrix
        from sklearn.linear_model import LogisticRegression

        rows = [self.encode(units(text)) for text in texts]
        ends = np.cumsum([0, *(len(ids) for ids, _ in rows)])
        ids_T, weights_T = (np.concatenate(parts) for parts in zip(*rows, strict=True))
        model = LogisticRegression(C=_STRENGTH, max_iter=200)
        model.fit(csr_matrix((weights_T.astype(np.float64), ids_T, ends), shape=(len(rows), len(self))), list(classes))
        found_CV, found_C = model.coef_, model.intercept_
        if len(model.classes_) == 2:
            found_CV, found_C = np.concatenate([-found_CV, found_CV]) / 2, np.concatenate([-found_C, found_C]) / 2
        coefficients_VC, intercept_C = np.zeros((len(self), count), np.float32), np.zeros(count, np.float32)
        coefficients_VC[:, model.classes_], intercept_C[model.classes_] = found_CV.T, found_C
        return coefficients_VC, intercept_C

    def _inside(self, word: str) -> list[int]:
        if word not in self._pieces:
            self._pieces[word] = [self._index[piece] for piece in inside(word) if piece in self._index]
        return self._pieces[word]

    def _weighed(self, block: np.ndarray, length: float) -> tuple[np.ndarray, np.ndarray]:
        ids_T, counts_T = np.unique(block, return_counts=True)
        weights_T = (1 + np.log(counts_T)) * self._idf[ids_T]
        return ids_T, (weights_T * (length / math.sqrt(float(weights_T @ weights_T)))).astype(np.float32)
