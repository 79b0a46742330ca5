"""Which passes exist: seerc's own, those of installed packages, those of a loaded file or decorated in this process.

A registry is an immutable snapshot that is handed around. The one thing that changes is the list that the decorator
`register_pass` appends to.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, is_dataclass
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from costmodel.errors import SeercError, unknown_name
from passes.base import Pass
from passes.options import is_option_type, option_types

GROUP = "seerc.passes"
P = TypeVar("P", bound=Pass)

BUILTIN: Mapping[str, str] = MappingProxyType(
    {
        "seerc-ffn-select": "passes.adaptive.ffn_select:FfnSelectPass",
        "seerc-fuse": "passes.fusion:FusePass",
        "seerc-int8-weights": "passes.adaptive.int8_weights:Int8WeightsPass",
        "seerc-layer-skip": "passes.adaptive.layer_skip:LayerSkipPass",
        "seerc-lazy-select": "passes.adaptive.lazy_select:LazySelectPass",
        "seerc-mixture-of-depths": "passes.adaptive.mixture_of_depths:MixtureOfDepthsPass",
        "seerc-schedule": "passes.tiling.schedule_pass:SchedulePass",
        "seerc-strip-asserts": "passes.strip_asserts:StripAssertsPass",
    }
)


@dataclass(frozen=True)
class Entry:
    """One registered pass: `origin` is `module:Class` and tells two passes of one name apart; `load` imports it."""

    name: str
    origin: str
    load: Callable[[], type[Pass]]


@dataclass(frozen=True)
class PassRegistry:
    """Names to passes; make one with `installed()`."""

    entries: Mapping[str, Entry]

    @property
    def names(self) -> tuple[str, ...]:
        """Every registered name, sorted."""
        return tuple(sorted(self.entries))

    def get(self, name: str) -> type[Pass]:
        """The class registered under `name`.

        Raises:
            SeercError: no such pass, or its package is broken.
        """
        if name not in self.entries:
            raise unknown_name("pass", name, self.entries)
        entry = self.entries[name]
        cls = entry.load()
        _check_class(cls)
        if cls.name != name:
            raise SeercError(f"{entry.origin} is registered as {name!r} and calls itself {cls.name!r}: make them equal")
        return cls


_decorated: dict[str, Entry] = {}


def register_pass(cls: type[P]) -> type[P]:
    """Class decorator: the pass can be named in every pipeline parsed from now on.

    Defining the same class again (a notebook cell run twice) replaces it.

    Raises:
        SeercError: the class is no well-formed pass, or another pass has its name.
    """
    _check_class(cls)
    entry = Entry(cls.name, f"{cls.__module__}:{cls.__qualname__}", lambda: cls)
    _merge([*_builtin(), *_decorated.values(), entry])
    _decorated[cls.name] = entry
    return cls


def installed(files: Iterable[Path | str] = ()) -> PassRegistry:
    """A registry of seerc's passes, those of installed packages (entry points), and the decorated ones.

    Args:
        files: Python files to run first (`--load FILE.py`); they use `@seerc.register_pass`.

    Raises:
        SeercError: a file cannot be loaded or registers nothing, or two passes share a name.
    """
    for file in files:
        load_file(Path(file))
    plugins = [Entry(e.name, e.value.replace(" ", ""), _loader(e.value)) for e in entry_points(group=GROUP)]
    return PassRegistry(MappingProxyType(_merge([*_builtin(), *plugins, *_decorated.values()])))


def load_file(path: Path) -> None:
    """Run one Python file, which registers passes with the decorator."""
    path = path.resolve()
    name = f"seerc_loaded_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = spec_from_file_location(name, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise SeercError(f"--load {path}: no such Python file")
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up while the file runs
    try:
        spec.loader.exec_module(module)
    except SeercError:
        raise
    except Exception as error:
        raise SeercError(f"--load {path}: {type(error).__name__}: {error}") from error
    if not any(entry.origin.startswith(f"{name}:") for entry in _decorated.values()):
        raise SeercError(f"--load {path}: registers no pass; decorate its classes with @seerc.register_pass")


def _check_class(cls: Any) -> None:
    """Raise SeercError unless `cls` is a frozen dataclass with a kebab-case name and fields that can be options."""
    where = f"pass class {getattr(cls, '__qualname__', cls)!s}"
    if not (isinstance(cls, type) and issubclass(cls, Pass)):
        raise SeercError(f"{where} does not derive from seerc.Pass")
    if not is_dataclass(cls) or "__dataclass_params__" not in vars(cls):
        raise SeercError(f"{where} is no dataclass: decorate it with @dataclass(frozen=True)")
    name = getattr(cls, "name", None)
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", str(name)):
        raise SeercError(f"{where} needs `name: ClassVar[str]` in kebab-case, has {name!r}")
    for option, kind in option_types(cls).items():
        if not is_option_type(kind):
            raise SeercError(
                f"{where}: option {option} has type {kind}; int, float, bool, str and tuples of them can be"
            )


def _builtin() -> list[Entry]:
    return [Entry(name, origin, _loader(origin)) for name, origin in BUILTIN.items()]


def _loader(origin: str) -> Callable[[], type[Pass]]:
    def load() -> type[Pass]:
        module, _, attribute = origin.replace(" ", "").partition(":")
        try:
            return getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise SeercError(f"pass {origin} cannot be imported: {error}") from error

    return load


def _merge(entries: Iterable[Entry]) -> dict[str, Entry]:
    result: dict[str, Entry] = {}
    for entry in entries:
        other = result.setdefault(entry.name, entry)
        if other.origin != entry.origin:
            raise SeercError(
                f"two passes are called {entry.name!r}: {other.origin} and {entry.origin}; rename or uninstall one"
            )
        result[entry.name] = entry
    return result
