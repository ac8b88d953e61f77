"""A transformers folder: taken where it is whole and plain, refused with the reason where it is not."""

import json
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import save_file

from danlu.core.errors import DanluError, InputError, RefusedError
from danlu.core.recipe import Adapt, Model
from danlu.nn.folder import open_folder
from danlu.nn.pretrained import Pretrained, load_body
from danlu.tasks.text_classification import TextClassification, TextOptions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.bert(tmp_path)


def task_of(folder: Path, **options) -> TextClassification:
    task = TextClassification(TextOptions(**options), Model(pretrained=str(folder)))
    task.fit(task.tiny())
    return task


def tensors(task: TextClassification, count: int = 5) -> dict[str, torch.Tensor]:
    batch = task.collate(task.encode_many(task.tiny()[:count]))
    return {name: torch.as_tensor(value) for name, value in batch.items()}


@pytest.mark.parametrize("method", Adapt.own)
def test_every_method_has_its_rate_and_gradual_its_epochs(folder, method):
    spec = Adapt(method=method, **({"names": ["pooler"]} if method == "named" else {"every": 2} if method == "gradual" else {}))
    task = TextClassification(TextOptions(), Model(pretrained=str(folder), adapt=spec))
    task.fit(task.tiny())
    plan = task.defaults(1000)
    assert 1e-5 < plan["train.optimizer.lr"] < 0.1
    if method == "gradual":  # the last of them trains head, both layers and what stands before them
        assert (plan["train.epochs"] - 1) // 2 == 3
        assert plan["train.early_stopping.patience"] == 0


def test_the_body_is_loaded_and_answers_as_transformers(folder):
    from transformers import AutoModel

    task = task_of(folder)
    model = task.build()
    notes = load_body(model, str(folder))
    assert [note["key"] for note in notes] == ["pretrained.fresh-head"]
    batch = tensors(task)
    mask = torch.arange(batch["ids"].shape[1]) < batch["ids_lengths"][:, None]
    theirs = AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        ours = model.eval().net.bert(input_ids=batch["ids"], attention_mask=mask.long()).last_hidden_state
        assert torch.allclose(ours, theirs(input_ids=batch["ids"], attention_mask=mask.long()).last_hidden_state, atol=1e-6)


def test_an_exported_bundle_is_read_by_transformers(folder, tmp_path_factory):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    task, out = task_of(folder), tmp_path_factory.mktemp("bundle")
    model = task.build().eval()
    load_body(model, str(folder))
    save_file({name: tensor.contiguous() for name, tensor in model.weights().items()}, out / "model.safetensors", metadata={"format": "pt"})
    task.export(out)
    theirs = AutoModelForSequenceClassification.from_pretrained(out).eval()
    assert theirs.config.id2label == {0: "bad", 1: "good"}
    encoded = AutoTokenizer.from_pretrained(out)([row["text"] for row in task.tiny()[:1]], return_tensors="pt")
    with torch.no_grad():
        ours = model(tensors(task, 1))
        assert torch.allclose(theirs(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"]).logits, ours, atol=1e-6)
    again = task.build()
    assert load_body(again, str(out)) == []  # its own labels: the head is kept
    assert torch.equal(again.net.classifier.weight, model.net.classifier.weight)
    three = Pretrained(3, "base", config=task.config)
    assert [note["key"] for note in load_body(three, str(out))] == ["pretrained.new-head"]


def test_a_bundle_needs_no_folder(folder):
    task = task_of(folder)
    state = json.loads(json.dumps(task.state()))
    for file in folder.iterdir():
        file.unlink()
    again = TextClassification(TextOptions(), Model())
    again.restore(state)
    model = task.build()
    restored = again.build()
    restored.load_weights(model.weights())
    with torch.no_grad():
        assert torch.equal(model.eval()(tensors(task)), restored.eval()(tensors(again)))


def test_never_longer_than_the_model_has_positions(folder):
    assert open_folder(str(folder)).longest == 40
    task = task_of(folder, max_length=100)
    example = task.encode({"text": "good " * 90})
    assert len(example["ids"]) == 40
    kept, whole = task.cut(example)
    assert kept == 40 < 90 < whole


def test_a_bare_vocabulary_makes_the_tokenizer_of_bert(folder):
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "room", "##s", "很", "好"]), encoding="utf8")
    task = task_of(folder)
    assert task.encode({"text": "The rooms 很好 ☃"})["ids"].tolist() == [2, 5, 6, 7, 8, 9, 1, 3]
    assert task.encode({"text": "the room " * 50})["ids"][-1] == 3  # cut texts keep their end mark


def _spoil_config(**entries):
    def spoil(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | entries))

    return spoil


def _only_pickles(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _cut_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])


def _nan_weights(folder: Path) -> None:
    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    weights["encoder.layer.1.output.dense.weight"][0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


BAD = [
    (lambda folder: (folder / "config.json").unlink(), "pretrained.missing"),
    (lambda folder: (folder / "tokenizer.json").unlink(), "pretrained.missing"),
    (lambda folder: (folder / "model.safetensors").unlink(), "pretrained.missing"),
    (_only_pickles, "pretrained.pickled"),
    (_spoil_config(auto_map={"AutoModel": "evil.Model"}), "pretrained.code"),
    (lambda folder: (folder / "tokenizer_config.json").write_text('{"auto_map": {}}'), "pretrained.code"),
    (lambda folder: (folder / "config.json").write_text("{"), "pretrained.bad-file"),
    (lambda folder: (folder / "tokenizer.json").write_text("{}"), "pretrained.bad-file"),
    (_spoil_config(model_type="no-such-type"), "pretrained.unknown-type"),
    (_spoil_config(intermediate_size=48), "pretrained.bad-shape"),
    (_spoil_config(num_hidden_layers=3), "pretrained.bad-shape"),
    (_cut_weights, "pretrained.bad-file"),
    (_nan_weights, "pretrained.nan"),
]


@pytest.mark.parametrize(("spoil", "key"), BAD)
def test_what_is_refused_and_why(folder, spoil, key):
    spoil(folder)
    with pytest.raises(RefusedError) as caught:
        load_body(task_of(folder).build(), str(folder))
    assert caught.value.code == key
    assert caught.value.exit_code == 4


def test_a_path_that_is_not_there_and_a_hub_id_offline(monkeypatch):
    with pytest.raises(InputError) as caught:
        open_folder("/no/such/folder")
    assert caught.value.code == "pretrained.not-found"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DanluError) as caught:
        open_folder("nobody/no-such-model-of-danlu")
    assert caught.value.code == "pretrained.hub"
    assert "\n" not in caught.value.sentence()
