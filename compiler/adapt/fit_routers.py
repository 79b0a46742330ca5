"""Routers of a trained decoder: which tokens need a layer, guessed from the stream before it.

What a layer does to a token is its block influence, 1 - cos(x, x') (ShortGPT, arXiv 2403.03853). A ridge regression of
its logarithm on x is fitted layer by layer, on the stream that the layers before leave when their own routers choose;
the penalty is that of least leave-one-out error. The threshold is the score, predicted with the token left out, that
the share k of the tokens exceeds. Nothing else of the model changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from compiler.adapt.plan import Router
from compiler.adapt.routed import RoutedRuns

_PENALTIES = tuple(10.0**power for power in range(-1, 6))
"""Of the squared weights, for standardised numbers of the stream."""
_LEAST = 1e-6


def fit_routers(runs: RoutedRuns, capacities: Mapping[int, float]) -> tuple[Router, ...]:
    """A router for each layer of `capacities`, fitted on all tokens of the runs' texts."""
    routers = list[Router]()

    def choose(layer: int, stream: Tensor, behind: Tensor) -> Tensor:
        influence = 1 - torch.cosine_similarity(stream, behind, dim=-1)
        target = influence[runs.valid].clamp(min=_LEAST).log()
        fitted = fit_ridge(stream[runs.valid].double().numpy(), target.double().numpy())
        bias = fitted.bias - float(np.quantile(fitted.left_out, 1 - capacities[layer]))
        routers.append(Router(layer, capacities[layer], bias, tuple(fitted.weights.tolist())))
        return scores(routers[-1], stream) > 0

    runs.routed(sorted(capacities), choose)
    return tuple(routers)


def routed_by(runs: RoutedRuns, routers: Sequence[Router]) -> dict[int, Tensor]:
    """By layer, the tokens [B, T] that take it when routers choose."""
    by_layer = {router.layer: router for router in routers}
    return runs.routed(sorted(by_layer), lambda layer, stream, _: scores(by_layer[layer], stream) > 0)


def scores(router: Router, stream: Tensor) -> Tensor:
    """[B, T, d] -> [B, T]."""
    return stream @ torch.tensor(router.weights, dtype=stream.dtype) + router.bias


@dataclass(frozen=True)
class Ridge:
    """y ~ x . weights + bias; `left_out` [n]: each y as predicted without it."""

    weights: np.ndarray
    bias: float
    left_out: np.ndarray


def fit_ridge(x: np.ndarray, y: np.ndarray, penalties: Sequence[float] = _PENALTIES) -> Ridge:
    """Ridge regression of y [n] on x [n, d], both standardised, with the penalty of least leave-one-out error."""
    mean, scale = x.mean(0), x.std(0) + 1e-12
    left, size, right = np.linalg.svd((x - mean) / scale, full_matrices=False)
    centre = y.mean()
    turned = left.T @ (y - centre)

    def left_out(penalty: float) -> np.ndarray:
        shrunk = size**2 / (size**2 + penalty)
        hats = (left**2) @ shrunk + 1 / len(y)
        return y - (y - centre - left @ (shrunk * turned)) / np.maximum(1 - hats, 1e-9)

    best = min(penalties, key=lambda penalty: float(((y - left_out(penalty)) ** 2).sum()))
    weights = right.T @ (size / (size**2 + best) * turned) / scale
    return Ridge(weights, float(centre - mean @ weights), left_out(best))
