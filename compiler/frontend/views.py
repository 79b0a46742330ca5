"""Rewrites of views: merged, without unit dimensions, and moved out from between the operations that fuse."""

from __future__ import annotations

import math
from typing import Any

from torch import fx
from torch.fx.node import map_arg

from compiler.frontend.elementwise import BINARY, UNARY
from compiler.frontend.graph import Call, Node, WeightGraph, aten, each

VIEWS = (aten.view.default, aten.reshape.default, aten._unsafe_view.default)


def merge_views(weights: WeightGraph) -> None:
    """view(view(x)) -> reshape(x), with every target shape explicit (no -1): a view may not survive a dropped copy."""
    for node in each(weights, *VIEWS, aten.squeeze.dims, aten.unsqueeze.default):
        source = node.args[0]
        while source.target in VIEWS:
            source = source.args[0]
        shape = list(node.meta["val"].shape)
        if source is not node.args[0] or node.target is not aten.reshape.default or list(node.args[1]) != shape:
            weights.replace(node, lambda call, s=source, sh=shape: call(aten.reshape.default, s, sh))
    weights.drop_dead()


REDUCTIONS = {aten.sum.dim_IntList, aten.amax.default}


def select_from_cat(weights: WeightGraph) -> None:
    """select(cat([a, b, ...]), 0, i) of single rows -> the row: the last hidden state of stacked LSTM layers."""
    for node in each(weights, aten.select.int):
        cat, dim, index = node.args
        if cat.target is not aten.cat.default or dim != 0 or (len(cat.args) > 1 and cat.args[1] != 0):
            continue
        rows = cat.args[0]
        if all(r.meta["val"].shape[0] == 1 for r in rows):
            shape = list(node.meta["val"].shape)
            weights.replace(node, lambda call, row=rows[index], sh=shape: call(aten.reshape.default, row, sh))
    weights.drop_dead()


def merge_permutes(weights: WeightGraph) -> None:
    """permute(permute(x)) -> permute(x)."""
    for node in each(weights, aten.permute.default):
        inner = node.args[0]
        if inner.target is aten.permute.default:
            rank = node.meta["val"].dim()
            order = [inner.args[1][d % rank] for d in node.args[1]]
            node.args = (inner.args[0], order)
    weights.drop_dead()


def drop_unit_permutes(weights: WeightGraph) -> None:
    """permute(x) with size-1 dimensions -> view(permute(view(x))) without them, or a mere view."""
    for node in each(weights, aten.permute.default):
        shape = list(node.args[0].meta["val"].shape)
        if 1 not in shape:
            continue
        kept = [d for d, size in enumerate(shape) if size != 1]
        order = [kept.index(d % len(shape)) for d in node.args[1] if shape[d] != 1]

        squeezed = [shape[d] for d in kept]
        weights.replace(node, lambda call, n=node, order=order, sq=squeezed: _squeezed_permute(call, n, order, sq))


def _squeezed_permute(call: Call, node: Node, order: list[int], squeezed: list[int]) -> Node:
    x = call(aten.reshape.default, node.args[0], squeezed)
    if order != sorted(order):
        x = call(aten.permute.default, x, order)
    return call(aten.reshape.default, x, list(node.meta["val"].shape))


def flatten_embeddings(weights: WeightGraph) -> None:
    """embedding(ids[B, T]) -> reshape(embedding(ids[B*T])), so that what follows can run on rows."""
    for node in each(weights, aten.embedding.default):
        table, ids = node.args[:2]
        if isinstance(ids, fx.Node) and ids.meta["val"].dim() > 1:

            def build(call: Call, table: Any = table, ids: Any = ids, shape: Any = node.meta["val"].shape) -> Node:
                rows = call(aten.embedding.default, table, call(aten.reshape.default, ids, [ids.meta["val"].numel()]))
                return call(aten.reshape.default, rows, list(shape))

            weights.replace(node, build)


def sink_views(weights: WeightGraph) -> None:
    """f(view(x), y) -> view(f(x, view(y))) where the view only splits x's first dimension.

    So [1, T, D] and [B, T, D] become the rows that the matmuls produce and consume, and the views between them cancel.
    """
    for node in list(weights.graph.nodes):
        if node.target in UNARY or node.target in BINARY or node.target in REDUCTIONS:
            _sink_one(weights, node)
    weights.drop_dead()


def _sink_one(weights: WeightGraph, node: Node) -> None:
    shape = list(node.meta["val"].shape)
    for source in node.all_input_nodes:
        if source.target not in VIEWS:
            continue
        inner = list(source.args[0].meta["val"].shape)
        lead = len(shape) - len(inner) + 1
        same = list(source.meta["val"].shape) == shape or node.target in REDUCTIONS
        if lead < 2 or not same or not inner or inner[1:] != list(source.meta["val"].shape)[lead:]:
            continue
        if node.target in REDUCTIONS and min(d % len(shape) for d in node.args[1]) < lead:
            continue
        if all(_row_shape(n, shape, lead) is not None for n in node.all_input_nodes):
            weights.replace(node, lambda call, lead=lead: _rows(call, node, shape, lead))
            return


def _row_shape(arg: Node, shape: list[int], lead: int) -> list[int] | None:
    """The shape of `arg` once the first `lead` dimensions of `shape` are one; None if it cannot be reshaped so."""
    own = list(arg.meta["val"].shape)
    if len(own) <= len(shape) - lead:
        return own
    if len(own) == len(shape) and own[:lead] == shape[:lead]:
        return [math.prod(own[:lead]), *own[lead:]]
    own = [1] * (len(shape) - len(own)) + own
    return [1, *own[lead:]] if own[:lead] == [1] * lead else None


def _rows(call: Call, node: Node, shape: list[int], lead: int) -> Node:
    def as_rows(arg: Node) -> Node:
        wanted = _row_shape(arg, shape, lead)
        if arg.target in VIEWS and list(arg.args[0].meta["val"].shape) == wanted:
            return arg.args[0]
        return arg if list(arg.meta["val"].shape) == wanted else call(aten.reshape.default, arg, wanted)

    args = map_arg(node.args, as_rows)
    if node.target in REDUCTIONS:
        args = (args[0], [d if d < 0 else d - lead + 1 for d in node.args[1]], *args[2:])
    return call(aten.reshape.default, call(node.target, *args, **node.kwargs), shape)
