"""What the text task learns, keeps and shows, with every way of reading text."""

import json

import numpy as np
import pytest
import torch

from danlu.core.errors import InputError
from danlu.core.recipe import Model
from danlu.nn.table import ARCHITECTURES
from danlu.tasks import text_classification
from danlu.tasks.text_classification import TextClassification, TextOptions


def fitted(architecture: str = "bag", **options) -> TextClassification:
    task = TextClassification(TextOptions(**options), Model(architecture=architecture))
    task.fit(task.tiny()[:24])
    return task


def tensors(task: TextClassification, examples: list) -> dict[str, torch.Tensor]:
    return {name: torch.as_tensor(value) for name, value in task.collate(examples).items()}


@pytest.mark.parametrize("architecture", ["bag", "textcnn"])
def test_state_gives_an_equal_task(architecture):
    task = fitted(architecture)
    again = TextClassification(TextOptions(), Model(architecture=architecture))
    again.restore(json.loads(json.dumps(task.state())))
    for row in [*task.tiny(), {"text": ""}, {"text": "never seen ☃"}]:
        one, other = task.encode(row), again.encode(row)
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[name], other[name]) for name in one)
    model = task.build()
    again.build().load_weights(model.weights())


@pytest.mark.parametrize("architecture", ["bag", "textcnn"])
def test_many_rows_are_encoded_as_one_by_one(architecture):
    task = fitted(architecture)
    rows = [*task.tiny(), {"text": ""}]
    for row, example in zip(rows, task.encode_many(rows), strict=True):
        alone = task.encode(row)
        assert alone.keys() == example.keys()
        assert all(np.array_equal(alone[name], example[name]) for name in alone)


@pytest.mark.parametrize("architecture", ARCHITECTURES["text"])
def test_empty_and_unknown_texts_have_an_answer_that_batch_mates_do_not_change(architecture):
    task = fitted(architecture)
    model = task.build().eval()
    examples = task.encode_many([{"text": ""}, task.tiny()[0], {"text": "☃☃ zzzz"}])
    with torch.no_grad():
        together = model(tensors(task, examples))
        alone = torch.cat([model(tensors(task, [example])) for example in examples])
    assert torch.isfinite(together).all()
    assert torch.allclose(together, alone, atol=1e-5)


def test_the_bag_begins_with_the_regression_of_few_training_rows():
    task = fitted()
    with torch.no_grad():
        outputs_BC = task.build().eval()(tensors(task, task.encode_many(task.tiny())))
    labels = [task.labels[i] for i in outputs_BC.argmax(dim=1).tolist()]
    assert labels == [row["label"] for row in task.tiny()]  # before the first step
    assert task.defaults(48)["train.optimizer.lr"] < 1e-3


def test_the_bag_begins_with_the_evidence_of_many_training_rows(monkeypatch):
    monkeypatch.setattr(text_classification, "FEW", 10)
    task = fitted()
    assert task.solved is None
    evidence_VC = task.build().classify.evidence
    good, bad = task.index("good"), task.index("bad")
    assert evidence_VC[task.ngrams.vocabulary.index("great"), good] > 0.5
    assert evidence_VC[task.ngrams.vocabulary.index("terrible"), bad] > 0.5
    assert abs(float(evidence_VC[task.ngrams.vocabulary.index("the"), good])) < 0.1


def test_max_length_cuts_and_counts():
    text = {"text": "one two three four five six"}
    words, pieces = fitted(max_length=4), fitted("lstm", max_length=4)
    assert words.cut(words.encode(text)) == (4, 6)
    kept, whole = pieces.cut(pieces.encode(text))
    assert kept == 4 < whole
    assert len(pieces.encode(text)["ids"]) == pieces.length(pieces.encode(text)) == 4
    assert fitted().cut(fitted().encode(text)) == (6, 6)


def test_show_gives_back_what_the_model_sees():
    assert "great" in fitted().show(fitted().encode({"text": "great zzzz"}))
    assert "zzzz" not in fitted().show(fitted().encode({"text": "great zzzz"}))
    assert fitted("gru").show(fitted("gru").encode({"text": "Great ROOM"})) == "[CLS] great room"


def test_a_task_that_starts_from_another_keeps_its_vocabulary_but_not_its_labels():
    old = fitted()
    new = TextClassification(TextOptions(), Model(architecture="bag"))
    new.adopt(old.facts())
    new.fit([{"text": "quite other words", "label": "a"}, {"text": "the room", "label": "b"}, {"text": "great", "label": "c"}])
    assert new.ngrams.vocabulary == old.ngrams.vocabulary
    assert new.labels == ["a", "b", "c"]
    assert new.build().classify.evidence.shape == (len(old.ngrams), 3)


def test_texts_without_a_common_word_are_said():
    task = TextClassification(TextOptions(), Model(architecture="bag"))
    with pytest.raises(InputError, match=r"."):
        task.fit([{"text": "aa", "label": "x"}, {"text": "bb", "label": "y"}])
