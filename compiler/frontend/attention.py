"""Scaled dot-product attention as matmul, softmax, matmul."""

from __future__ import annotations

import math

import torch

from compiler.frontend.graph import Call, Node, WeightGraph, aten, each


def attention(weights: WeightGraph) -> None:
    """scaled_dot_product_attention -> matmul, softmax, matmul, grouped queries included."""
    for node in each(weights, aten.scaled_dot_product_attention.default):
        weights.replace(node, lambda call, n=node: _attention(weights, call, n))
    weights.drop_dead()


def _attention(weights: WeightGraph, call: Call, node: Node) -> Node:
    bound = dict(zip(("q", "k", "v", "attn_mask", "dropout_p", "is_causal"), node.args, strict=False)) | node.kwargs
    q, k, v = (bound[name] for name in "qkv")
    shape = q.meta["val"].shape
    if bound.get("enable_gqa"):
        k, v = (_repeat_heads(call, x, shape[-3]) for x in (k, v))
    scale = bound.get("scale") or 1 / math.sqrt(shape[-1])
    rank = len(shape)
    swap = [*range(rank - 2), rank - 1, rank - 2]
    scores = call(aten.mul.Tensor, _matmul(call, q, call(aten.permute.default, k, swap)), scale)
    mask = bound.get("attn_mask")
    if bound.get("is_causal"):
        rows, columns = scores.meta["val"].shape[-2:]
        mask = weights.add_weight("constant.causal", torch.ones(rows, columns, dtype=torch.bool).tril())
        weights.constants.add(mask)
    if mask is not None:
        scores = call(aten.add.Tensor, scores, _additive(weights, call, mask, scores.meta["val"].dtype))
    return _matmul(call, _softmax(weights, call, scores, mask), v)


def _repeat_heads(call: Call, x: Node, heads: int) -> Node:
    *batch, groups, rows, width = x.meta["val"].shape
    if groups == heads:
        return x
    x = call(aten.unsqueeze.default, x, len(batch) + 1)
    x = call(aten.expand.default, x, [*batch, groups, heads // groups, rows, width])
    return call(aten.reshape.default, call(aten.clone.default, x), [*batch, heads, rows, width])


def _matmul(call: Call, a: Node, b: Node) -> Node:
    *batch, rows, depth = a.meta["val"].shape
    columns = b.meta["val"].shape[-1]
    flat_a = call(aten.reshape.default, call(aten.clone.default, a), [math.prod(batch), rows, depth])
    flat_b = call(aten.reshape.default, call(aten.clone.default, b), [math.prod(batch), depth, columns])
    return call(aten.reshape.default, call(aten.bmm.default, flat_a, flat_b), [*batch, rows, columns])


def _additive(weights: WeightGraph, call: Call, mask: Node, dtype: torch.dtype) -> Node:
    if mask.meta["val"].dtype != torch.bool:
        return mask
    if mask in weights.values:
        values = torch.zeros(mask.meta["val"].shape, dtype=dtype).masked_fill(~weights.values[mask], -math.inf)
        additive = weights.add_weight(f"{weights.labels[mask]}.additive", values)
        weights.constants.add(additive)
        return additive
    zero, minus = (call(aten.full.default, [], x, dtype=dtype) for x in (0.0, -math.inf))
    return call(aten.where.self, mask, zero, minus)


def _softmax(weights: WeightGraph, call: Call, scores: Node, mask: Node | None) -> Node:
    """Softmax over the last dimension; a row whose every score is -inf gives zeros, as in torch."""
    top = call(aten.amax.default, scores, [-1], True)
    e = call(aten.exp.default, call(aten.sub.Tensor, scores, top))
    soft = call(aten.mul.Tensor, e, call(aten.reciprocal.default, call(aten.sum.dim_IntList, e, [-1], True)))
    if not _may_mask_whole_row(weights, mask):
        return soft
    empty = call(aten.eq.Scalar, top, -math.inf)
    zero = call(aten.full.default, [], 0.0, dtype=scores.meta["val"].dtype)
    return call(aten.where.self, empty, zero, soft)


def _may_mask_whole_row(weights: WeightGraph, mask: Node | None) -> bool:
    if mask is None:
        return False
    if mask not in weights.values:
        return mask.target is not aten.full.default
    value = weights.values[mask]
    masked = ~value if value.dtype == torch.bool else value == -math.inf
    return bool(masked.all(-1).any())
