"""Tuning: where measurements go, what they change, what is kept, and that nothing is measured unless asked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import contextmanager
from math import inf
from typing import Any

import numpy as np
import pytest
import torch

from compiler import tune as tuning
from compiler.cache import Cache
from compiler.driver import CompileOptions, Stages, build_program, compile_model, lower_model, relative_error
from compiler.frontend.load import from_module
from compiler.frontend.model import ImportedModel
from compiler.plan.steps import KernelCall, LoopStep
from compiler.tune import Memory, TuneOptions, runs_of, tune
from costmodel.errors import SeercError
from costmodel.protocol import load_cost_model
from costmodel.target import Target
from passes.tiling.schedule import Schedule

X = torch.randn(16, 64)


def model() -> tuple[torch.nn.Module, ImportedModel]:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.GELU(), torch.nn.Linear(256, 64)).eval()
    return module, from_module(module, (X,), "tiny").imported


def law(candidate: str) -> float:
    """ns of a candidate, unlike any prediction: by the hash of its schedule."""
    schedule = Schedule.parse(candidate.partition("seerc.schedule = ")[2].partition("}")[0])
    return 1000.0 * (1 + int(hashlib.sha256(str(schedule).encode()).hexdigest()[:4], 16) / 2**14)


class Pool:
    """Measures by a law, in this process; `fails_at` calls it is interrupted."""

    def __init__(self, law: Callable[[str], float], fails_at: float = inf) -> None:
        self.law, self.fails_at = law, fails_at
        self.asked: list[str] = []

    @contextmanager
    def __call__(self, jobs: int) -> Generator[Pool]:
        del jobs
        yield self

    def schedule(self, work: Any, args: tuple[Any, ...], timeout: float) -> Future[dict[str, Any]]:
        assert work.__name__ == "measure_candidate"
        assert timeout > 0
        future: Future[dict[str, Any]] = Future()
        if len(self.asked) >= self.fails_at:
            future.set_exception(KeyboardInterrupt())
            return future
        self.asked.append(args[1])
        latency = self.law(args[1])
        if latency == inf:
            future.set_exception(SeercError("does not compile"))
        else:
            future.set_result({"metrics": {"latency_ns": latency}, "latency_spread": 0.0})
        return future


@pytest.fixture(scope="module")
def stages() -> Stages:
    return lower_model(model()[1], CompileOptions("analytic", jobs=1))


def tuned(stages: Stages, pool: Pool, monkeypatch: pytest.MonkeyPatch, budget: int, cache: Cache | None = None):
    monkeypatch.setattr(tuning, "compile_pool", pool)
    cost = load_cost_model("analytic")
    assert cost is not None
    options = TuneOptions(budget, jobs=1, batch=4)
    return tune(stages.planned, stages.choices, cost, stages.target, options, cache, lambda _: None)


def test_the_fastest_measured_schedule_is_chosen(stages, monkeypatch):
    pool = Pool(law)
    choices = tuned(stages, pool, monkeypatch, 40)
    assert 0 < len(pool.asked) <= 40
    assert all("parallel = false" in text for text in pool.asked)
    for key, choice in choices.items():
        times = [law(text) for text in pool.asked if f"@{key}(" in text]
        assert choice.trials == len(times)
        if choice.measured_ns is not None:
            assert choice.measured_ns == min(times)
            assert str(choice.schedule) in choice.candidate
            assert choice.predicted["latency_ns"].value > 0


def test_a_candidate_that_fails_is_not_chosen(stages, monkeypatch):
    pool = Pool(lambda text: inf if law(text) < 2500 else law(text))
    for choice in tuned(stages, pool, monkeypatch, 24).values():
        assert choice.measured_ns is None or choice.measured_ns >= 2500


def test_what_was_measured_is_reused(stages, monkeypatch, tmp_path):
    cache = Cache(tmp_path)
    first, second, third = Pool(law), Pool(law), Pool(law)
    found = tuned(stages, first, monkeypatch, 12, cache)
    assert tuned(stages, second, monkeypatch, 12, cache) == found
    assert not second.asked
    tuned(stages, third, monkeypatch, 20, cache)
    assert len(third.asked) == 8
    assert not set(third.asked) & set(first.asked)


def test_an_interrupted_run_keeps_its_points(stages, monkeypatch, tmp_path):
    cache = Cache(tmp_path)
    broken, resumed = Pool(law, fails_at=6), Pool(law)
    with pytest.raises(KeyboardInterrupt):
        tuned(stages, broken, monkeypatch, 16, cache)
    tuned(stages, resumed, monkeypatch, 16, cache)
    assert (len(broken.asked), len(resumed.asked)) == (6, 10)
    assert not set(broken.asked) & set(resumed.asked)


def test_it_stops_when_nothing_is_to_be_gained(stages, monkeypatch):
    """The best is measured far below all predictions, and the law is the prediction otherwise."""
    cost = load_cost_model("analytic")
    assert cost is not None
    exact = Pool(lambda text: cost.predict([text], stages.target, ("latency_ns",))[0]["latency_ns"].value)
    tuned(stages, exact, monkeypatch, 100_000)
    every = sum(min(c.considered, tuning.FASTEST) for c in stages.choices.values())
    assert len(exact.asked) < every / 2


def test_the_budget_goes_where_the_time_is(stages):
    cost = load_cost_model("analytic")
    assert cost is not None
    kernels = tuning._kernels(stages.planned, stages.choices, cost, stages.target)  # pyright: ignore[reportPrivateUsage]
    rare, often = kernels[0], kernels[-1]
    scaled = [tuning.replace(rare, calls=1), tuning.replace(often, calls=10**6)]
    assert {key for key, _ in tuning.choose_batch(scaled, 6)} == {often.key}


def test_calls_in_loops_count_as_often_as_they_run():
    once, inner = KernelCall("a", (), ()), KernelCall("b", (), ())
    assert runs_of([once, LoopStep(3, (once, LoopStep(5, (inner,))))]) == {"a": 4, "b": 15}


def test_memory_is_of_one_kind_of_machine(tmp_path):
    memory = Memory(Cache(tmp_path), Target("here"))
    memory.put("text", 12.5)
    memory.put("bad", inf)
    assert (memory.get("text"), memory.get("bad"), memory.get("other")) == (12.5, inf, None)
    assert Memory(Cache(tmp_path), Target("there")).get("text") is None


def test_a_compile_without_tuning_measures_nothing_and_repeats(monkeypatch):
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("measured")

    for name in ("compiler.measure.measure_candidate", "compiler.measure.time_calls", "compiler.tune.tune"):
        monkeypatch.setattr(name, refuse)
    plans: list[bytes] = []
    imported = from_module(torch.nn.Linear(32, 64).eval(), (torch.randn(4, 32),), "one").imported
    for _ in range(2):
        plan = dict(compile_model(imported, CompileOptions("default", cache=False, jobs=1)).plan)
        del plan["seconds"]
        plans.append(json.dumps(plan).encode())
    assert plans[0] == plans[1]


def test_a_tuned_program_is_right_and_says_what_was_measured():
    module, imported = model()
    options = CompileOptions("analytic", jobs=1, tune=3)
    program = build_program(imported, lower_model(imported, options))
    reference = module(X).detach().numpy()
    assert relative_error(program(X.numpy()), [reference]) < 1e-4
    kernels = program.plan["kernels"]
    assert sum(k["trials"] for k in kernels) == 3
    assert np.all([k["tuned_ns"] is None or k["tuned_ns"] > 0 for k in kernels])


def test_tuning_needs_a_cost_model():
    with pytest.raises(SeercError, match="none"):
        CompileOptions("none", tune=8)
    with pytest.raises(SeercError, match="-1"):
        CompileOptions(tune=-1)
