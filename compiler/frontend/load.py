"""Resolves what a user writes as MODEL into a loaded model."""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from compiler.frontend.model import Array, FrontendError, LoadedModel, TensorSpec, failure
from compiler.frontend.specs import examples, parse_specs

KINDS = "zoo:NAME, package.module:factory, a Hugging Face folder, or a .pt2, .onnx or .mlir file"


def load_model(spec: str, inputs: Sequence[str] | None = None) -> LoadedModel:
    """Loads and imports MODEL; `inputs` are specs like `1x128xi64` or `ids=1x128xi64` that replace its example inputs.

    Raises FrontendError with one line that says what to do about it.
    """
    specs = parse_specs(inputs or ())
    try:
        loaded = _resolver(spec)(spec, specs)
    except MemoryError as error:
        raise failure(spec, error) from error
    imported = replace(loaded.imported, sources={"spec": spec, **loaded.imported.sources})
    return replace(loaded, imported=imported)


def _resolver(spec: str) -> Callable[[str, tuple[TensorSpec, ...]], LoadedModel]:
    path = Path(spec)
    by_suffix = {".pt2": _pt2, ".onnx": _onnx, ".mlir": _mlir}
    if spec.startswith("zoo:"):
        return _zoo
    if path.suffix in by_suffix:
        if not path.is_file():
            raise FrontendError(f"{spec}: no such file{_nearest_file(path)}")
        return by_suffix[path.suffix]
    if path.is_dir():
        return _folder
    if ":" in spec:
        return _factory
    if path.suffix in (".pt", ".pth", ".bin", ".pkl"):
        raise FrontendError(f"{spec}: pickled models are not loaded; save with torch.export.save as .pt2")
    raise FrontendError(f"{spec!r} is no model: expected {KINDS}{_nearest_zoo(spec)}")


def _nearest_file(path: Path) -> str:
    folder = path.parent
    names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {folder / near[0]}?" if near else ""


def _nearest_zoo(name: str) -> str:
    from compiler.zoo import MODELS

    near = difflib.get_close_matches(name, MODELS, n=1)
    return f"; did you mean zoo:{near[0]}?" if near else ""


def _zoo(spec: str, specs: tuple[TensorSpec, ...]) -> LoadedModel:
    from compiler import zoo

    module, example = zoo.build(spec.removeprefix("zoo:"))
    return from_module(module, inputs_for(module, specs) if specs else example, spec.removeprefix("zoo:"))


def _factory(spec: str, specs: tuple[TensorSpec, ...]) -> LoadedModel:
    """A callable without arguments that returns a module, or (module, example tensors)."""
    import torch

    module_name, _, attribute = spec.partition(":")
    source = _imported(spec, module_name)
    if not hasattr(source, attribute):
        near = difflib.get_close_matches(attribute, dir(source), n=1)
        raise FrontendError(f"{spec}: {module_name} has no {attribute!r}" + (f"; {near[0]}?" if near else ""))
    try:
        made = getattr(source, attribute)()
    except Exception as error:  # whatever the user's code raises
        raise failure(f"{spec}: the factory failed", error) from error
    module, example = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, torch.nn.Module):
        raise FrontendError(f"{spec}: returned {type(module).__name__}, not a torch.nn.Module (and example tensors)")
    if specs:
        example = inputs_for(module, specs)
    if example is None:
        raise FrontendError(f"{spec}: returned no example inputs: give --input 1x3x224x224xf32 or the like")
    example = (example,) if isinstance(example, torch.Tensor) else example
    if not isinstance(example, list | tuple) or not all(isinstance(t, torch.Tensor) for t in example):
        raise FrontendError(f"{spec}: the example inputs must be a tuple of tensors, got {example!r:.80}")
    return from_module(module, tuple(example), attribute)


