"""Evaluates at build time everything in a graph that depends on no user input."""

from __future__ import annotations

import hashlib
import operator
from typing import Any

import torch
from torch.fx.node import map_arg

from compiler.frontend.graph import Call, Node, WeightGraph, aten, each

Known = dict[Node, Any]

RANDOM = torch.Tag.nondeterministic_seeded


def fold(weights: WeightGraph) -> None:
    """Replaces every known value that an unknown node or the output uses by a weight placeholder.

    Known means: computed from weights, buffers and literals only. Views stay views of the original tensor, so a
    transposed weight costs no memory. Values that hold no trained weight and are splat become `aten.full`.
    """
    known, trained = _evaluate(weights)
    made: dict[Any, Node] = {}
    for node, value in known.items():
        frontier = [u for u in node.users if u not in known]
        if node in weights.values or not frontier or not isinstance(value, torch.Tensor):
            continue
        if node not in trained and _is_splat(value):
            if node.target is not aten.full.default:
                weights.replace(node, lambda call, v=value: _full(call, v))
            continue
        replacement = _weight_for(weights, node, value, node in trained, made)
        for user in frontier:
            new = _expanded(weights, user, replacement, value)
            user.replace_input_with(node, new)
    weights.drop_dead()


def share_constants(weights: WeightGraph) -> None:
    """Keeps one of several weight placeholders that hold the same constant."""
    kept: dict[Any, Node] = {}
    for node in [n for n in weights.graph.nodes if n in weights.constants]:
        value = weights.values[node]
        first = kept.setdefault(_content(value), node)
        if first is not node:
            node.replace_all_uses_with(first)
    weights.drop_dead()


def _content(value: torch.Tensor) -> Any:
    data = value.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
    return hashlib.sha256(data).digest(), value.dtype, tuple(value.shape)


def _evaluate(weights: WeightGraph) -> tuple[Known, set[Node]]:
    """(value of every known node, the known nodes that depend on a trained weight)."""
    known: Known = dict(weights.values)
    trained = set(weights.values) - weights.constants
    for node in weights.graph.nodes:
        if node.op != "call_function" or any(n not in known for n in node.all_input_nodes) or not _is_pure(node):
            continue
        args, kwargs = map_arg((node.args, node.kwargs), known.__getitem__)
        with torch.no_grad():
            known[node] = node.target(*args, **kwargs)
        if any(n in trained for n in node.all_input_nodes):
            trained.add(node)
    return known, trained


def _is_pure(node: Node) -> bool:
    target: Any = node.target
    if target is operator.getitem:
        return True
    schema = getattr(target, "_schema", None)
    return schema is not None and RANDOM not in target.tags and not schema.is_mutable and bool(schema.returns)


def _is_splat(value: torch.Tensor) -> bool:
    return value.numel() > 0 and bool((value == value.flatten()[0]).all())


def _full(call: Call, value: torch.Tensor) -> Node:
    return call(aten.full.default, list(value.shape), value.flatten()[0].item(), dtype=value.dtype)


def _weight_for(weights: WeightGraph, node: Node, value: torch.Tensor, trained: bool, made: dict[Any, Node]):
    """The placeholder for `value`, shared between equal views and between equal constants."""
    compact = _without_broadcast(value)
    key: Any = (compact.data_ptr(), compact.dtype, tuple(compact.shape), compact.stride())
    if not trained:
        key = _content(compact)
    if key not in made:
        made[key] = weights.add_weight(_label(weights, node, compact, trained), compact)
        if not trained:
            weights.constants.add(made[key])
    return made[key]


def _label(weights: WeightGraph, node: Node, value: torch.Tensor, trained: bool) -> str:
    """The name of the one trained weight that `node` comes from, else the node's own."""
    if not trained:
        return f"constant.{node.name}"
    seen: set[Node] = set()
    stack, origins = [node], list[str]()
    while stack:
        current = stack.pop()
        if current in seen:
            continue
        seen.add(current)
        if current in weights.values and current not in weights.constants:
            origins.append(weights.labels[current])
        stack.extend(current.all_input_nodes)
    base = min(origins)
    is_view = any(weights.labels[n] == base and v.data_ptr() == value.data_ptr() for n, v in weights.values.items())
    return f"{base}.view" if is_view else f"{base}.folded"


