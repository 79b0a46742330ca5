"""Writes regions as private functions and @main as calls of them; equal regions share one function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from passes.fusion.generic import Values, build, clone, compose, inline_body, map_of
from passes.fusion.graph import Graph, Node, is_cloned, read_node
from passes.fusion.grow import Region
from passes.mlir import func, ir, tensor

Key = tuple[object, ...]


@dataclass(frozen=True)
class Interface:
    """What a region reads (`arguments`), has its own copy of (`cloned`) and gives back (`results`)."""

    nodes: tuple[Node, ...]
    cloned: tuple[Node, ...]
    arguments: tuple[ir.Value, ...]
    constant: tuple[bool, ...]
    results: tuple[ir.Value, ...]
    key: Key


def interface(graph: Graph, region: Region, weights: frozenset[ir.Value]) -> Interface:
    """The interface of a region; `key` is equal for regions that compute the same."""
    nodes = tuple(graph.nodes[i] for i in region.nodes)
    inside = {value for node in nodes for value in node.results}
    cloned = _cloned(region, nodes)
    copied = {value for node in cloned for value in node.results}
    needed = [_needed(region, node) for node in nodes]
    read = dict.fromkeys(v for values in needed for v in values if v not in inside and v not in copied)
    members = set(region.nodes)
    results = tuple(v for n in nodes for v in n.results if any(u not in members for u in graph.users.get(v, ())))
    constant = tuple(is_constant(v, weights) for v in read)
    numbers: dict[ir.Value, int] = {v: i for i, v in enumerate(read)}
    parts: list[object] = [region.kind, nodes.index(graph.nodes[region.root]), constant]
    for node, values in zip((*cloned, *nodes), [*(n.operands for n in cloned), *needed], strict=True):
        parts.append((node.signature, tuple(numbers[v] for v in values)))
        numbers.update({v: len(numbers) + i for i, v in enumerate(node.results)})
    key = (*parts, tuple(str(v.type) for v in read), tuple(numbers[v] for v in results))
    return Interface(nodes, cloned, tuple(read), constant, results, key)


def is_constant(value: ir.Value, weights: frozenset[ir.Value]) -> bool:
    """A weight, or a view of one."""
    while value not in weights:
        if not isinstance(value, ir.OpResult) or value.owner.name not in _CONSTANT_VIEWS:
            return False
        value = value.owner.operands[0]
    return True


_CONSTANT_VIEWS = ("tensor.expand_shape", "tensor.collapse_shape", "tensor.extract_slice", "linalg.transpose")


def write_function(name: str, region: Region, parts: Interface) -> func.FuncOp:
    """The private function of a region at the insertion point."""
    types = [v.type for v in parts.arguments], [v.type for v in parts.results]
    function = func.FuncOp(name, ir.FunctionType.get(*types), visibility="private")
    function.operation.attributes["seerc.kind"] = ir.StringAttr.get(region.kind)
    flag = ir.DictAttr.get({"seerc.constant": ir.UnitAttr.get()})
    function.operation.attributes["arg_attrs"] = ir.ArrayAttr.get(
        [flag if constant else ir.DictAttr.get({}) for constant in parts.constant]
    )
    block = function.add_entry_block()
    values: Values = dict(zip(parts.arguments, block.arguments, strict=True))
    with ir.InsertionPoint(block):
        for node in parts.cloned:
            clone(node.op, values)
        _write_body(region, parts, values)
        func.ReturnOp([values[v] for v in parts.results])
    return function


def _write_body(region: Region, parts: Interface, values: Values) -> None:
    separate = [n for n in parts.nodes if _is_separate(region, n)]
    joined = [n for n in parts.nodes if n not in separate]
    root = None
    for node in separate:
        copy = clone(node.op, values)
        root = copy if node.index == region.root else root
    if joined:
        last = _join(region, joined, parts.results, values)
        root = last if root is None else root
    assert root is not None
    root.attributes["seerc.root"] = ir.UnitAttr.get()


def _join(region: Region, nodes: Sequence[Node], results: Sequence[ir.Value], values: Values) -> ir.Operation:
    """All elementwise ops of a region as one generic over its space; `values` gets their results."""
    rank = len(region.sizes)
    written = {value for node in nodes for value in node.results}
    inputs: dict[tuple[ir.Value, ir.AffineMap], int] = {}
    reads: dict[tuple[int, int], int] = {}
    for node in nodes:
        generic = node.generic
        assert generic is not None
        loops = map_of(rank, region.loops[node.index])
        for position, value in enumerate(generic.inputs):
            if value not in written:
                key = (values[value], compose(generic.maps[position], loops))
                reads[node.index, position] = inputs.setdefault(key, len(inputs))
    outs = [v for v in results if v in written]
    maps = [map_ for _, map_ in inputs] + [map_of(rank, region.dims[v]) for v in outs]
    empties = [tensor.empty(list(v.type.shape), v.type.element_type) for v in outs]

    def body(arguments: list[ir.Value]) -> list[ir.Value]:
        scalars: Values = {}
        for node in nodes:
            generic = node.generic
            assert generic is not None
            local: Values = dict(values)
            for position, value in enumerate(generic.inputs):
                number = reads.get((node.index, position))
                local[generic.arguments[position]] = scalars[value] if number is None else arguments[number]
            scalars.update(zip(node.results, inline_body(generic, local, region.loops[node.index]), strict=True))
        return [scalars[v] for v in outs]

    new = build([value for value, _ in inputs], empties, maps, [True] * rank, body)
    values.update(zip(outs, new.results, strict=True))
    return new


def _cloned(region: Region, nodes: Sequence[Node]) -> tuple[Node, ...]:
    """The constants, fills and empty tensors that nodes read, each after those that it reads itself."""
    found: dict[ir.Value, Node] = {}

    def visit(value: ir.Value) -> None:
        if value in found or not isinstance(value, ir.OpResult) or not is_cloned(value.owner.operation):
            return
        node = read_node(-1, value.owner.operation)
        for operand in node.operands:
            visit(operand)
        found[value] = node

    for node in nodes:
        for value in _needed(region, node):
            visit(value)
    return tuple(found.values())


def _needed(region: Region, node: Node) -> tuple[ir.Value, ...]:
    """What a node reads; the destinations of ops that are joined into one generic are made anew."""
    if node.generic is None or _is_separate(region, node):
        return node.operands
    return node.generic.inputs + node.generic.captured


def _is_separate(region: Region, node: Node) -> bool:
    """The op is copied as it is: it reduces, or belongs to a row."""
    return region.kind in ("row", "plain") or node.index not in region.loops
