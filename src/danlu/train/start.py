"""The model before the first step: random weights, a transformers folder's, or the body of another bundle."""

from __future__ import annotations

from typing import Any

import torch

from danlu.bundle import folder as bundle_folder
from danlu.bundle import store
from danlu.bundle.predictor import to_device
from danlu.core.errors import InputError
from danlu.core.randomness import key
from danlu.core.recipe import Recipe
from danlu.nn import adapt
from danlu.nn.dropout import set_dropout
from danlu.nn.model import Model, transplant
from danlu.nn.recompute import recompute
from danlu.train.prepare import Prepared


def starting_model(prepared: Prepared, recipe: Recipe) -> tuple[Model, list[dict[str, Any]]]:
    """The model with its starting weights and its trained part chosen, and what the user should know as {"key": ..., values}."""
    base = recipe.model.pretrained
    torch.manual_seed(key(recipe.seed, "weights"))
    model, notes = prepared.task.build(), []
    model.packs = recipe.train.packed
    if base and bundle_folder.is_bundle(base):
        folder = bundle_folder.find(base)
        try:
            transplant(model, store.read_weights(folder / bundle_folder.WEIGHTS, folder))
        except RuntimeError as error:
            raise InputError("train.body-differs", base, path=base, names=str(error)) from error
    elif base:
        from danlu.nn.pretrained import load_body

        notes = load_body(model, base)
    notes += model.settle()
    if base:
        adapt.apply(model, recipe.model.adapt, few_rows(prepared))
    _as_wished(model, recipe)
    return model, notes


def few_rows(prepared: Prepared) -> dict[str, torch.Tensor]:
    """A batch of two rows to try a model on."""
    return to_device(prepared.task.collate(prepared.sides["train"].examples[:2]), torch.device("cpu"))


def _as_wished(model: Model, recipe: Recipe) -> None:
    """Gives the model what the recipe wants of any architecture; InputError where this one does not have it."""
    if recipe.model.dropout is not None and not set_dropout(model, recipe.model.dropout):
        raise InputError("train.no-dropout", "model.dropout")
    if recipe.train.adversarial.epsilon and model.embedding is None:
        raise InputError("train.no-embedding", "train.adversarial")
    if recipe.train.checkpoint_activations:
        recompute(model)
