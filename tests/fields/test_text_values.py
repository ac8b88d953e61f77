"""Units, n-grams and pieces of text."""

import math

import numpy as np
import pytest

from danlu.fields.text import Ngrams, inside, sequences, units
from danlu.fields.tokens import Pieces, learn

TEXTS = ["The cat sat.", "the cat ran", "我喜欢猫", "我喜欢狗 and cats", "ＡＢＣ the CAT"]


def test_units_follow_the_script():
    assert units("Don't 我爱 NLP！") == ["don", "'", "t", "我", "爱", "nlp", "!"]
    assert units("ＡＢＣ ﬁne") == ["abc", "fine"]
    assert units("") == units("  \n") == []


def test_pairs_everywhere_triples_only_without_spaces():
    assert sequences(["a", "b", "c"]) == ["a", "b", "c", "a b", "b c"]
    assert "我 爱 你" in sequences(["我", "爱", "你"])
    assert "我 爱 nlp" not in sequences(["我", "爱", "nlp"])


def test_pieces_inside_words_have_borders_and_never_are_units():
    assert inside("the") == ("~<th", "~the", "~he>", "~<the", "~the>")
    assert inside("我") == inside("!") == ()


def test_ngrams_are_learned_by_rows_and_ordered():
    ngrams = Ngrams.learn(TEXTS, 1000, least_rows=2)
    assert "the cat" in ngrams.vocabulary
    assert "sat" not in ngrams.vocabulary  # in one row only
    counts = dict(zip(ngrams.vocabulary, ngrams.counts, strict=True))
    assert counts["the cat"] == 3
    assert counts["喜 欢"] == 2
    assert ngrams.counts == sorted(ngrams.counts, reverse=True)
    assert len(Ngrams.learn(TEXTS, 3)) == 3
    assert "sat" in Ngrams.learn(TEXTS, 1000).vocabulary  # of few texts
    assert "sat" not in Ngrams.learn(["the cat sat", *["the cat"] * 999], 1000).vocabulary


def test_weights_are_tf_idf_and_each_block_has_its_length():
    ngrams = Ngrams(["cat", "the", "~cat"], [1, 2, 1], rows=2)
    ids_T, weights_T = ngrams.encode(units("cat cat the dog"))
    assert ids_T.tolist() == [0, 1, 2]
    cat, the = (1 + math.log(2)) * (math.log(3 / 2) + 1), 1.0
    assert weights_T == pytest.approx([cat / math.hypot(cat, the), the / math.hypot(cat, the), 1.0])
    _, weights_T = ngrams.encode(units("the 我 爱 cat"))  # two of four units are words
    assert weights_T[-1] == pytest.approx(math.sqrt(0.5))
    ids_T, weights_T = ngrams.encode(units("zebra"))
    assert len(ids_T) == len(weights_T) == 0


def test_evidence_is_signed_and_chance_is_none():
    ngrams = Ngrams(["cat", "dog", "the"], [2, 2, 4], rows=4)
    evidence_VC = ngrams.evidence(["the cat", "the cat", "the dog", "the dog"], [0, 0, 1, 1], 2)
    assert evidence_VC[0, 0] == pytest.approx(math.log((2 / 0.5 + 2) / 2))
    assert evidence_VC[0, 1] == pytest.approx(-evidence_VC[0, 0])
    assert evidence_VC[1, 1] == pytest.approx(evidence_VC[0, 0])
    assert evidence_VC[2].tolist() == pytest.approx([0, 0])


def test_ngrams_come_back_from_their_state():
    ngrams = Ngrams.learn(TEXTS, 1000)
    again = Ngrams(**ngrams.state())
    for text in TEXTS:
        for one, other in zip(ngrams.encode(units(text)), again.encode(units(text)), strict=True):
            assert np.array_equal(one, other)


def test_a_learned_tokenizer_has_an_answer_for_everything():
    pieces = Pieces(learn(TEXTS).to_str(), 8)
    (ids_T, whole), (nothing_T, none), (strange_T, _) = pieces.encode_many(["the cat 喜欢", "", "☃"])
    assert pieces.decode(ids_T) == "[CLS] the cat 喜 欢"
    assert whole == len(ids_T) == 5
    assert nothing_T.tolist() == [2]
    assert none == 1
    assert strange_T.tolist() == [2, 1]
    assert 0 not in ids_T  # 0 is padding


def test_equal_texts_give_an_equal_tokenizer(monkeypatch):
    """A resumed run learns its tokenizer again and must find the same ids."""
    from danlu.fields import tokens

    texts = [f"ab{i} cd{i % 7} 你好{chr(0x4E00 + i % 40)} zz##x" for i in range(80)]
    assert len({learn(iter(texts)).to_str() for _ in range(4)}) == 1
    monkeypatch.setattr(tokens, "_ALPHABET", 30)
    few = {learn(texts).to_str() for _ in range(4)}
    assert len(few) == 1
    assert sum(len(piece) == 1 for piece in learn(texts).get_vocab()) == 30


def test_a_long_text_is_cut_and_counted():
    pieces = Pieces(learn(TEXTS).to_str(), 8)
    ((ids_T, whole),) = pieces.encode_many(["cat " * 20])
    assert len(ids_T) == 8
    assert whole == 21
    ((ids_T, whole),) = pieces.encode_many(["cat " * 20], most=4)
    assert (len(ids_T), whole) == (4, 21)


def test_bad_tokenizer_json_is_a_value_error():
    with pytest.raises(ValueError):
        Pieces("{}", 8)


def test_the_regression_knows_its_classes_and_has_nothing_for_others():
    ngrams = Ngrams(["cat", "dog", "cow"], [2, 2, 2], rows=6)
    weights_VC, intercept_C = ngrams.regression(["cat", "dog", "cat", "dog"], [0, 2, 0, 2], 3)
    assert weights_VC[0, 0] == pytest.approx(-weights_VC[0, 2]) == pytest.approx(-weights_VC[1, 0], rel=1e-3)
    assert weights_VC[0, 0] > 1
    assert not weights_VC[:, 1].any()
    assert not intercept_C[1]
    weights_VC, _ = ngrams.regression(["cat", "dog", "cow"] * 4, [0, 1, 2] * 4, 3)
    assert weights_VC.argmax(axis=1).tolist() == [0, 1, 2]
