"""The method of the benchmark: fair turns, honest intervals, noise that is told, models that may crash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compiler import bench, timing
from compiler.bench import BenchOptions, bench_models, summary
from compiler.timing import Contestant, Timing, alternate, geometric_mean, ratio
from costmodel.errors import SeercError


def steady(seconds: float, rounds: int = 12) -> Timing:
    return Timing(tuple((seconds, seconds, seconds * 1.01) for _ in range(rounds)))


def test_every_round_gives_everyone_a_block_in_changing_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "REST_S", 0.0)
    turns: list[str] = []
    contestants = [Contestant(name, lambda name=name: turns.append(name)) for name in "abc"]
    found = alternate(contestants, seconds=0.0, rounds=8)
    assert {name: [len(block) for block in t.rounds] for name, t in found.items()} == dict.fromkeys("abc", [1] * 8)
    # A warm-up call each; then, a block, a call that does not count and one that does.
    assert turns[:3] == ["a", "b", "c"]
    rounds = [turns[3 + 6 * r : 9 + 6 * r] for r in range(8)]
    assert all(sorted(turn) == list("aabbcc") for turn in rounds)
    assert len({tuple(turn) for turn in rounds}) > 2


def test_a_ratio_is_the_peers_time_over_ours() -> None:
    found = ratio(steady(0.002), steady(0.005))
    assert found == timing.Ratio(pytest.approx(2.5), pytest.approx(2.5), pytest.approx(2.5))


def test_the_interval_holds_what_the_rounds_say() -> None:
    peer = Timing(tuple((s,) for s in (0.004, 0.005, 0.006) * 4))
    found = ratio(steady(0.001), peer)
    assert found.value == pytest.approx(5.0)
    assert 4.0 <= found.low < found.value < found.high <= 6.0


@pytest.mark.parametrize(
    ("blocks", "noisy"),
    [
        ([1.0] * 12, False),
        ([1.0, 1.04] * 6, False),
        ([1.0] * 6 + [1.08] * 6, True),  # drift
        ([1.0, 1.3] * 6, True),  # spread
        ([1.0] * 11 + [9.0], False),  # one interruption
    ],
)
def test_noise(blocks: list[float], noisy: bool) -> None:
    assert Timing(tuple((block,) for block in blocks)).noisy == noisy


def record(model: str, eager: float, noisy: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"model": model, "peers": {"eager": {"ratio": eager}}, "noisy": list(noisy)}


def test_the_summary_is_the_geometric_mean_over_models() -> None:
    found = summary([record("a", 2.0), record("b", 0.5), {"model": "c", "error": "died"}])
    assert found["geomean"] == {"eager": pytest.approx(1.0)}
    assert [m["model"] for m in found["models"]] == ["a", "b"]
    assert found["failed"] == [{"model": "c", "error": "died"}]
    assert found["noisy"] is False
    assert summary([record("a", 2.0, ("eager",))])["noisy"] is True
    assert summary([])["geomean"] == {}
    assert geometric_mean([4.0, 1.0]) == pytest.approx(2.0)


def test_finished_models_are_kept_and_failed_ones_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []

    def in_child(options: BenchOptions, more: object) -> dict[str, Any]:
        measured.append(options.model)
        failed = options.model == "b" and measured.count("b") == 1
        return {"model": "b", "error": "died"} if failed else record(options.model, 1.0)

    monkeypatch.setattr(bench, "_in_child", in_child)
    kept = tmp_path / "results.jsonl"
    both = [BenchOptions("a"), BenchOptions("b")]
    assert [r["model"] for r in bench_models(both, kept)] == ["a", "b"]
    assert [json.loads(line)["result"]["model"] for line in kept.read_text().splitlines()] == ["a"]
    assert all("error" not in r for r in bench_models(both, kept))
    assert measured == ["a", "b", "b"]
    list(bench_models([BenchOptions("a", threads=2)], kept))
    assert measured[-1] == "a", "other options are another measurement"
    kept.write_text("no json\n")
    with pytest.raises(SeercError, match=r"results\.jsonl holds no results"):
        list(bench_models(both, kept))


def test_a_crash_loses_one_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dying.py").write_text("import os\nos._exit(7)\n")
    monkeypatch.syspath_prepend(tmp_path)
    crashed, unknown = bench_models([BenchOptions("dying:factory"), BenchOptions("no-such-model")])
    assert "its process died" in crashed["error"]
    assert "is no model: expected zoo:NAME" in unknown["error"]


def test_wrong_options_are_refused() -> None:
    for wrong in ({"seconds": 0.0}, {"threads": -1}):
        with pytest.raises(SeercError, match="must be positive"):
            BenchOptions("zoo:mlp", **wrong)
    with pytest.raises(SeercError, match="unknown peer 'eagr': did you mean eager"):
        bench.bench_model(BenchOptions("zoo:mlp", peers=("eagr",)))
