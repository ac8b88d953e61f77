"""Every architecture by kind of input and name. Adding one is one file and one line here; `tests/conformance` then covers it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

ARCHITECTURES: dict[str, dict[str, str]] = {
    "text": {
        "bag": "danlu.nn.text.bag:Bag",
        "textcnn": "danlu.nn.text.textcnn:TextCNN",
        "rnn": "danlu.nn.text.recurrent:RNN",
        "lstm": "danlu.nn.text.recurrent:LSTM",
        "gru": "danlu.nn.text.recurrent:GRU",
        "transformer": "danlu.nn.text.transformer:Transformer",
    },
    "image": {
        "mlp": "danlu.nn.image.mlp:MLP",
        "cnn": "danlu.nn.image.cnn:CNN",
        "resnet": "danlu.nn.image.resnet:ResNet",
        "resnet18": "danlu.nn.image.resnet:ResNet18",
        "resnet34": "danlu.nn.image.resnet:ResNet34",
        "resnet50": "danlu.nn.image.resnet:ResNet50",
        "vit": "danlu.nn.image.vit:ViT",
    },
    "audio": {
        "cnn": "danlu.nn.audio.cnn:CNN",
        "conformer": "danlu.nn.audio.conformer:Conformer",
    },
}


def architecture(kind: str, name: str) -> type:
    """The class behind a name, or behind the user's own `module:Class`; KeyError for a name that is not in the table."""
    module, _, attribute = (name if ":" in name else ARCHITECTURES[kind][name]).partition(":")
    return getattr(import_module(module), attribute)


def listing() -> list[dict[str, Any]]:
    """Every architecture and size with its parameter count at the nominal configuration of `example_facts` and 10 classes.

    Models are built on the meta device: no memory is taken and nothing is drawn.
    """
    import torch

    from danlu.nn.model import parameter_count

    lines = []
    for kind, names in ARCHITECTURES.items():
        for name in names:
            made = architecture(kind, name)
            for size in made.sizes:
                with torch.device("meta"):
                    model = made(10, size, **made.example_facts())
                lines.append({"kind": kind, "name": name, "size": size, "parameters": parameter_count(model)})
    return lines
