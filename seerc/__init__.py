"""seerc, the seer compiler: models in, native programs out, every choice made by a model that reads the IR.

    import seerc
    program = seerc.compile("zoo:mlp")
    outputs = program(x)

Attributes load on first use, so that `import seerc` stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compiler.native.buckets import load_program as load
    from costmodel.errors import SeercError as SeercError
    from costmodel.protocol import CostModel as CostModel
    from passes.base import Pass as Pass
    from passes.registry import register_pass as register_pass
    from seerc.api import compile as compile
    from seerc.api import predict as predict

__version__ = "0.1.0"

_ATTRIBUTES = {
    "CostModel": ("costmodel.protocol", "CostModel"),
    "Pass": ("passes.base", "Pass"),
    "SeercError": ("costmodel.errors", "SeercError"),
    "compile": ("seerc.api", "compile"),
    "load": ("compiler.native.buckets", "load_program"),
    "predict": ("seerc.api", "predict"),
    "register_pass": ("passes.registry", "register_pass"),
}
__all__ = ["CostModel", "Pass", "SeercError", "compile", "load", "predict", "register_pass"]

_HOME = Path(__file__).resolve().parent.parent


def _check_siblings() -> None:
    """Raise ImportError where `import compiler` would find someone else's folder of that name."""
    for name in ("compiler", "passes", "costmodel", "ir_corpus"):
        spec = find_spec(name)
        found = list(spec.submodule_search_locations or [spec.origin]) if spec else []
        if not found:
            raise ImportError(f"seerc's package {name!r} is missing beside {_HOME / 'seerc'}: install seerc again")
        if Path(str(found[0])).resolve() != _HOME / name:
            raise ImportError(
                f"{found[0]} hides seerc's own package {name!r} ({_HOME / name}): rename that folder, "
                "or run from a place where it does not come first on sys.path"
            )


_check_siblings()


def __getattr__(name: str) -> Any:
    if name not in _ATTRIBUTES:
        raise AttributeError(f"module 'seerc' has no attribute {name!r}")
    module, attribute = _ATTRIBUTES[name]
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_ATTRIBUTES])
