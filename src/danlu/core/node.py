"""What the parts of a recipe are made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator, model_validator

BY_METHOD = {"x-default": "by method"}  # of a setting that, left out, takes its default from the method named beside it


class Node(BaseModel):
    """Every part of a recipe: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Choice(Node):
    """One of several methods, named by the first field. Each has settings of its own, with defaults; another's is an error.

    So a recipe names what it wants and nothing else, a resolved recipe holds what applies and nothing else, and no setting is ignored.
    """

    own: ClassVar[dict[str, dict[str, Any]]]  # the settings of each method, with their defaults

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        first = next(iter(cls.model_fields))
        name = data.get(first, cls.model_fields[first].default)
        own = cls.own.get(name, {}) if isinstance(name, str) else {}
        return own | {key: value for key, value in data.items() if value is not None}

    @field_validator("*")
    @classmethod
    def _belongs(cls, value: Any, info: ValidationInfo) -> Any:
        name, field = info.data.get(next(iter(cls.model_fields))), info.field_name
        if value is None or name is None or cls.model_fields[field].default is not None:
            return value
        if field not in cls.own[name] and any(field in settings for settings in cls.own.values()):
            raise ValueError("that is no setting of the method named beside it")
        return value