def _imported(spec: str, module_name: str) -> Any:
    """The module, which may also lie in the current folder."""
    if module_name.endswith(".py"):
        raise FrontendError(f"{spec}: name the module, not its file: {spec.replace('.py:', ':').replace('/', '.')}")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise FrontendError(f"{spec}: {error}; is its folder on PYTHONPATH?") from None
    except Exception as error:  # whatever the user's code raises
        raise failure(f"{spec}: {module_name} cannot be imported", error) from error


def _folder(spec: str, specs: tuple[TensorSpec, ...]) -> LoadedModel:
    from compiler.frontend.huggingface import load_folder

    module, default = load_folder(Path(spec))
    return from_module(module, inputs_for(module, specs or default), Path(spec).resolve().name)


def _pt2(spec: str, specs: tuple[TensorSpec, ...]) -> LoadedModel:
    from compiler.frontend.pt2 import load_pt2
    from compiler.frontend.torch_module import import_exported

    program, example = load_pt2(Path(spec))
    if specs:
        raise FrontendError(f"{spec}: an exported program has fixed input shapes; leave --input out")
    imported = import_exported(program, Path(spec).stem)
    module: Any = program.module()
    if example is None:
        example = _tensors(examples(imported.inputs))
    return LoadedModel(imported, tuple(t.numpy() for t in example), eager_of(module), module)


def _onnx(spec: str, specs: tuple[TensorSpec, ...]) -> LoadedModel:
    from compiler.frontend.onnx_file import import_onnx

    imported = import_onnx(Path(spec), specs)
    return LoadedModel(imported, examples(imported.inputs))


def _mlir(spec: str, specs: tuple[TensorSpec, ...]) -> LoadedModel:
    from compiler.frontend.mlir_text import import_mlir

    if specs:
        raise FrontendError(f"{spec}: the text fixes the input shapes; leave --input out")
    imported = import_mlir(Path(spec))
    return LoadedModel(imported, examples(imported.inputs))


def from_module(module: Any, inputs: tuple[Any, ...], name: str) -> LoadedModel:
    """Imports a torch module for the shapes of `inputs` (tensors)."""
    from compiler.frontend.torch_module import import_module

    imported = import_module(module, inputs, name)
    return LoadedModel(imported, tuple(t.detach().numpy() for t in inputs), eager_of(module), module)


def eager_of(module: Any) -> Callable[..., tuple[Array, ...]]:
    """Arrays in, arrays out, through the torch module, in the order of the imported outputs."""

    def run(*arrays: Array) -> tuple[Array, ...]:
        import torch
        from torch.utils import _pytree as pytree

        with torch.no_grad():
            leaves = pytree.tree_leaves(module(*_tensors(arrays)))
        return tuple(leaf.numpy() for leaf in leaves if isinstance(leaf, torch.Tensor))

    return run


def _tensors(arrays: Sequence[Array]) -> tuple[Any, ...]:
    import torch

    return tuple(torch.from_numpy(a.copy()) for a in arrays)


def inputs_for(module: Any, specs: Sequence[TensorSpec]) -> tuple[Any, ...]:
    """Example tensors in the order of `module.forward`, ids valid for its vocabulary."""
    accepted = list(inspect.signature(module.forward).parameters)
    named = [s for s in specs if not s.name.startswith("input") or s.name in accepted]
    for spec in named:
        if spec.name not in accepted and "args" not in accepted:
            near = difflib.get_close_matches(spec.name, accepted, n=1) or accepted
            raise FrontendError(f"the model has no input {spec.name!r}; its inputs: {', '.join(near)}")
    if len(named) == len(specs):
        specs = sorted(specs, key=lambda s: accepted.index(s.name) if s.name in accepted else len(accepted))
    return _tensors(examples(specs, _vocabulary(module)))


def _vocabulary(module: Any) -> int:
    """The number of token ids: of the input embedding of a Hugging Face model, else of the smallest table."""
    import torch

    for part in module.modules():
        if hasattr(part, "get_input_embeddings"):
            return getattr(part.get_input_embeddings(), "num_embeddings", 2)
    return min((m.num_embeddings for m in module.modules() if isinstance(m, torch.nn.Embedding)), default=2)
