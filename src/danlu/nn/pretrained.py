"""A transformers encoder as a classifier: the library's own network, our loading. Weights come from safetensors alone.

Shapes: B rows, T pieces, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from danlu.core.errors import RefusedError
from danlu.nn.added import Vectors
from danlu.nn.cutting import Layers, reads_first
from danlu.nn.dropout import replace_dropout
from danlu.nn.embedding import replace_embeddings
from danlu.nn.folder import Folder, open_folder
from danlu.nn.model import Model
from danlu.nn.packing import PackedLayers, Rows, Watched, can_pack
from danlu.nn.text.token_model import real

HEAD_RATE = 10.0  # times the body's learning rate
_OLD_NAMES = ((".LayerNorm.weight", ".LayerNorm.gamma"), (".LayerNorm.bias", ".LayerNorm.beta"))  # as TensorFlow's BERT had them


class Pretrained(Model):
    """`config` is the folder's, with `id2label` of the data. Names on disk are transformers' own, so `from_pretrained` reads a bundle."""

    sizes: ClassVar[tuple[str, ...]] = ("base",)
    prefix: ClassVar[str] = "net."
    reads: ClassVar[tuple[str, ...]] = ("ids",)

    def __init__(self, classes: int, size: str, config: dict[str, Any]) -> None:
        super().__init__()
        from transformers import CONFIG_MAPPING, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, AutoConfig, AutoModelForSequenceClassification

        kind = config["model_type"]
        if kind not in CONFIG_MAPPING or CONFIG_MAPPING[kind] not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
            raise RefusedError("pretrained.unknown-type", kind, name=kind)
        settings = {"num_labels": classes} | {key: value for key, value in config.items() if key != "model_type"}
        try:
            made = AutoConfig.for_model(kind, **settings)
            self.net = AutoModelForSequenceClassification.from_config(made).float()
            replace_dropout(self.net)
            replace_embeddings(self.net)
            self._layers = Layers(self.net, *_layers(self.net))
            self._packing = PackedLayers(self.net, self._layers.layers) if can_pack(made) else None
            _stages(self.net)
        except Exception as error:  # whatever transformers makes of settings that make no sense
            if isinstance(error, MemoryError) or "memory" in str(error):
                raise
            raise RefusedError("pretrained.bad-config", kind, problem=" ".join(str(error).split())[:160] or type(error).__name__) from error
        if made.pad_token_id is None:
            self.net.config.pad_token_id = 0
        self.net.base_model.loss_type = self.net.loss_type  # else tracing makes transformers warn of a loss that is not used
        self.width = int(getattr(made, "hidden_size", 0))
        self._ahead, self._prefixed, self._last_narrows = 0, False, False

    def run(self, batch: dict[str, Tensor], first: int = 0, last: int | None = None) -> Tensor:
        head = len(self._layers.layers) + 1
        given = batch["inner"] if first else None
        width = batch["ids"].shape[1] if given is None else given.shape[1]
        ids_BT, lengths_B = batch["ids"][:, :width], batch["ids_lengths"].clamp(max=width)
        if self._ahead:  # any piece but padding: the prompt takes its place
            other = (self.net.config.pad_token_id + 1) % self.net.config.vocab_size
            ids_BT, lengths_B = torch.nn.functional.pad(ids_BT, (self._ahead, 0), value=other), lengths_B + self._ahead
        packs = self.packs and ids_BT.device.type == "cpu"
        if self._packing is not None:
            wanted = (packs or self._prefixed) and first < head
            rows = Rows(lengths_B, ids_BT.shape[1], packs) if wanted else None
            self._packing.use(rows, only_first=packs and last is None and self._last_narrows)
        end = None if last is None or last > head else last - 1
        if not first and end is None:
            return self._answer(ids_BT, lengths_B)
        with self._layers.cut(max(0, first - 1), end, given, self._packing) as behind:
            logits_BC = self._answer(ids_BT, lengths_B)
        if end is None:
            return logits_BC
        return behind.seen[:, :1] if last == head and self._reads_first else behind.seen

    def _answer(self, ids_BT: Tensor, lengths_B: Tensor) -> Tensor:
        real_BT = real(lengths_B, ids_BT.shape[1])
        ids_BT = ids_BT.masked_fill(~real_BT, self.net.config.pad_token_id)
        return self.net(input_ids=ids_BT, attention_mask=real_BT.long()).logits

    @property
    def cuts(self) -> bool:
        return not self._ahead

    @cached_property
    def _reads_first(self) -> bool:
        """Whether the head looks at the first piece of a row alone, as BERT's does."""
        head, where, training = len(self._layers.layers) + 1, next(self.parameters()).device, self.training

        def answer(x_BTD: Tensor, lengths_B: Tensor) -> Tensor:
            ids_BT = torch.ones(x_BTD.shape[:2], dtype=torch.int64, device=where)
            return self.run({"ids": ids_BT, "ids_lengths": lengths_B, "inner": x_BTD}, head)

        self.eval()
        try:
            return reads_first(answer, self.width, where)
        finally:
            self.train(training)

    def inner_lengths(self, batch: dict[str, Tensor], first: int) -> Tensor | None:
        return None if first > len(self._layers.layers) and self._reads_first else batch["ids_lengths"]

    def settle(self) -> list[dict[str, Any]]:
        """Tries packed rows against padded ones, and stays with padding where the answers differ."""
        if self._packing is None or self._packs_right():
            self._last_narrows = self._packing is not None and self._reads_first
            self._last_narrows = self._last_narrows and self._packs_right()  # which now narrows it
            return []
        if self._prefixed:  # the plain way does not know it
            super().add_prefix(0)
        self._packing.use(None)
        self._packing = None
        return [{"key": "pretrained.padded"}]

    def _packs_right(self) -> bool:
        training, packs, answers = self.training, self.packs, []
        where = next(self.parameters()).device
        lengths_B = torch.tensor([2, 9, 5, 9, 1], device=where)
        ids_BT = torch.arange(45, device=where).view(5, 9) % self.net.config.vocab_size
        batch = {"ids": ids_BT, "ids_lengths": lengths_B}
        self.eval()
        try:
            with torch.no_grad():
                for self.packs in (False, True):
                    answers.append(self(batch))
        except (RuntimeError, TypeError, ValueError, IndexError, AttributeError, KeyError):  # code that packed rows do not fit
            return False
        finally:
            self.packs = packs
            self.train(training)
        return torch.allclose(*answers, rtol=1e-4, atol=1e-4 * float(answers[0].abs().max()))

    def add_prompt(self, count: int) -> None:
        """The vectors stand where those of the first pieces would, and begin as those of pieces drawn from the vocabulary."""
        table = self.net.get_input_embeddings()
        table.prompt = Vectors(table.weight[torch.randint(len(table.weight), (count,))])
        table.register_forward_hook(_put_prompt)
        self._ahead = count

    def add_prefix(self, count: int) -> None:
        """They begin as the keys and values of `count` pieces drawn from the vocabulary, each a row of its own."""
        if self._packing is None or not self._packs_right():
            super().add_prefix(count)
        rows, training = Watched(torch.ones(count, dtype=torch.int64), 1), self.training
        self._packing.use(rows)
        with torch.no_grad():
            self.eval()._answer(torch.randint(self.net.config.vocab_size, (count, 1)), torch.ones(count, dtype=torch.int64))
        attending = [module for module in self.net.modules() if hasattr(module, "attends")]
        for module, seen_2HPK in zip(attending, rows.seen, strict=False):  # a layer that is used again attends again
            module.prefix = Vectors(seen_2HPK)
        self._prefixed = True
        self.train(training)

    @property
    def padding_free(self) -> bool:
        return self.packs and self._packing is not None

    @property
    def embedding(self) -> nn.Module | None:
        return self.net.get_input_embeddings()

    def stages(self) -> list[nn.Module]:
        return _stages(self.net)

    def parameter_groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """Where the body's own weights are trained too, the head, which begins anew, learns faster than they; an adapter begins anew itself."""
        head = {id(p) for p in self.head.parameters()}
        adapted = self.adapter is not None or hasattr(self, "peft_config")
        if adapted or not any(p.requires_grad and id(p) not in head for p in self.parameters()):
            return super().parameter_groups(lr, weight_decay)
        groups = []
        for group in super().parameter_groups(lr, weight_decay):
            groups.append(group | {"params": [p for p in group["params"] if id(p) not in head]})
            groups.append(group | {"params": [p for p in group["params"] if id(p) in head], "lr": HEAD_RATE * lr})
        return [group for group in groups if group["params"]]

    @classmethod
    def example_facts(cls) -> dict[str, Any]:
        """A BERT of two narrow layers."""
        shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 200}
        return {"config": {"model_type": "bert", "max_position_embeddings": 64, "pad_token_id": 0, **shape}}

    @classmethod
    def example_batch(cls, n: int) -> dict[str, Tensor]:
        """Row i holds i + 1 pieces."""
        lengths_B = torch.arange(1, n + 1)
        ids_BT = torch.randint(5, 200, (n, n), generator=torch.Generator().manual_seed(n))
        return {"ids": ids_BT * real(lengths_B, n), "ids_lengths": lengths_B}


