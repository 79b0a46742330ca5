"""Architectures with options of their own, for ablations: `bag{tokenizer=ops,epochs=10}`."""

from __future__ import annotations

import json
import re
from dataclasses import fields, is_dataclass, replace
from typing import Any

from costmodel.errors import SeercError, unknown_name
from costmodel.learner import Learner
from costmodel.train import recipe

_VARIANT = re.compile(r"(?P<model>[^{}]+)\{(?P<options>[^{}]*)\}")


def variant(text: str) -> Learner:
    """The learner of an architecture, of `default` or of an artefact folder, with the options in braces replaced.

    Raises:
        SeercError: unknown model or option, or a value of another type than the option's.
    """
    found = _VARIANT.fullmatch(text.strip())
    if found is None:
        return recipe(text)
    learner: Any = recipe(found["model"].strip())
    options = getattr(learner, "options", None)
    if not is_dataclass(options) or isinstance(options, type):
        raise SeercError(f"the model {learner.name} has no options, got {text!r}")
    changes = dict(_option(learner.name, options, part) for part in found["options"].split(",") if part.strip())
    return replace(learner, options=replace(options, **changes))


def _option(model: str, options: Any, part: str) -> tuple[str, Any]:
    name, _, text = (x.strip() for x in part.partition("="))
    known = [f.name for f in fields(options)]
    if name not in known:
        raise unknown_name(f"option of {model}", name, known)
    return name, _value(f"{model}'s option {name}", type(getattr(options, name)), text)


def _value(what: str, wanted: type, text: str) -> Any:
    try:
        value = text if wanted is str else json.loads(text)
    except ValueError:
        value = None
    if wanted is float and type(value) is int:
        value = float(value)
    if type(value) is not wanted:
        raise SeercError(f"{what} must be of type {wanted.__name__}, got {text!r}")
    return value
