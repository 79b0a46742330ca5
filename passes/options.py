"""Options of a pass as text: `{n=4 cost-model=default keep=true tiles=1,2}`; `_` in a field is `-` in the text."""

from __future__ import annotations

import json
import re
from dataclasses import MISSING, Field, fields
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from costmodel.errors import SeercError, suggestion

if TYPE_CHECKING:
    from passes.base import Pass

P = TypeVar("P", bound="Pass")
_BARE = re.compile(r"[A-Za-z0-9_.:/+*-]+")
_STRING = r'"(?:\\.|[^"\\])*"'
_OPTION = re.compile(rf'\s*(?P<key>[A-Za-z][\w-]*)(?:=(?P<value>(?:{_STRING}|[^\s"])*))?(?=\s|$)')
_ELEMENT = re.compile(rf'({_STRING}|[^,"]*)(?:,|$)')


def option_types(cls: type[Pass]) -> dict[str, Any]:
    """The annotated type of each option, by field name."""
    hints = get_type_hints(cls)
    return {f.name: hints[f.name] for f in fields(cls)}


def is_option_type(kind: Any) -> bool:
    """Whether values of this type can be written in a pipeline."""
    return _element_type(kind) in (bool, int, float, str)


def print_options(instance: Pass) -> str:
    """The options that differ from their defaults, in braces; empty if none does."""
    changed = [f for f in fields(instance) if getattr(instance, f.name) != _default(f)]
    if not changed:
        return ""
    return "{" + " ".join(f"{_dashed(f.name)}={_print(getattr(instance, f.name))}" for f in changed) + "}"


def parse_options(cls: type[P], text: str) -> P:
    """Build a pass from what stands between its braces.

    Raises:
        SeercError: an unknown, repeated or missing option, or a value that the pass does not take.
    """
    kinds = {_dashed(name): kind for name, kind in option_types(cls).items()}
    values: dict[str, Any] = {}
    for key, value in _split(cls.name, text):
        if key not in kinds:
            raise SeercError(f"pass {cls.name} has no option {key!r}: {suggestion(key, kinds)}")
        if key in values:
            raise SeercError(f"pass {cls.name}: option {key} is given twice")
        values[key] = _parse(f"option {key} of pass {cls.name}", value, kinds[key])
    missing = [_dashed(f.name) for f in fields(cls) if _default(f) is MISSING and _dashed(f.name) not in values]
    if missing:
        raise SeercError(f"pass {cls.name} needs option {missing[0]}: write {cls.name}{{{missing[0]}=...}}")
    try:
        return cls(**{key.replace("-", "_"): value for key, value in values.items()})
    except ValueError as error:  # the pass's own check, in __post_init__
        raise SeercError(f"pass {cls.name}: {error}") from error


def _split(name: str, text: str) -> list[tuple[str, str]]:
    result: list[tuple[str, str]] = []
    position = 0
    text = text.rstrip()
    while position < len(text):
        match = _OPTION.match(text, position)
        if match is None:
            raise SeercError(f"pass {name}: cannot read the options at {text[position:].strip()!r}, expected key=value")
        value = match["value"]
        result.append((match["key"].replace("_", "-"), "true" if value is None else value))
        position = match.end()
    return result


def _without_none(kind: Any) -> Any:
    """`int | None` -> `int`; every other type unchanged."""
    if get_origin(kind) not in (Union, UnionType):
        return kind
    rest = [k for k in get_args(kind) if k is not NoneType]
    return rest[0] if len(rest) == 1 else kind


def _element_type(kind: Any) -> Any:
    """`int`, `int | None` and `tuple[int, ...]` -> `int`."""
    kind = _without_none(kind)
    arguments = get_args(kind)
    is_tuple = get_origin(kind) is tuple and len(arguments) == 2 and arguments[1] is Ellipsis
    return arguments[0] if is_tuple else kind


def _default(option: Field[Any]) -> Any:
    return option.default if option.default_factory is MISSING else option.default_factory()


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _print(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(_print(v) for v in value)
    if not isinstance(value, str):
        return repr(value)
    if _BARE.fullmatch(value) and value != "none":
        return value
    # Braces are escaped, so that counting them finds the end of the options, as MLIR's parser does.
    return json.dumps(value).replace("{", "\\u007b").replace("}", "\\u007d")


def _parse(where: str, text: str, kind: Any) -> Any:
    base = _without_none(kind)
    if text == "none" and base is not kind:
        return None
    element = _element_type(kind)
    if element is base:
        return _parse_scalar(where, text, element)
    return tuple(_parse_scalar(where, part, element) for part in _elements(where, text))


def _elements(where: str, text: str) -> list[str]:
    parts: list[str] = []
    position = 0
    while position < len(text):
        match = _ELEMENT.match(text, position)
        if match is None:
            raise SeercError(f"{where}: cannot read the list {text!r}")
        parts.append(match[1])
        position = match.end()
    return parts


def _parse_scalar(where: str, text: str, kind: type) -> Any:
    if kind is str:
        return json.loads(text) if text.startswith('"') else text
    try:
        if kind is bool:
            return {"true": True, "false": False, "1": True, "0": False}[text]
        return kind(text)
    except (ValueError, KeyError):
        wanted = {bool: "true or false", int: "an integer", float: "a number"}[kind]
        raise SeercError(f"{where} must be {wanted}, got {text!r}") from None