def load_body(model: Pretrained, name: str) -> list[dict[str, Any]]:
    """Fills in the weights of a folder or hub id; its head only where that answers with the model's own labels.

    Gives what the user should know, each a `key` of core/words with its values. RefusedError where the weights do not fit.
    """
    folder = open_folder(name)
    labels = [model.net.config.id2label[i] for i in range(model.net.config.num_labels)]
    own = dict(model.net.named_parameters()) | {key: tensor for key, tensor in model.net.named_buffers() if key in model.net.state_dict()}
    head = {id(p) for p in model.head.parameters()}
    classifier = {key for key, p in own.items() if id(p) in head and not key.startswith(f"{model.net.base_model_prefix}.")}
    stored = dict(_tensors(folder))
    found = {key: tensor for key in own if (tensor := _pick(stored, key, model.net.base_model_prefix)) is not None}
    keep_head = folder.labels == labels and all(key in found and found[key].shape == own[key].shape for key in classifier)
    for key, tensor in own.items():
        if key in classifier and not keep_head:
            continue
        if key not in found and id(tensor) in head:  # a pooler that the folder lacks starts anew with the head
            continue
        if key not in found or found[key].shape != tensor.shape:
            raise RefusedError("pretrained.bad-shape", folder.path, path=folder.path, name=key)
        if not bool(torch.isfinite(found[key]).all()):
            raise RefusedError("pretrained.nan", folder.path, path=folder.path, name=key)
    with torch.no_grad():
        for key, tensor in own.items():
            if key in found and (keep_head or key not in classifier):
                tensor.copy_(found[key])
    return _notes(keep_head, folder, labels, any(key in found for key in classifier))


