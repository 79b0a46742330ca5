"""The belief of a workload's latencies: what a measurement changes, and what one more is worth."""

from __future__ import annotations

import numpy as np
import pytest

from costmodel.protocol import Value
from costmodel.residual import NOISE, SHARES, Belief, prior, prior_of
from costmodel.schedules import schedules

TEXTS = [
    "{rows = 4 : i64, vectors = 2 : i64}",
    "{rows = 4 : i64, unroll = 2 : i64, vectors = 2 : i64}",
    "{rows = 1 : i64, vectors = 6 : i64}",
    '{algorithm = "winograd2", rows = 4 : i64, vectors = 2 : i64}',
    "{pack = false, rows = 4 : i64, vectors = 2 : i64}",
]


def belief(mean: float | list[float] = 0.0, deviation: float = 0.4) -> Belief:
    count = len(TEXTS)
    return prior_of(np.full(count, 0.0) + mean, np.full(count, deviation), schedules(TEXTS))


def test_the_prior_is_the_prediction_and_its_interval():
    predictions = [
        {"latency_ns": Value(v, v * np.exp(-0.33), v * np.exp(0.33))} for v in (10.0, 20.0, 30.0, 40.0, 50.0)
    ]
    made = prior(predictions, schedules(TEXTS))
    np.testing.assert_allclose(np.exp(made.mean), [10, 20, 30, 40, 50])
    np.testing.assert_allclose(np.sqrt(np.diag(made.covariance)), 0.33 / 1.6449)
    assert np.linalg.eigvalsh(made.covariance).min() > 0


def test_a_measured_schedule_is_as_measured_and_similar_ones_follow():
    after = belief().given(0, 0.5)
    assert after.mean[0] == pytest.approx(0.5, abs=NOISE / 10)
    assert np.sqrt(after.covariance[0, 0]) < NOISE
    similar, far, algorithm, unpacked = after.mean[1:]
    assert 0.5 > similar > far > algorithm == pytest.approx(unpacked)
    assert algorithm == pytest.approx(0.5 * SHARES[0], rel=0.02)
    assert (np.diag(after.covariance) < np.diag(belief().covariance)).all()


def test_the_order_of_measurements_does_not_matter():
    one, other = belief().given(0, 0.3).given(2, -0.2), belief().given(2, -0.2).given(0, 0.3)
    np.testing.assert_allclose(one.mean, other.mean)
    np.testing.assert_allclose(one.covariance, other.covariance, atol=1e-12)
    assert one.misfit == pytest.approx(other.misfit)


def test_improvement_agrees_with_sampling():
    made = belief([0.0, 0.05, 0.1, 0.3, -0.1]).given(4, -0.1)
    draws = np.random.default_rng(0).multivariate_normal(made.mean, made.covariance, 200_000) - made.mean[4]
    fall = np.maximum(0.0, -made.scale * (draws - draws.mean(axis=0)) - draws.mean(axis=0)).mean(axis=0)
    np.testing.assert_allclose(made.improvement()[:4], 1 - np.exp(-fall[:4]), atol=0.003)
    assert made.improvement()[4] == 0


def test_the_present_best_is_measured_first():
    made = belief([0.2, 0.1, 0.0, 0.3, 0.3])
    assert made.next == made.best == 2
    assert made.improvement()[2] == made.improvement().max() > 0
    assert made.given(2, 0.0).next != 2


def test_nothing_is_to_be_gained_where_all_is_known_or_far_behind():
    far = belief([0.0, 9.0, 9.0, 9.0, 9.0], deviation=0.1).given(0, 0.0)
    assert far.improvement().max() < 1e-6
    known = belief()
    for index in range(len(TEXTS)):
        known = known.given(index, 0.1 * index)
    assert known.best == 0
    assert not known.improvement().any()


def test_surprises_widen_the_belief():
    calm, surprised = belief().given(0, 0.01).given(2, 0.0), belief().given(0, 2.0).given(2, -2.0)
    assert calm.scale < 1 < surprised.scale
    assert surprised.scale > 1.5


def test_a_schedule_that_failed_is_never_best_nor_next():
    made = belief([-5.0, 0.0, 0.1, 0.2, 0.3]).without(0)
    assert made.best == 1
    assert made.measured[0]
    assert made.improvement()[0] == 0
    assert np.isfinite(made.improvement()).all()
    after = made.given(1, 0.4)
    assert after.mean[0] == np.inf
    assert np.isfinite(after.mean[1:]).all()
