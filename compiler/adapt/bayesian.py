"""Bayesian optimisation over subsets, as SWIFT and Draft & Verify use it: a Gaussian process and an upper bound.

What their package (bayes_opt 1.5.1) does with its defaults: Matern 5/2, one length scale fitted by the marginal
likelihood, targets normalised, UCB maximised by random points and a few local descents; alpha = 1e-2, kappa = 2.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize, minimize_scalar

from costmodel.errors import SeercError


@dataclass
class BayesianOptimisation:
    """Proposes points of [0, 1]^dimensions; `points` and `targets` are what was registered."""

    dimensions: int
    seed: int = 0
    alpha: float = 1e-2
    kappa: float = 2.5
    samples: int = 10_000
    descents: int = 3
    points: list[np.ndarray] = field(default_factory=list[np.ndarray])
    targets: list[float] = field(default_factory=list[float])

    def register(self, point: np.ndarray, target: float) -> None:
        """Tell what a point is worth; higher is better."""
        if point.shape != (self.dimensions,):
            raise SeercError(f"a point of shape {point.shape} in a search over {self.dimensions} dimensions")
        self.points.append(point.astype(float))
        self.targets.append(float(target))

    def suggest(self) -> np.ndarray:
        """The point with the largest upper confidence bound; random before anything is registered."""
        random = np.random.default_rng((self.seed, len(self.points)))
        if not self.points:
            return random.random(self.dimensions)
        process = _fit(np.stack(self.points), np.array(self.targets), self.alpha)

        def loss(point: np.ndarray) -> float:
            mean, deviation = process.predict(point[None])
            return -float(mean[0] + self.kappa * deviation[0])

        candidates = random.random((self.samples, self.dimensions))
        mean, deviation = process.predict(candidates)
        order = np.argsort(-(mean + self.kappa * deviation))
        starts = candidates[order[: self.descents]]
        bounds = [(0.0, 1.0)] * self.dimensions
        ends = [minimize(loss, start, method="L-BFGS-B", bounds=bounds, options={"maxiter": 20}) for start in starts]
        return min(ends, key=lambda end: end.fun).x


@dataclass(frozen=True)
class _Process:
    points: np.ndarray
    scale: float
    factor: tuple[np.ndarray, bool]
    weights: np.ndarray

    def predict(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the normalised target at points [N, D]."""
        cross = _matern(at, self.points, self.scale)
        reduced = (cross * cho_solve(self.factor, cross.T).T).sum(1)
        return cross @ self.weights, np.sqrt(np.maximum(1.0 - reduced, 1e-12))


def _fit(points: np.ndarray, targets: np.ndarray, alpha: float) -> _Process:
    spread = targets.std() or 1.0
    normal = (targets - targets.mean()) / spread

    def solve(log_scale: float) -> tuple[float, _Process]:
        scale = math.exp(log_scale)
        kernel = _matern(points, points, scale) + alpha * np.eye(len(points))
        factor = cho_factor(kernel, lower=True)
        weights = cho_solve(factor, normal)
        loss = float(normal @ weights) / 2 + float(np.log(np.diag(factor[0])).sum())
        return loss, _Process(points, scale, factor, weights)

    fitted: Any = minimize_scalar(lambda x: solve(x)[0], bounds=(math.log(1e-2), math.log(1e2)), method="bounded")
    return solve(float(fitted.x))[1]


def _matern(left: np.ndarray, right: np.ndarray, scale: float) -> np.ndarray:
    square = (left * left).sum(1)[:, None] + (right * right).sum(1)[None] - 2 * left @ right.T
    distance = np.sqrt(5 * np.maximum(square, 0.0)) / scale
    return (1 + distance + distance**2 / 3) * np.exp(-distance)


def top_subset(point: np.ndarray, count: int) -> np.ndarray:
    """The 0/1 point with the `count` largest coordinates at 1."""
    chosen = np.zeros(len(point))
    chosen[np.argsort(-point, kind="stable")[:count]] = 1.0
    return chosen