def _put_prompt(table: nn.Module, args: Any, output: Tensor) -> Tensor:
    """Vectors of pieces [B, T, D] with the prompt in the first places."""
    prompt_PD = table.prompt().to(output.dtype)
    return torch.cat([prompt_PD.expand(len(output), -1, -1), output[:, len(prompt_PD) :]], dim=1)


def _notes(keep_head: bool, folder: Folder, labels: list[str], has_head: bool) -> list[dict[str, Any]]:
    if keep_head:
        return []
    if has_head and len(folder.labels) != len(labels):
        return [{"key": "pretrained.new-head", "found": len(folder.labels), "wanted": len(labels)}]
    return [{"key": "pretrained.fresh-head"}]


def _tensors(folder: Folder) -> Iterator[tuple[str, Tensor]]:
    for file in folder.files:
        try:
            with safe_open(file, "pt") as stored:
                for key in stored.keys():  # noqa: SIM118  (not a dict)
                    yield key, stored.get_tensor(key)
        except (SafetensorError, OSError, ValueError) as error:
            problem = " ".join(str(error).split())[:160] or type(error).__name__
            raise RefusedError("pretrained.bad-file", folder.path, path=folder.path, name=Path(file).name, problem=problem) from error


def _pick(stored: dict[str, Tensor], key: str, base: str) -> Tensor | None:
    """A tensor by its name in the classifier, in the bare body (without `bert.`), or by its old name."""
    for name in (key, key.removeprefix(f"{base}.")):
        for new, old in (("", ""), *_OLD_NAMES):
            if name.endswith(new) and (candidate := name.removesuffix(new) + old) in stored:
                return stored[candidate]
    return None


def _layers(net: nn.Module) -> tuple[str, nn.ModuleList]:
    """The longest part: a list of layers and its name in the body."""
    lists = {name: module for name, module in net.base_model.named_modules() if isinstance(module, nn.ModuleList)}
    path = max(lists, key=lambda name: sum(p.numel() for p in lists[name].parameters()))
    return path, lists[path]


def _stages(net: nn.Module) -> list[nn.Module]:
    """What comes before the layers, each layer (the last with what follows it), and the head: pooler and classifier."""
    base = net.base_model
    path, layers = _layers(net)
    before: list[nn.Module] = []
    after: list[nn.Module] = []
    head: list[nn.Module] = []
    node = base
    for step in path.split("."):
        side = before
        for name, child in node.named_children():
            if name == step:
                side = after
            else:
                (head if "pool" in name else side).append(child)
        node = node.get_submodule(step)
    head += [child for child in net.children() if child is not base]
    *first, last = layers
    return [nn.ModuleList(before), *first, nn.ModuleList([last, *after]), nn.ModuleList(head)]
