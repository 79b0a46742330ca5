"""Decompositions of aten operations into ones that lower to plain f32 linalg."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten

# Kept whole by run_decompositions; rewrites.py and recurrent.py expand them once constants are known.
PRESERVED = (
    aten.scaled_dot_product_attention.default,
    aten.max_pool2d.default,
    aten.lstm.input,
)


def table() -> dict[Any, Any]:
    """torch.export's default decompositions with ours in place of those that go through f64 or produce odd linalg."""
    chosen: Any = torch.export.default_decompositions()
    for op in PRESERVED:
        chosen.pop(op, None)
    chosen.update(
        {
            aten.native_layer_norm.default: layer_norm,
            aten._native_batch_norm_legit_no_training.default: batch_norm,
            aten.native_batch_norm.default: batch_norm_eval,
            aten.native_group_norm.default: group_norm,
            aten.rms_norm.default: rms_norm,
            aten.addmm.default: addmm,
            aten.linear.default: linear,
            aten.gelu.default: gelu,
            aten.clamp.default: clamp,
            aten.hardtanh.default: hardtanh,
            aten._softmax.default: softmax,
            aten._log_softmax.default: log_softmax,
            aten.var.correction: var,
            aten.var_mean.correction: var_mean,
            aten.pow.Tensor_Scalar: power,
            aten.mean.dim: mean,
            aten.linalg_vector_norm.default: vector_norm,
        }
    )
    return chosen


def mean(x: Tensor, dim: list[int] | None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Sum times the reciprocal count, in the tensor's own precision."""
    dims = list(range(x.dim())) if not dim else [d % x.dim() for d in dim]
    x = x if dtype is None else x.to(dtype)
    return aten.sum.dim_IntList(x, dims, keepdim) / math.prod(x.shape[d] for d in dims)


def _centred(x: Tensor, dims: list[int]) -> tuple[Tensor, Tensor]:
    average = mean(x, dims, True)
    return x - average, average


def layer_norm(
    x: Tensor, shape: list[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Two passes over the row, all in f32 (torch-mlir's own goes through f64); returns (y, mean, 1/std)."""
    dims = list(range(x.dim() - len(shape), x.dim()))
    centred, average = _centred(x, dims)
    rstd = torch.rsqrt(mean(centred * centred, dims, True) + eps)
    return _affine(centred * rstd, weight, bias), average, rstd


def rms_norm(x: Tensor, shape: list[int], weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight; eps defaults to the type's epsilon, as in torch."""
    dims = list(range(x.dim() - len(shape), x.dim()))
    rstd = torch.rsqrt(mean(x * x, dims, True) + (torch.finfo(x.dtype).eps if eps is None else eps))
    return _affine(x * rstd, weight, None)


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def batch_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor, running_var: Tensor,
    momentum: float, eps: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Evaluation-mode batch norm as x * scale + shift, where scale and shift depend on weights only and so fold."""
    scale = torch.rsqrt(running_var + eps)
    scale = scale if weight is None else scale * weight
    shift = -running_mean * scale
    shift = shift if bias is None else shift + bias
    channel = [-1] + [1] * (x.dim() - 2)
    return x * scale.view(channel) + shift.view(channel), x.new_empty(0), x.new_empty(0)


def batch_norm_eval(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor, running_var: Tensor,
    training: bool, momentum: float, eps: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """As batch_norm; a model in training mode is refused."""
    if training:
        raise ValueError("batch norm in training mode: call module.eval() before compiling")
    return batch_norm(x, weight, bias, running_mean, running_var, momentum, eps)


def group_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, n: int, c: int, hxw: int, group: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalises over [channels/group, spatial]; x is [n, c, ...]."""
    flat, average, rstd = layer_norm(x.reshape(n, group, -1), [c // group * hxw], None, None, eps)
    channel = [-1] + [1] * (x.dim() - 2)
    weight = weight if weight is None else weight.view(channel)
    bias = bias if bias is None else bias.view(channel)
    return _affine(flat.view(x.shape), weight, bias), average.view(n, group), rstd.view(n, group)


def addmm(bias: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """matmul, then add: the shape that fuses as an epilogue."""
    product = torch.mm(a, b)
    product = product if alpha == 1 else product * alpha
    return product + (bias if beta == 1 else bias * beta)


def softmax(x: Tensor, dim: int, half_to_float: bool) -> Tensor:
    """exp(x - max) * (1 / sum): one division a row."""
    e = torch.exp(x - torch.amax(x, dim, keepdim=True))
    return e * torch.reciprocal(aten.sum.dim_IntList(e, [dim], True))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """One matmul over all rows, whatever the rank and strides of x; weight is [out, in]."""
    rows = torch.mm(x.reshape(-1, x.shape[-1]), weight.t())
    rows = rows if bias is None else rows + bias
    return rows.reshape([*x.shape[:-1], weight.shape[0]])


def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    """By erf, or by tanh where the model asks for it; multiplications instead of torch-mlir's division by sqrt(2)."""
    if approximate == "none":
        return x * 0.5 * (1 + torch.erf(x * math.sqrt(0.5)))
    return x * 0.5 * (1 + torch.tanh((x + x * x * x * 0.044715) * math.sqrt(2 / math.pi)))


def clamp(x: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    """By maximum and minimum, which keep NaN as torch.clamp does; torch-mlir's comparisons lose it."""
    if not x.is_floating_point():
        return NotImplemented
    x = x if min is None else torch.maximum(x, x.new_full((), min))
    return x if max is None else torch.minimum(x, x.new_full((), max))


def hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """clamp; ReLU6 is hardtanh(x, 0, 6)."""
    return clamp(x, min_val, max_val)


def log_softmax(x: Tensor, dim: int, half_to_float: bool) -> Tensor:
    """x - max - log(sum(exp(x - max)))."""
    centred = x - torch.amax(x, dim, keepdim=True)
    return centred - torch.log(aten.sum.dim_IntList(torch.exp(centred), [dim], True))


def var_mean(x: Tensor, dim: Any = None, *, correction: Any = None, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """Two-pass variance with Bessel's correction (default 1)."""
    dims = list(range(x.dim())) if not dim else [d % x.dim() for d in dim]
    centred, average = _centred(x, dims)
    count = math.prod(x.shape[d] for d in dims) - (1 if correction is None else correction)
    variance = aten.sum.dim_IntList(centred * centred, dims, keepdim) / count
    return variance, average if keepdim else average.reshape(variance.shape)


def var(x: Tensor, dim: Any = None, *, correction: Any = None, keepdim: bool = False) -> Tensor:
    """The variance of var_mean."""
    return var_mean(x, dim, correction=correction, keepdim=keepdim)[0]


def vector_norm(x: Tensor, ord: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The 2-norm as sqrt(sum(x^2)); other orders are left to torch-mlir."""
    if ord != 2:
        return NotImplemented
    dims = list(range(x.dim())) if dim is None else dim
    return torch.sqrt(aten.sum.dim_IntList(x * x, dims, keepdim))


def power(x: Tensor, exponent: float) -> Tensor:
    """Small powers as multiplications and roots; NotImplemented leaves the others alone."""
    if x.is_floating_point():
        if exponent == 2:
            return x * x
        if exponent == 3:
            return x * x * x
        if exponent in (0.5, -0.5):
            return torch.sqrt(x) if exponent > 0 else torch.rsqrt(x)
    return NotImplemented
