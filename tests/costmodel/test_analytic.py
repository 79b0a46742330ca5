"""The analytic model ranks as the hardware does where that is known, and its facts follow the layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from costmodel.analytic import AnalyticModel
from costmodel.facts import facts
from costmodel.features import feature_names, features
from costmodel.schedules import schedules
from costmodel.target import Target
from costmodel.text import join_candidate
from costmodel.workload import parse_workload


def latency(text: str, schedule: str, target: Target) -> float:
    return AnalyticModel().predict([join_candidate(text, schedule)], target)[0]["latency_ns"].value


def test_a_register_tile_that_fits_beats_one_that_spills_and_one_that_starves(
    matmul: Callable[..., str], schedule: Callable[..., str], target: Target
) -> None:
    text = matmul(768, 768, 768)
    fits, spills, starves = (latency(text, schedule(r, v), target) for r, v in ((6, 2), (8, 2), (1, 1)))
    assert fits < spills < starves
    plain = latency(text, '{algorithm = "plain"}', target)
    assert plain > 4 * fits
    assert 0.5 < 2 * 768**3 / fits / target.peak_gflops_core < 1.0


def test_metrics_of_a_tile_that_spills(
    matmul: Callable[..., str], schedule: Callable[..., str], target: Target
) -> None:
    text = matmul(768, 768, 768)
    fits, spills = AnalyticModel().predict([join_candidate(text, schedule(r, 2)) for r in (6, 8)], target)
    assert fits["spills"].value == 0 < spills["spills"].value
    assert fits["registers"].value == 15
    wide = replace(target, vector_registers=32)
    assert AnalyticModel().predict([join_candidate(text, schedule(8, 2))], wide)[0]["spills"].value == 0


def test_a_slower_memory_slows_down_what_does_not_fit(
    matmul: Callable[..., str], schedule: Callable[..., str], target: Target
) -> None:
    slow = replace(target, bandwidth_gbs=1.0)
    big, small = matmul(1, 8192, 4096), matmul(48, 64, 64)
    assert latency(big, schedule(1, 4), slow) > 3 * latency(big, schedule(1, 4), target)
    assert latency(small, schedule(6, 2), slow) == latency(small, schedule(6, 2), target)


def test_facts_follow_the_strides(matmul: Callable[..., str]) -> None:
    found = facts(parse_workload(matmul(100, 200, 300)))
    assert (found.rows, found.columns, found.reduction) == (100, 200, 300)
    assert (found.columns_constant, found.columns_stride) == (1, 300)
    assert found.macs == 100 * 200 * 300
    turned = matmul(100, 200, 300).replace("array<i64: 200, 1>", "array<i64: 1, 100>")
    assert facts(parse_workload(turned)).columns == 100


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 7, 3), (512, 512, 512)])
def test_features_are_finite_and_named(matmul: Callable[..., str], target: Target, shape: tuple[int, int, int]) -> None:
    every = schedules(
        [None, "{rows = 9 : i64}", '{algorithm = "winograd4"}', '{algorithm = "row"}', '{algorithm = "plain"}']
    )
    matrix, prior = features(facts(parse_workload(matmul(*shape, gelu=True))), every, target)
    assert matrix.shape == (5, len(feature_names()))
    assert len(set(feature_names())) == len(feature_names())
    assert abs(matrix).max() < 1e9
    assert all((values >= 0).all() and values.shape == (5,) for values in prior.values())
    assert (prior["latency_ns"] > 0).all()
