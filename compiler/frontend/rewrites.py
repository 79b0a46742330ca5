"""Rewrites that remove what computes nothing and simplify what is partly known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import fx
from torch.fx.node import map_arg

from compiler.frontend.elementwise import BINARY, COMPARISONS, ELEMENTWISE
from compiler.frontend.graph import Call, Node, WeightGraph, aten, each
from compiler.frontend.views import VIEWS

COPIES = (aten.clone.default, aten.alias.default, aten.detach.default, aten.lift_fresh_copy.default,
          aten.contiguous.default, aten.dropout.default, aten.native_dropout.default)  # fmt: skip


def drop_assertions(weights: WeightGraph) -> None:
    """Removes metadata and runtime assertions: shapes are static and were checked by the export."""
    for node in reversed(list(weights.graph.nodes)):
        if node.op == "call_function" and "assert" in str(node.target) and not node.users:
            weights.graph.erase_node(node)


def drop_identities(weights: WeightGraph) -> None:
    """Removes copies, no-op views, expands, casts and permutes, `x + 0` and `x * 1`."""
    for node in list(weights.graph.nodes):
        if node.op != "call_function":
            continue
        source = _identity_of(node)
        if source is not None:
            node.replace_all_uses_with(source)
            weights.graph.erase_node(node)
    weights.drop_dead()


def _identity_of(node: Node) -> Node | None:
    """The argument that `node` equals, if it has one."""
    if node.target in COPIES:
        return node.args[0]
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor):
        return None
    neutral = _neutral(node)
    if neutral is not None:
        return neutral if _same(neutral.meta["val"], value) else None
    first = node.args[0] if node.args else None
    if not isinstance(first, fx.Node) or not _same(first.meta.get("val"), value):
        return None
    if node.target in (*VIEWS, aten.expand.default, aten._to_copy.default, aten.squeeze.dims, aten.slice.Tensor):
        return first
    if node.target is aten.permute.default and list(node.args[1]) == list(range(value.dim())):
        return first
    return None


NEUTRAL = {aten.add.Tensor: 0, aten.mul.Tensor: 1, aten.bitwise_and.Tensor: True, aten.logical_and.default: True}


def _neutral(node: Node) -> Node | None:
    """x where `node` is x + 0, x * 1 or x & True, in x's dtype but perhaps broadcast."""
    if node.target not in NEUTRAL or len(node.args) != 2 or node.kwargs:
        return None
    for x, other in (node.args, node.args[::-1]):
        if isinstance(x, fx.Node) and _splat(other) is not None and x.meta["val"].dtype == node.meta["val"].dtype:
            if node.target in (aten.add.Tensor, aten.mul.Tensor) or node.meta["val"].dtype == torch.bool:
                return x if _splat(other) == NEUTRAL[node.target] else None
    return None


def sink_expands(weights: WeightGraph) -> None:
    """Elementwise operations on unexpanded operands, expanded after: masks stay [1, 1, 1, T] until they are added."""
    for node in list(weights.graph.nodes):
        if node.op != "call_function" or not isinstance(node.meta.get("val"), torch.Tensor):
            continue
        shape = list(node.meta["val"].shape)
        x = _neutral(node)
        if x is not None and list(x.meta["val"].shape) != shape:
            weights.replace(node, lambda call, x=x, sh=shape: call(aten.expand.default, x, sh))
        elif node.target in ELEMENTWISE and any(n.target is aten.expand.default for n in node.all_input_nodes):
            weights.replace(node, lambda call, n=node, sh=shape: _unexpanded(call, n, sh))
    weights.drop_dead()


def _unexpanded(call: Call, node: Node, shape: list[int]) -> Node:
    def source(arg: Node) -> Node:
        return arg.args[0] if arg.target is aten.expand.default else arg

    small = call(node.target, *map_arg(node.args, source), **node.kwargs)
    return small if list(small.meta["val"].shape) == shape else call(aten.expand.default, small, shape)


def _splat(arg: Any) -> Any:
    if isinstance(arg, fx.Node):
        return arg.args[1] if arg.target is aten.full.default else None
    return arg


