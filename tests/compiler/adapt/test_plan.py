"""What is read and written: plans, cost tables, prompts, continuations."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compiler.adapt.continuations import continue_prompts
from compiler.adapt.cost_table import read_costs
from compiler.adapt.plan import Plan, Router, read_plan
from compiler.adapt.prompts import read_prompts, split_texts
from compiler.decode.source import load_source
from costmodel.errors import SeercError
from tests.compiler.adapt.conftest import build

ROUTERS = (Router(2, 0.5, -0.25, (0.5, -1.0)),)
PLAN = Plan("skip", "refuse", "why", 1, 512, (3, 8), 4, 0.9, 0.88, 0.97, 0.95, ((5, 144),), routers=ROUTERS)


class Words:
    """A tokenizer of numbers."""

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [int(word) for word in text.split()]}


def test_plans_come_back(tmp_path: Path) -> None:
    PLAN.write(tmp_path / "plan.json")
    assert read_plan(tmp_path / "plan.json") == PLAN
    written = json.loads((tmp_path / "plan.json").read_text())
    assert (written["format"], written["skipped"], written["draft_length"]) == (1, [3, 8], 4)
    for field in ("stop_below", "small_ffn", "int8"):  # plans from before these were thought of
        del written[field]
    written["capacities"] = []
    (tmp_path / "plan.json").write_text(json.dumps(written))
    assert read_plan(tmp_path / "plan.json") == PLAN
    more = replace(PLAN, stop_below=0.8, small_ffn=((7, (0, 3)),), int8=(4, 9), measured_speedup=1.1)
    more.write(tmp_path / "plan.json")
    assert read_plan(tmp_path / "plan.json") == more


def test_a_plan_that_routes_without_routers_is_refused(tmp_path: Path) -> None:
    PLAN.write(tmp_path / "plan.json")
    written = json.loads((tmp_path / "plan.json").read_text())
    (tmp_path / "plan.json").write_text(json.dumps({**written, "capacities": [[2, 0.5]]}))
    with pytest.raises(SeercError, match="without routers"):
        read_plan(tmp_path / "plan.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "skipped": ["x"]}', "null", "{"])
def test_other_files_are_no_plans(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(SeercError, match=r"plan\.json"):
        read_plan(tmp_path / "plan.json")


def test_cost_tables_are_linear_between_widths(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    path.write_text(json.dumps({"1": {"blocks": [2, 4], "rest": 1}, "5": {"blocks": [4, 4], "rest": 3}}))
    costs = read_costs(path, 2)
    assert costs(1).blocks == (2, 4)
    assert costs(3).blocks == (3, 4)
    assert costs(7).blocks == (5, 4)
    assert (costs(3).rest, costs(9).rest) == (2, 5)


KEYS = st.sampled_from(["1", "2", "blocks", "rest"])
LEAVES = st.none() | st.booleans() | st.floats() | st.text(max_size=3)


@given(st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner)))
def test_other_files_are_no_cost_tables(tmp_path_factory: pytest.TempPathFactory, data: object) -> None:
    path = tmp_path_factory.mktemp("costs") / "costs.json"
    path.write_text(json.dumps(data))
    with pytest.raises(SeercError, match="costs"):
        read_costs(path, 3)


def test_prompts(tmp_path: Path) -> None:
    assert len(read_prompts()) >= 32
    path = tmp_path / "mine.txt"
    path.write_text("one\n\n  two \nthree\none\nfour\n")
    assert read_prompts(path) == ("one", "two", "three", "four")
    path.write_text("one\ntwo\n")
    with pytest.raises(SeercError, match="2 prompts"):
        read_prompts(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SeercError, match="not a text file"):
        read_prompts(path)


@given(st.integers(2, 50), st.integers(0, 5))
def test_halves_share_nothing(count: int, seed: int) -> None:
    chosen, held = split_texts(count, seed)
    assert sorted([*chosen, *held]) == list(range(count))
    assert len(held) - len(chosen) in (0, 1)


def test_continuations_are_greedy_and_kept(tmp_path: Path) -> None:
    model, prompts = build("llama"), ["5 6 7", "8 9 10 11 12"]
    first = continue_prompts(model, Words(), prompts, 6, tmp_path)
    for text, prompt in enumerate(prompts):
        tokens = [int(word) for word in prompt.split()]
        for _ in range(6):
            tokens.append(int(model(torch.tensor([tokens])).logits[0, -1].argmax()))
        start, end = int(first.starts[text]), int(first.ends[text])
        assert first.tokens[text, :start].tolist() == tokens[:start]
        made = tokens[start:]
        assert first.tokens[text, start:end].tolist() == (made[: made.index(2)] if 2 in made else made)
    again = continue_prompts(model, None, prompts, 6, tmp_path)  # the tokenizer is not asked
    assert torch.equal(first.tokens, again.tokens)
    assert len(list(tmp_path.glob("*.npz"))) == 1
    continue_prompts(build("llama", spread=0.2), Words(), prompts, 6, tmp_path)
    assert len(list(tmp_path.glob("*.npz"))) == 2  # other weights, other content


def test_models_that_cannot_be_studied(tmp_path: Path) -> None:
    with pytest.raises(SeercError, match="zoo:smollm2"):
        load_source("zoo:resnet18")
    with pytest.raises(SeercError, match=r"config\.json"):
        load_source(str(tmp_path))
    build("llama").config.save_pretrained(tmp_path)
    with pytest.raises(SeercError, match="safetensors"):
        load_source(str(tmp_path))
