"""Reading a recipe: YAML 1.2 with the line of every key, `${NAME}` from the environment, overrides, and errors that name the nearest real key."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from danlu.core.errors import InputError
from danlu.core.recipe import Recipe

Path_ = tuple[str | int, ...]
_LIMIT = 1_000_000  # characters in a recipe file
_DEPTH = 30
_TAGS = {"str", "int", "float", "bool", "null", "seq", "map", "timestamp"}


def read_yaml(text: str, where: str) -> tuple[Any, dict[Path_, int]]:
    """Plain values, and the line (from 1) of every key. No tags, no anchors, no repeated keys: each is an InputError with its line."""
    from ruamel.yaml import YAML
    from ruamel.yaml.constructor import SafeConstructor
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

    if len(text) > _LIMIT:
        raise InputError("recipe.too-long", where, limit=_LIMIT)
    yaml = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise InputError(
            "recipe.bad-yaml", f"{where}:{mark.line + 1 if mark else 1}", problem=_one_line(error.problem or error.context)
        ) from error
    except RecursionError as error:
        raise InputError("recipe.alias", where) from error
    except (YAMLError, ValueError) as error:
        raise InputError("recipe.bad-yaml", where, problem=_one_line(str(error))) from error
    lines: dict[Path_, int] = {}
    seen: set[int] = set()

    def plain(node: Any, path: Path_) -> Any:
        line = node.start_mark.line + 1
        lines.setdefault(path, line)
        if id(node) in seen or len(path) > _DEPTH:
            raise InputError("recipe.alias", f"{where}:{line}")
        if not isinstance(node, ScalarNode):
            seen.add(id(node))
        tag = str(node.tag).removeprefix("tag:yaml.org,2002:")
        if tag not in _TAGS:
            raise InputError("recipe.tag", f"{where}:{line}", tag=node.tag)
        if isinstance(node, SequenceNode):
            return [plain(item, (*path, i)) for i, item in enumerate(node.value)]
        if isinstance(node, MappingNode):
            result: dict[str, Any] = {}
            for key_node, value_node in node.value:
                here = key_node.start_mark.line + 1
                if not isinstance(key_node, ScalarNode):
                    raise InputError("recipe.odd-key", f"{where}:{here}")
                name = str(key_node.value)
                if name in result:
                    raise InputError("recipe.repeated-key", f"{where}:{here}", key=_dotted((*path, name)))
                lines[(*path, name)] = here
                result[name] = plain(value_node, (*path, name))
            return result
        if tag in ("str", "timestamp"):  # the core schema of YAML 1.2 has no dates
            return node.value
        try:
            return SafeConstructor(loader=yaml).construct_object(node)
        except (YAMLError, ValueError) as error:
            raise InputError("recipe.bad-yaml", f"{where}:{line}", problem=_one_line(str(error))) from error

    return (plain(root, ()) if root is not None else None), lines


def expand(value: Any, where: str) -> Any:
    """`${NAME}` in every text becomes the environment variable; one that is not set is an InputError."""
    if isinstance(value, str):

        def replace(match: re.Match[str]) -> str:
            if match[1] not in os.environ:
                raise InputError("recipe.no-variable", where, name=match[1])
            return os.environ[match[1]]

        return re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", replace, value)
    if isinstance(value, list):
        return [expand(item, where) for item in value]
    if isinstance(value, dict):
        return {name: expand(item, where) for name, item in value.items()}
    return value


def load_recipe(path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """The recipe in a YAML file, with `key.path=value` overrides; relative data paths are taken from the file's folder."""
    path = Path(path)
    try:
        if path.is_fifo() and not path.is_relative_to("/dev"):  # nobody may ever write into it; `<(...)` of a shell is below /dev
            raise FileNotFoundError
        with path.open("rb") as stream:
            text = stream.read(4 * _LIMIT + 1).decode("utf-8-sig")
    except IsADirectoryError as error:
        raise InputError("recipe.is-folder", path, path=path) from error
    except OSError as error:
        raise InputError("recipe.no-file", path, path=path) from error
    except UnicodeDecodeError as error:
        raise InputError("recipe.not-utf8", path, path=path) from error
    tree, lines = read_yaml(text, str(path))
    if not isinstance(tree, dict):
        raise InputError("recipe.not-mapping", path, path=path)
    return make_recipe(tree, overrides, base=path.resolve().parent, where=str(path), lines=lines)


