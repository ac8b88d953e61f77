"""Text as pieces: byte-pair encoding learned from the training rows, or the tokenizer that a model folder brings.

Only the `tokenizers` library is used. A tokenizer is its JSON, so that a bundle carries it whole and no code comes with it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

PAD, UNKNOWN, START = "[PAD]", "[UNK]", "[CLS]"  # ids 0, 1, 2 of a learned tokenizer
MOST_PIECES = 16_000
_ALPHABET = 8_000  # characters, the most frequent ones
_INSIDE = "##"  # marks a piece that does not begin a word
_NORMAL = normalizers.Sequence([normalizers.NFKC(), normalizers.BertNormalizer(strip_accents=False)])


def learn(texts: Iterable[str], most: int = MOST_PIECES) -> Tokenizer:
    """Byte-pair encoding (Sennrich et al. 2016) inside words, after NFKC and lower case; marks and Han characters stand alone.

    A piece stands at least twice in the texts. Every text begins with `[CLS]`; a character never seen becomes `[UNK]`. Equal texts give
    an equal tokenizer: the library numbers the characters inside words in no fixed order, so a first pass finds them and a second is
    told their order.
    """
    texts = list(texts)
    characters = _trained(texts, 1, [], ()).get_vocab()
    single = sorted(piece for piece in characters if len(piece) == 1)
    if len(single) > _ALPHABET:
        counts = Counter(character for text in texts for character in _NORMAL.normalize_str(text))
        single = sorted(single, key=lambda character: (-counts[character], character))[:_ALPHABET]
    inner = sorted({piece for piece in characters if piece.startswith(_INSIDE)} & {_INSIDE + character for character in single})
    tree = json.loads(_trained(texts, most, inner, single).to_str())
    tree["added_tokens"] = [token for token in tree["added_tokens"] if token["content"] not in inner]
    return Tokenizer.from_str(json.dumps(tree))


def _trained(texts: list[str], most: int, inner: Sequence[str], alphabet: Sequence[str]) -> Tokenizer:
    """A tokenizer of at most `most` pieces, of which those `inner` come first; no character but those of `alphabet`, where it is given."""
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN, fuse_unk=True, continuing_subword_prefix=_INSIDE))
    tokenizer.normalizer = _NORMAL
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix=_INSIDE, cleanup=False)
    trainer = trainers.BpeTrainer(
        vocab_size=most, min_frequency=2, special_tokens=[PAD, UNKNOWN, START, *inner], continuing_subword_prefix=_INSIDE,
        initial_alphabet=list(alphabet), limit_alphabet=len(alphabet) or 0x110000, show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{START} $A", special_tokens=[(START, 2)])
    return tokenizer


class Pieces:
    """A tokenizer that cuts at `max_length` pieces, special ones included, and keeps the marks at both ends."""

    def __init__(self, tokenizer: str, max_length: int) -> None:
        """`tokenizer` is its JSON. ValueError for one that cannot be read, or for a length that holds nothing."""
        if not isinstance(max_length, int) or max_length < 1:
            raise ValueError(f"max_length {max_length}")
        try:
            self._tokenizer = Tokenizer.from_str(tokenizer)
        except Exception as error:  # the library raises bare Exception
            raise ValueError(str(error)) from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.json, self.max_length = tokenizer, max_length
        self._tail = self._tokenizer.encode("").ids[1:]  # what stands behind a text, as [SEP] does

    def __len__(self) -> int:
        return self._tokenizer.get_vocab_size()

    def encode_many(self, texts: Sequence[str], most: int | None = None) -> list[tuple[np.ndarray, int]]:
        """For each text its piece ids int64 [T], 1 <= T <= `max_length` (and `most`), and how many pieces the whole text has."""
        limit = min(self.max_length, most or self.max_length)
        return [self._cut(encoding.ids, limit) for encoding in self._tokenizer.encode_batch_fast(list(texts))]

    def _cut(self, ids: list[int], limit: int) -> tuple[np.ndarray, int]:
        whole = len(ids)
        if whole > limit:
            tail = self._tail if len(self._tail) < limit else []
            ids = ids[: limit - len(tail)] + tail
        return np.asarray(ids or [0], dtype=np.int64), max(1, whole)

    def decode(self, ids: Sequence[int]) -> str:
        """The text that the pieces stand for, special ones shown."""
        return self._tokenizer.decode([int(i) for i in ids], skip_special_tokens=False)
