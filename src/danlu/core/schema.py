"""The recipe as JSON Schema, so that editors complete and check it."""

from __future__ import annotations

from typing import Any

from danlu.core.recipe import Recipe


def recipe_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of `recipe.yaml`; every key has its description."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Danlu recipe", **Recipe.model_json_schema()}
