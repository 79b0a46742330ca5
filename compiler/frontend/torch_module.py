"""torch.nn.Module or ExportedProgram -> ImportedModel."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version

import torch
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from compiler.frontend import attention, decompositions, fold, recurrent, rewrites, views
from compiler.frontend.graph import WeightGraph, from_exported
from compiler.frontend.lower import lower_graph
from compiler.frontend.model import FrontendError, ImportedModel, failure

PASSES = (
    rewrites.drop_assertions,
    fold.fold,
    rewrites.drop_identities,
    attention.attention,
    recurrent.expand_lstm,
    views.select_from_cat,
    rewrites.known_gathers,
    rewrites.sink_expands,
    rewrites.scalars,
    views.merge_views,
    rewrites.drop_identities,
    fold.fold_batch_norm,
    views.merge_permutes,
    views.drop_unit_permutes,
    views.merge_views,
    views.flatten_embeddings,
    views.sink_views,
    views.merge_views,
    rewrites.drop_identities,
    rewrites.equal_to_itself,
    rewrites.round_scalars,
    fold.fold,
    fold.share_constants,
)


def import_module(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], name: str) -> ImportedModel:
    """Exports `module` for the shapes of `inputs` and lowers it; raises FrontendError where that is not possible."""
    try:
        with torch.no_grad(), _quiet():
            program = torch.export.export(module.eval(), inputs, strict=False)
    except FrontendError:
        raise
    except Exception as error:  # torch.export raises whatever the model's own code raises
        raise failure(f"{name}: torch.export cannot trace the model", error) from error
    return import_exported(program, name)


@contextmanager
def _quiet() -> Generator[None]:
    """Without the traceback that torch logs beside the exception that it raises."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    disabled, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = disabled


def import_exported(program: ExportedProgram, name: str) -> ImportedModel:
    """Lowers an exported program with static shapes."""
    try:
        graph = folded_graph(program)
    except (RuntimeError, MemoryError) as error:  # torch's: shapes that depend on data, no memory for a constant
        raise failure(f"{name}: the exported graph cannot be simplified for static shapes", error) from error
    returned = next(n for n in graph.graph.nodes if n.op == "output").args[0]
    input_names = [str(n.target) for n in graph.inputs]
    lowered = lower_graph(graph, name)
    inputs = tuple(replace(s, name=n) for n, s in zip(input_names, lowered.inputs, strict=True))
    output_names = _output_names(program, len(returned))
    outputs = tuple(replace(s, name=n) for n, s in zip(output_names, lowered.outputs, strict=True))
    sources = {"torch": torch.__version__, "torch-mlir": version("torch-mlir")}
    return ImportedModel(name, lowered.text, lowered.weights, inputs, outputs, sources)


def folded_graph(program: ExportedProgram) -> WeightGraph:
    """The program's graph decomposed, folded and simplified: what is lowered, and what tests run against the module."""
    with torch.no_grad():
        graph = from_exported(program.run_decompositions(decompositions.table()))
        for rewrite in PASSES:
            rewrite(graph)
        graph.graph.lint()
        graph.module.recompile()
    return graph


def run_graph(graph: WeightGraph, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Evaluates a folded graph in torch on `inputs`."""
    feed = dict(zip(graph.inputs, inputs, strict=True)) | graph.values
    placeholders = [feed[n] for n in graph.graph.nodes if n.op == "placeholder"]
    with torch.no_grad():
        return tuple(graph.module(*placeholders))


def _output_names(program: ExportedProgram, count: int) -> list[str]:
    """The names under which the model returns its tensors: dictionary keys, else output0, output1, ..."""
    spec = program.call_spec.out_spec
    if spec is None or spec.num_leaves != count:
        return [f"output{k}" for k in range(count)]
    tree = pytree.tree_unflatten(list(range(count)), spec)
    paths = [pytree.keystr(path).strip(".[]'\"") for path, _ in pytree.tree_flatten_with_path(tree)[0]]
    return [p if p and not p.isdigit() else f"output{p or k}" for k, p in enumerate(paths)]
