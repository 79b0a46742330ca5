"""Ops, graphs and architectures: the same for a seed, within their limits, and of use to the cost model."""

from __future__ import annotations

import random

import pytest

from compiler.collect import CollectOptions, Workload, is_taken, sample_schedules, workloads_of
from compiler.frontend.model import ImportedModel
from compiler.target import detect_target
from compiler.workloads.graphs import graph_model
from compiler.workloads.hf import ARCHITECTURES, hf_model
from compiler.workloads.ops import FAMILIES, op_model
from costmodel.facts import facts
from costmodel.workload import parse_workload
from passes.tiling.candidate import read_template


def check(model: ImportedModel) -> list[Workload]:
    """Every workload can be read and scheduled."""
    found = workloads_of([model])
    for workload in found:
        assert facts(parse_workload(workload.text)).points > 0
        assert sample_schedules(read_template(workload.text), detect_target(), CollectOptions())
        assert set(workload.networks) == {model.name}
    return found


@pytest.mark.parametrize("number", range(len(FAMILIES)), ids=sorted(FAMILIES))
def test_every_op_family_gives_workloads(number: int) -> None:
    model = op_model(number, 3)
    assert model.name == f"op-{sorted(FAMILIES)[number]}"
    assert check(model)


def test_graphs_have_several_workloads() -> None:
    found = [len(check(graph_model(number, 3))) for number in range(6)]
    assert sum(found) > 30
    assert graph_model(3, 0).name == "graph-3"
    assert graph_model(3, 1).name == "graph-3-1"


def test_a_seed_is_a_text() -> None:
    for make in (op_model, graph_model):
        assert make(7, 0).text == make(7, 0).text
        assert make(7, 0).text != make(7, 1).text
    assert op_model(7, 0).text != op_model(7 + len(FAMILIES), 0).text


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_s_seed_is_a_configuration(name: str) -> None:
    draw = ARCHITECTURES[name].draw
    assert draw(random.Random("x")) == draw(random.Random("x"))
    assert len({str(draw(random.Random(k))) for k in range(8)}) > 1


def test_an_architecture_gives_the_workloads_of_its_network() -> None:
    model = hf_model("opt", 3)
    assert model.name == "opt-3"
    kinds = [parse_workload(w.text).kind for w in check(model)]
    assert kinds.count("contraction") >= 4
    assert "row" in kinds


def test_only_workloads_of_the_kinds_asked_for_are_taken() -> None:
    found = [w for number in range(6) for w in workloads_of([graph_model(number, 3)])]
    rows = [w for w in found if is_taken(w.text, CollectOptions(kinds=("row", "reduction")))]
    assert 0 < len(rows) < len(found)
    assert {facts(parse_workload(w.text)).kind for w in rows} <= {"row", "reduction"}