def _without_broadcast(value: torch.Tensor) -> torch.Tensor:
    """`value` with its broadcast (stride 0) dimensions cut to size 1."""
    for dim, (size, stride) in enumerate(zip(value.shape, value.stride(), strict=True)):
        if stride == 0 and size > 1:
            value = value.narrow(dim, 0, 1)
    return value


BROADCASTING = (
    aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor, aten.where.self, aten.maximum.default,
    aten.minimum.default, aten.eq.Tensor, aten.ne.Tensor, aten.lt.Tensor, aten.le.Tensor, aten.gt.Tensor,
    aten.ge.Tensor, aten.bitwise_and.Tensor, aten.bitwise_or.Tensor, aten.logical_and.default,
)  # fmt: skip


def _expanded(weights: WeightGraph, user: Node, compact: Node, value: torch.Tensor) -> Node:
    """`compact` itself where `user` broadcasts it anyway, else an explicit expand before `user`."""
    if compact.meta["val"].shape == value.shape:
        return compact
    if user.target in BROADCASTING:
        others = [n.meta["val"].shape for n in user.all_input_nodes if n.meta["val"].shape != value.shape]
        fixed = [n for n in user.all_input_nodes if n is not compact and n.meta["val"].shape == user.meta["val"].shape]
        if fixed and not others:
            return compact
    return Call(weights, user)(aten.expand.default, compact, list(value.shape))


def fold_batch_norm(weights: WeightGraph) -> None:
    """Folds per-channel `* scale` and `+ shift` of weights after a convolution into its weight and bias.

    Only where the convolution feeds nothing else. Exact but for rounding: (w * s) x + (b * s + t) in f32.
    """
    for conv in each(weights, aten.convolution.default):
        while (user := _channel_update(weights, conv)) is not None:
            _absorb(weights, conv, user)
    weights.drop_dead()


def _channel_update(weights: WeightGraph, conv: Node) -> Node | None:
    """The only user of `conv`, if it multiplies or adds one weight a channel; None otherwise."""
    if len(conv.users) != 1 or conv.args[6]:  # args[6]: transposed
        return None
    user = next(iter(conv.users))
    if user.target not in (aten.mul.Tensor, aten.add.Tensor) or user.kwargs or len(user.args) != 2:
        return None
    other = user.args[1] if user.args[0] is conv else user.args[0]
    if other not in weights.values or conv.args[1] not in weights.values:
        return None
    if conv.args[2] is not None and conv.args[2] not in weights.values:
        return None
    channels, rank = conv.meta["val"].shape[1], conv.meta["val"].dim()
    shape = list(other.meta["val"].shape)
    return user if [1] * (rank - len(shape)) + shape == [1, channels] + [1] * (rank - 2) else None


def _absorb(weights: WeightGraph, conv: Node, user: Node) -> None:
    other = user.args[1] if user.args[0] is conv else user.args[0]
    factor = weights.values[other].reshape(-1)
    weight, bias = weights.values[conv.args[1]], None if conv.args[2] is None else weights.values[conv.args[2]]
    if user.target is aten.mul.Tensor:
        _set(weights, conv, 1, weight * factor.view([-1] + [1] * (weight.dim() - 1)))
        bias = None if bias is None else bias * factor
    else:
        bias = factor if bias is None else bias + factor
    if bias is not None:
        _set(weights, conv, 2, bias)
    user.replace_all_uses_with(conv)
    weights.graph.erase_node(user)


def _set(weights: WeightGraph, conv: Node, position: int, value: torch.Tensor) -> None:
    """Gives `conv` the folded weight (1) or bias (2): in its own placeholder unless another node reads that too."""
    current = conv.args[position]
    if current is not None and len(current.users) == 1:
        weights.values[current] = value
        return
    name = weights.labels[conv.args[1]].removesuffix(".weight")
    conv.update_arg(position, weights.add_weight(f"{name}.{'weight' if position == 1 else 'bias'}", value))
