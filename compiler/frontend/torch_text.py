"""A loaded model in the torch dialect, for people to read."""

from __future__ import annotations

from typing import Any

from compiler.frontend.model import LoadedModel
from costmodel.errors import SeercError
from passes.mlir import ir, torch_dialect


def torch_text(model: LoadedModel) -> str:
    """The exported graph, decomposed and folded; weights are arguments. SeercError without a PyTorch module."""
    if model.module is None:
        raise SeercError(f"{model.imported.name} comes from a file without a PyTorch model: --emit linalg shows its IR")
    import torch
    from torch_mlir.extras.fx_importer import FxImporter

    from compiler.frontend.torch_module import folded_graph

    inputs = tuple(torch.from_numpy(x.copy()) for x in model.example_inputs)
    with torch.no_grad():
        graph = folded_graph(torch.export.export(model.module, inputs, strict=False))
    context: Any = ir.Context()
    torch_dialect.register_dialect(context)
    importer = FxImporter(context=context)
    importer.import_stateless_graph(graph.graph, func_name="main")
    return importer.module.operation.get_asm(large_elements_limit=16)
