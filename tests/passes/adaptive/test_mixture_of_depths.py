"""seerc-mixture-of-depths against PyTorch models that choose, gather, compute and scatter the same tokens."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from compiler.driver import CompileOptions, compile_model
from compiler.frontend.load import from_module
from compiler.frontend.model import ImportedModel, LoadedModel
from passes.adaptive.arguments import weight_names
from passes.adaptive.mixture_of_depths import MixtureOfDepthsPass
from passes.base import PassContext, PassError
from passes.mlir import context, ir

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "fusion"))
from adaptive_models import build, decoder, loaded, relative_error
from fusion_evaluate import evaluate
from routed_models import routed, routed_layers

TOLERANCE, WIDTH = 2e-5, 32


def router(number: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(number).standard_normal(WIDTH).astype(np.float32))


def mixed(imported: ImportedModel, edit: MixtureOfDepthsPass) -> ImportedModel:
    with context():
        module = ir.Module.parse(imported.text)
        edit.run(module.operation, PassContext())
        assert module.operation.verify()
        names = weight_names(module.body.operations[0].operation)
        assert list(names) == list(range(len(names)))  # weights first
        routers = {f"router.{b}": router(b).numpy() for b in edit.blocks}
        arrays = {
            name: imported.weights[name] if name in imported.weights else routers[name] for name in names.values()
        }
        return replace(imported, text=str(module), weights=arrays)


def run(imported: ImportedModel, inputs: Sequence[np.ndarray]) -> np.ndarray:
    return evaluate(imported.text, [np.ascontiguousarray(a) for a in (*imported.weights.values(), *inputs)])[0]


def want(module: torch.nn.Module, model: LoadedModel) -> np.ndarray:
    with torch.no_grad():
        found = module(*map(torch.from_numpy, model.example_inputs))
    return (found if isinstance(found, torch.Tensor) else found[0]).numpy()


CASES = [
    ("llama", 1, (1,), 8),
    ("llama", 1, (0,), 8),
    ("llama", 1, (0, 1, 2, 3), 8),
    ("llama", 2, (0, 3), 5),
    ("gpt2", 1, (0, 1, 2, 3), 1),
    ("gpt2", 2, (1, 2), 6),
    ("gpt-neox", 1, (0, 3), 6),
    ("gpt-neox", 2, (0, 1), 7),
    ("gemma2", 1, (0,), 9),
]
SLOW = {2, 4, 6, 8}


@pytest.mark.parametrize(
    ("name", "batch", "blocks", "count"),
    [pytest.param(*case, marks=[pytest.mark.slow] if k in SLOW else []) for k, case in enumerate(CASES)],
)
def test_the_chosen_tokens_go_through(name: str, batch: int, blocks: tuple[int, ...], count: int) -> None:
    model = loaded(name, batch)
    got = run(mixed(model.imported, MixtureOfDepthsPass(blocks, (count,))), model.example_inputs)
    module = routed(model.module, name, {b: router(b) for b in blocks}, count)
    if name == "gemma2":  # norms what it adds, after the module
        module = _gemma(model, blocks, count)
    assert relative_error(got, want(module, model)) < TOLERANCE
    assert relative_error(got, want(model.module, model)) > 1e-2


def _gemma(model: LoadedModel, blocks: Sequence[int], count: int) -> torch.nn.Module:
    """Gemma 2 with norm, module and norm as one module."""
    import copy

    from routed_models import Routed

    module = copy.deepcopy(model.module).double()
    for number in blocks:
        layer = module.model.model.layers[number // 2]
        assert number % 2 == 0
        inner = _Normed(layer.self_attn, layer.post_attention_layernorm)
        layer.self_attn = Routed(layer.input_layernorm, inner, router(number).double(), count)
        layer.input_layernorm = layer.post_attention_layernorm = torch.nn.Identity()
    return module


class _Normed(torch.nn.Module):
    def __init__(self, inner: torch.nn.Module, norm: torch.nn.Module) -> None:
        super().__init__()
        self.inner, self.norm = inner, norm

    def forward(self, x: torch.Tensor, **named: object) -> tuple[torch.Tensor, ...]:
        first, *rest = self.inner(x, **named)
        return (self.norm(first), *rest)


@pytest.mark.parametrize(
    ("name", "batch", "count"),
    [("llama", 1, 8), ("llama", 2, 6), pytest.param("gpt2", 2, 1, marks=pytest.mark.slow)],
)
def test_the_compiled_program(name: str, batch: int, count: int) -> None:
    model = loaded(name, batch)
    imported = mixed(model.imported, MixtureOfDepthsPass((0, 1, 3), (count,)))
    program = compile_model(imported, CompileOptions(cost_model="none"))
    assert program.plan["fallbacks"] == 0
    module = routed(model.module, name, {b: router(b) for b in (0, 1, 3)}, count)
    for seed in range(3):
        ids = np.random.default_rng(seed).integers(0, 101, (batch, 16))
        fresh = replace(model, example_inputs=(ids,))
        assert relative_error(program(ids)[0], want(module, fresh)) < TOLERANCE, seed


@pytest.mark.parametrize("name", ["llama", "bert"])
def test_a_whole_layer_behind_one_router(name: str) -> None:
    """In BERT, which norms its sums, f(x) is what the layer changes."""
    model = loaded(name, 2)
    got = run(mixed(model.imported, MixtureOfDepthsPass((0, 2), (7,), span=2)), model.example_inputs)
    path = {"llama": "model.model.layers", "bert": "model.encoder.layer"}[name]
    module = routed_layers(model.module, path, {b: router(b) for b in (0, 2)}, 7)
    assert relative_error(got, want(module, model)) < TOLERANCE


def test_all_tokens_chosen_is_r_times_the_block() -> None:
    module, inputs = build("llama")
    model = replace(loaded("llama"), module=module, example_inputs=tuple(i.numpy() for i in inputs))
    plain = want(module, model)
    got = run(mixed(model.imported, MixtureOfDepthsPass((0, 1), (16,), scale=False)), model.example_inputs)
    assert relative_error(got, plain) < TOLERANCE
    layer = module.model.model.layers[0]
    seen: list[torch.Tensor] = []
    layer.post_attention_layernorm.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    layer.mlp.register_forward_hook(lambda _, args, out: out * (0.5 + seen[-1] @ router(1)).unsqueeze(-1))
    got = run(mixed(model.imported, MixtureOfDepthsPass((1,), percent=(100.0,), offset=0.5)), model.example_inputs)
    assert relative_error(got, want(module, model)) < TOLERANCE


@pytest.mark.slow
def test_bert_and_vit_with_all_tokens_are_as_before() -> None:
    for name, tokens in (("bert", 16), ("vit", 17)):
        model = loaded(name)
        assert model.eager is not None
        edit = MixtureOfDepthsPass((0, 1), (tokens,), scale=False)
        got = run(mixed(model.imported, edit), model.example_inputs)
        assert relative_error(got, model.eager(*model.example_inputs)[0]) < TOLERANCE


def test_percent_is_rounded_up_and_one_number_serves_all_blocks() -> None:
    def text(edit: MixtureOfDepthsPass) -> str:
        return mixed(loaded("llama").imported, edit).text

    same = text(MixtureOfDepthsPass((1, 3), (5, 5)))
    assert text(MixtureOfDepthsPass((3, 1), percent=(30.0,))) == same
    assert text(MixtureOfDepthsPass((1, 3), (5, 6))) != same


def test_programs_with_caches_are_refused() -> None:
    from compiler.decode.step_module import DecodeStep, StepShape, example_inputs

    model, shape = decoder("llama"), StepShape(1, 4, 8)
    step = from_module(DecodeStep(model, shape), example_inputs(model, shape), "step").imported
    with pytest.raises(PassError, match=r"sub-block 0 .attention. returns values of its own, such as keys"):
        mixed(step, MixtureOfDepthsPass((0,), (2,)))


def test_the_pass_says_what_it_cannot_do() -> None:
    imported = loaded("llama").imported
    with pytest.raises(PassError, match="sub-blocks 1 to 4 are asked for; @main has 4"):
        mixed(imported, MixtureOfDepthsPass((1, 4), (8,)))
    with pytest.raises(PassError, match="a capacity of 17 does not fit its 16 tokens"):
        mixed(imported, MixtureOfDepthsPass((0,), (17,)))
    with pytest.raises(PassError, match="shares its sum with another one: give span 1"):
        mixed(loaded("gpt-neox").imported, MixtureOfDepthsPass((0,), (8,), span=2))
    with pytest.raises(PassError, match="cannot work on fewer tokens"):  # attention splits its stream otherwise
        mixed(imported, MixtureOfDepthsPass((0,), (2,), sequences=5))
    for wrong in ({}, {"capacity": (8,), "percent": (50.0,)}, {"capacity": (8, 8)}, {"percent": (101.0,)}):
        with pytest.raises(ValueError, match=r"give blocks|at most 100"):
            MixtureOfDepthsPass((1,), **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="overlap"):
        MixtureOfDepthsPass((0, 1), (8,), span=2)