def _same(a: Any, b: torch.Tensor) -> bool:
    return isinstance(a, torch.Tensor) and a.shape == b.shape and a.dtype == b.dtype


def known_gathers(weights: WeightGraph) -> None:
    """index(x, known indices) -> a view where it reads x in order, else index_select with non-negative indices.

    Attention masks are read so, and reflecting pads.
    """
    for node in each(weights, aten.index.Tensor):
        known = [i for i in node.args[1] if i is not None]
        if all(_value(weights, i) is not None for i in known):
            weights.replace(node, lambda call, n=node: _gather(weights, call, n))
    weights.drop_dead()


def _gather(weights: WeightGraph, call: Call, node: Node) -> Node:
    x, indices = node.args
    result, shape = list(node.meta["val"].shape), list(x.meta["val"].shape)
    positions = torch.arange(math.prod(shape)).reshape(shape)
    values = [None if i is None else _value(weights, i) for i in indices]
    picked = positions[tuple(slice(None) if v is None else v for v in values)].flatten()
    if torch.equal(picked, positions.flatten()):
        return call(aten.reshape.default, x, result)
    used = [(d, v) for d, v in enumerate(values) if v is not None]
    if len(used) == 1 and used[0][1].dim() == 1:
        dim, index = used[0]
        return call(aten.index_select.default, x, dim, _constant(weights, "constant.gather", index % shape[dim]))
    rows = call(aten.reshape.default, x, [math.prod(shape)])
    return call(
        aten.reshape.default, call(aten.index_select.default, rows, 0, _constant(weights, "constant.gather", picked)),
        result,
    )  # fmt: skip


def _value(weights: WeightGraph, node: Node) -> torch.Tensor | None:
    """What `node` is known to hold: a weight placeholder's value or a splat; None otherwise."""
    if node.target is aten.full.default:
        return torch.full(node.args[0], node.args[1], dtype=node.meta["val"].dtype)
    return weights.values.get(node)


def _constant(weights: WeightGraph, label: str, value: torch.Tensor) -> Node:
    node = weights.add_weight(label, value)
    weights.constants.add(node)
    return node


def scalars(weights: WeightGraph) -> None:
    """x op full(c) -> x op c, where the result's shape and dtype come from x alone."""
    for node in each(weights, *BINARY):
        for position, arg in enumerate(node.args[:2]):
            other = node.args[1 - position]
            if not isinstance(arg, fx.Node) or arg.target is not aten.full.default or not isinstance(other, fx.Node):
                continue
            commutes = node.target in (aten.add.Tensor, aten.mul.Tensor)
            if (position == 1 or commutes) and _same(other.meta["val"], node.meta["val"]):
                node.args = (other, arg.args[1], *node.args[2:])
                break
    weights.drop_dead()


def equal_to_itself(weights: WeightGraph) -> None:
    """`x == x` by way of `x != x`: torch-mlir folds the former to true, which it is not where x is NaN."""
    for node in each(weights, aten.eq.Tensor):
        x, other = node.args
        if x is other and x.meta["val"].is_floating_point():
            weights.replace(node, lambda call, x=x: call(aten.logical_not.default, call(aten.ne.Tensor, x, x)))


def round_scalars(weights: WeightGraph) -> None:
    """Rounds float literals of f32 operations to f32, so that no f64 constant is left to be truncated at run time."""
    for node in weights.graph.nodes:
        value = node.meta.get("val")
        if node.op == "call_function" and isinstance(value, torch.Tensor) and value.dtype == torch.float32:
            node.args = tuple(float(np.float32(a)) if isinstance(a, float) else a for a in node.args)
    for node in each(weights, *COMPARISONS):
        x, scalar = node.args
        if isinstance(x, fx.Node) and x.meta["val"].dtype == torch.float32:
            weights.replace(node, lambda call, op=COMPARISONS[node.target], x=x, c=scalar: _compare(call, op, x, c))


def _compare(call: Call, op: Any, x: Node, scalar: Any) -> Node:
    return call(op, x, call(aten.full.default, [], float(np.float32(scalar)), dtype=torch.float32))