def make_recipe(
    tree: Mapping[str, Any],
    overrides: Iterable[str] = (),
    base: Path | None = None,
    where: str = "recipe",
    lines: Mapping[Path_, int] | None = None,
) -> Recipe:
    """A recipe from plain values. `base` is the folder that relative data paths start at."""
    tree = _copy(tree)
    for text in overrides:
        _override(tree, text)
    tree = expand(tree, where)
    try:
        recipe = Recipe.model_validate(tree)
    except ValidationError as error:
        raise explain(error, where, lines or {}, Recipe) from None
    return _absolute(recipe, base or Path.cwd())


def explain(error: ValidationError, where: str, lines: Mapping[Path_, int], root: type[BaseModel], prefix: Path_ = ()) -> InputError:
    """The first problem of a validation as one sentence with the key, the line and, for an unknown key, the nearest real one."""
    first = next((e for e in error.errors() if e["type"] == "extra_forbidden"), error.errors()[0])
    path: Path_ = (*prefix, *first["loc"])
    line = next((lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in lines), None)
    place = f"{where}:{line}" if line else where
    name = _dotted(path)
    if first["type"] == "extra_forbidden":
        known = _fields_at(root, first["loc"][:-1])
        near = nearest(str(path[-1]), known)
        if near:
            return InputError("recipe.unknown-key-near", place, key=name, near=near)
        return InputError("recipe.unknown-key", place, key=name, known=", ".join(known))
    if first["type"] == "missing":
        return InputError("recipe.missing-key", place, key=name)
    return InputError("recipe.bad-value", place, key=_dotted(_real(path)), value=_short(first["input"]), problem=_one_line(_problem(first)))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` was probably meant to be."""
    found = get_close_matches(word.lower(), list(known), n=1, cutoff=0.5)
    return found[0] if found else None


def _problem(error: Mapping[str, Any]) -> str:
    from danlu.core.words import say

    kind, context = error["type"], error.get("ctx", {})
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        return say(f"recipe.limit-{kind.replace('_', '-')}", limit=next(iter(context.values())))
    if kind == "literal_error":
        return say("recipe.one-of", choices=context["expected"].replace(" or ", ", "))
    if kind in ("int_parsing", "int_type", "int_from_float"):
        return say("recipe.want-int")
    if kind in ("float_parsing", "float_type", "finite_number"):
        return say("recipe.want-number")
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return say("recipe.want-mapping")
    if kind in ("bool_parsing", "bool_type"):
        return say("recipe.want-bool")
    if kind == "list_type":
        return say("recipe.want-list")
    if kind == "string_type":
        return say("recipe.want-text")
    if kind == "value_error":
        return say(f"recipe.{str(context['error']).replace(' ', '-')}")
    return str(error["msg"])


def _real(path: Path_) -> Path_:
    """Without the names that pydantic adds for members of a union."""
    return tuple(part for part in path if not (isinstance(part, str) and re.fullmatch(r"str|int|float|(list|dict)\[.*\]", part)))


def _fields_at(root: type[BaseModel], path: Iterable[str | int]) -> list[str]:
    here: Any = root
    for part in path:
        field = getattr(here, "model_fields", {}).get(part)
        if field is None:
            break
        options = [field.annotation, *get_args(field.annotation)]
        here = next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
    return list(getattr(here, "model_fields", {}))


def _override(tree: dict[str, Any], text: str) -> None:
    name, equals, raw = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_][\w.]*", name):
        raise InputError("recipe.bad-override", text, text=text)
    value, _ = read_yaml(raw, text)
    *parents, last = name.split(".")
    here: Any = tree
    for part in parents:
        if part == "task" and isinstance(here.get(part), str):
            here[part] = {"name": here[part]}
        if not isinstance(here.get(part), dict):
            here[part] = {}
        here = here[part]
    here[last] = value


def _absolute(recipe: Recipe, base: Path) -> Recipe:
    """Relative paths of data start at the recipe's folder; so does a pretrained folder that is there."""

    def at(value: Any) -> Any:
        return str(base / Path(os.path.expanduser(value))) if isinstance(value, str) and value and "://" not in value else value

    data, split, model = recipe.data, recipe.data.split, recipe.model
    path = [at(p) for p in data.path] if isinstance(data.path, list) else at(data.path)
    split = split.model_copy(update={side: at(getattr(split, side)) for side in ("train", "validation", "test")})
    if model.pretrained and (base / Path(os.path.expanduser(model.pretrained))).exists():
        model = model.model_copy(update={"pretrained": at(model.pretrained)})
    return recipe.model_copy(update={"data": data.model_copy(update={"path": path, "split": split}), "model": model})


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _copy(v) for k, v in value.items()}
    return [_copy(v) for v in value] if isinstance(value, list) else value


def _dotted(path: Path_) -> str:
    return ".".join(map(str, path)) or "recipe"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 40 else text[:37] + "..."


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:200]
