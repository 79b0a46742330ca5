"""A functional aten graph whose parameters, buffers and constants are placeholders with known values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx.node import map_arg

from compiler.frontend.model import FrontendError

aten: Any = torch.ops.aten
Node = Any  # Node, whose arguments have too many types to be told apart


@dataclass
class WeightGraph:
    """`values` holds the tensor behind each weight placeholder, `labels` its name.

    `constants` are the weight placeholders that hold no trained value: lifted literals and non-persistent buffers.
    `inputs` are the placeholders of the model's own arguments, in order.
    """

    module: fx.GraphModule
    inputs: list[Node]
    values: dict[Node, torch.Tensor] = field(default_factory=dict[Node, torch.Tensor])
    labels: dict[Node, str] = field(default_factory=dict[Node, str])
    constants: set[Node] = field(default_factory=set[Node])

    @property
    def graph(self) -> fx.Graph:
        return self.module.graph

    @property
    def fake_mode(self) -> Any:
        return next(n.meta["val"].fake_mode for n in self.graph.nodes if isinstance(n.meta.get("val"), torch.Tensor))

    def add_weight(self, label: str, value: torch.Tensor) -> Node:
        """A new weight placeholder named `label` (made unique) after the other weights."""
        unique, count = label, 0
        taken = set(self.labels.values())
        while unique in taken:
            count += 1
            unique = f"{label}.{count}"
        first = next(n for n in self.graph.nodes if n in self.inputs or n.op != "placeholder")
        with self.graph.inserting_before(first):
            node = self.graph.placeholder("w_" + "".join(c if c.isalnum() else "_" for c in unique))
        node.meta["val"] = self.fake_mode.from_tensor(value, static_shapes=True)
        self.values[node], self.labels[node] = value, unique
        return node

    def drop_dead(self) -> None:
        """Removes call nodes without users, then weight placeholders without users."""
        self.graph.eliminate_dead_code()
        for node in [n for n in self.values if not n.users]:
            self.graph.erase_node(node)
            del self.values[node], self.labels[node]
            self.constants.discard(node)

    def replace(self, node: Node, build: Callable[[Call], Any]) -> None:
        """Replaces `node` by what `build` inserts before it with its `call(op, *args)`, keeping its source location."""
        new = build(Call(self, node))
        node.replace_all_uses_with(new)
        self.graph.erase_node(node)


@dataclass(frozen=True)
class Call:
    """Inserts calls before `anchor`, with fake values computed so that shapes and dtypes are known."""

    weights: WeightGraph
    anchor: Node

    def __call__(self, op: Any, *args: Any, **kwargs: Any) -> Node:
        with self.weights.graph.inserting_before(self.anchor):
            node = self.weights.graph.call_function(op, args, kwargs)
        node.meta = {k: v for k, v in self.anchor.meta.items() if k in ("stack_trace", "nn_module_stack")}
        concrete = map_arg((args, kwargs), lambda n: n.meta["val"])
        with self.weights.fake_mode:
            node.meta["val"] = op(*concrete[0], **concrete[1])
        return node


def each(weights: WeightGraph, *targets: Any) -> list[Node]:
    """The nodes that call one of `targets`, in order."""
    return [n for n in weights.graph.nodes if n.op == "call_function" and n.target in targets]


def from_exported(program: ExportedProgram) -> WeightGraph:
    """Takes over the graph of a decomposed program; raises FrontendError if it changes one of its inputs."""
    module = fx.GraphModule(program.graph_module, program.graph)
    placeholders = {n.name: n for n in module.graph.nodes if n.op == "placeholder"}
    weights = WeightGraph(module, [])
    for spec in program.graph_signature.input_specs:
        node = placeholders[getattr(spec.arg, "name", "")]
        if spec.kind == InputKind.USER_INPUT:
            if not isinstance(node.meta.get("val"), torch.Tensor):  # a Python scalar or None: specialised by export
                module.graph.erase_node(node)
                continue
            weights.inputs.append(node)
            continue
        target = spec.target or node.name
        value: Any = program.state_dict.get(target)
        if value is None:
            value = program.constants[target]
        weights.values[node] = value.detach()
        weights.labels[node] = target
        if spec.kind == InputKind.CONSTANT_TENSOR or (spec.kind == InputKind.BUFFER and not spec.persistent):
            weights.constants.add(node)
    _keep_user_outputs(program, weights)
    return weights


def _keep_user_outputs(program: ExportedProgram, weights: WeightGraph) -> None:
    specs = program.graph_signature.output_specs
    for spec in specs:
        if spec.kind == OutputKind.USER_INPUT_MUTATION:
            raise FrontendError(f"the model changes its input {spec.target!r} in place: copy it in forward() first")
    output = next(n for n in weights.graph.nodes if n.op == "output")
    kept = [n for n, s in zip(output.args[0], specs, strict=True) if s.kind == OutputKind.USER_OUTPUT]
    output.args = (tuple(n for n in kept if isinstance(n, fx.Node)),)
