"""find_blocks: full recall and no false find, on models of many kinds and in their decoding form."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import transformers

from compiler.frontend.huggingface import Pixels
from compiler.frontend.load import from_module
from passes.adaptive.blocks import Block, find_blocks
from passes.mlir import context, ir

sys.path.insert(0, str(Path(__file__).parent))
from adaptive_models import DECODERS, LAYERS, decoder, loaded


def with_blocks(text: str, check: Callable[[tuple[Block, ...], ir.Block], None]) -> None:
    """Blocks live as long as their module."""
    with context():
        module = ir.Module.parse(text)
        main = module.body.operations[0]
        check(find_blocks(main), main.regions[0].blocks[0])


def kinds(text: str) -> list[str]:
    found: list[str] = []
    with_blocks(text, lambda blocks, _: found.extend(b.kind for b in blocks))
    return found


SLOW = ("qwen2", "gemma", "opt-post-norm")  # like another one of the list


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in [*DECODERS, "bert", "vit"]]
)
def test_every_sub_block_of_a_transformer(name: str) -> None:
    assert kinds(loaded(name).imported.text) == ["attention", "ffn"] * LAYERS


@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_batches(name: str) -> None:
    assert kinds(loaded(name, 2).imported.text) == ["attention", "ffn"] * LAYERS


@pytest.mark.parametrize("name", ["llama", "bert"])
def test_blocks_follow_each_other_and_share_nothing(name: str) -> None:
    def check(blocks: tuple[Block, ...], body: ir.Block) -> None:
        assert [b.index for b in blocks] == list(range(2 * LAYERS))
        assert all(before.exit == after.entry for before, after in pairwise(blocks))
        assert all(b.residual == b.entry and not b.updates and not b.escapes for b in blocks)
        ops = [k for b in blocks for k in b.ops]
        assert len(ops) == len(set(ops))
        assert all(list(b.ops) == sorted(b.ops) for b in blocks)
        outside = {op.operation.name for k, op in enumerate(body.operations) if k not in set(ops)}
        assert "linalg.batch_matmul" not in outside

    with_blocks(loaded(name).imported.text, check)


def test_weights_of_blocks() -> None:
    names = list(loaded("gpt2").imported.weights)

    def check(blocks: tuple[Block, ...], _: ir.Block) -> None:
        attention, ffn = ([names[k] for k in b.weights] for b in blocks[:2])
        assert {"h.0.attn.c_attn", "h.0.attn.c_proj", "h.0.ln_1"} <= _modules(attention)
        assert _modules(ffn) == {"h.0.mlp.c_fc", "h.0.mlp.c_proj", "h.0.ln_2"}

    with_blocks(loaded("gpt2").imported.text, check)


def _modules(names: list[str]) -> set[str]:
    return {m[1] for name in names if (m := re.search(r"transformer\.(.*?)\.(weight|bias)", name))}


def test_names_play_no_role() -> None:
    text, numbers = loaded("gemma2").imported.text, iter(range(10_000))
    renamed = re.sub(r'seerc\.weight = "[^"]*"', lambda _: f'seerc.weight = "w{next(numbers)}"', text)
    assert kinds(renamed) == ["attention", "ffn"] * LAYERS


@pytest.mark.parametrize("name", ["gpt-neox", "gptj"])
def test_parallel_sub_blocks_have_one_entry_and_one_exit(name: str) -> None:
    def check(blocks: tuple[Block, ...], _: ir.Block) -> None:
        for attention, ffn in zip(blocks[::2], blocks[1::2], strict=True):
            assert (attention.entry, attention.residual, attention.exit) == (ffn.entry, ffn.residual, ffn.exit)
            assert len(attention.updates) == len(ffn.updates) == 1

    with_blocks(loaded(name).imported.text, check)


@pytest.mark.parametrize(("name", "width", "batch"), [("llama", 1, 1), ("gpt2", 3, 2)])
def test_decoding_step(name: str, width: int, batch: int) -> None:
    from compiler.decode.step_module import DecodeStep, StepShape, example_inputs

    model, shape = decoder(name), StepShape(batch, width, 24)
    text = from_module(DecodeStep(model, shape), example_inputs(model, shape), name).imported.text

    def check(blocks: tuple[Block, ...], body: ir.Block) -> None:
        assert [b.kind for b in blocks] == ["attention", "ffn"] * LAYERS
        assert [len(b.escapes) for b in blocks] == [2, 0] * LAYERS  # the new key and value
        outside = set(range(len(body.operations))) - {k for b in blocks for k in b.ops}
        assert all(body.operations[k].operation.name != "linalg.batch_matmul" for k in outside)

    with_blocks(text, check)


class Adapter(torch.nn.Module):
    """Attention and FFN with a residual bottleneck inside of what they add."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(32) for _ in range(2))
        self.attention = torch.nn.MultiheadAttention(32, 4, batch_first=True)
        self.ffn = torch.nn.Sequential(torch.nn.Linear(32, 48), torch.nn.GELU(), torch.nn.Linear(48, 32))
        self.down, self.up = torch.nn.Linear(32, 8), torch.nn.Linear(8, 32)

    def adapt(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.up(torch.relu(self.down(x)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norms[0](x)
        x = x + self.adapt(self.attention(h, h, h, need_weights=False)[0])
        return x + self.adapt(self.ffn(self.norms[1](x)))


def test_residuals_inside_of_a_sub_block_belong_to_it() -> None:
    x = torch.randn(1, 16, 32)
    module = torch.nn.Sequential(Adapter(), Adapter())
    assert kinds(from_module(module, (x,), "adapter").imported.text) == ["attention", "ffn"] * 2


def test_cross_attention_is_attention() -> None:
    layer = torch.nn.TransformerDecoderLayer(32, 4, 48, batch_first=True)  # norms its sums
    module, inputs = torch.nn.TransformerDecoder(layer, 2).eval(), (torch.randn(1, 16, 32), torch.randn(1, 8, 32))
    assert kinds(from_module(module, inputs, "decoder").imported.text) == ["attention", "attention", "ffn"] * 2


class Mixer(torch.nn.Module):
    """MLP-Mixer: the first sum mixes positions by weights, which is neither attention nor an FFN."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = torch.nn.Sequential(torch.nn.Linear(16, 24), torch.nn.GELU(), torch.nn.Linear(24, 16))
        self.channels = torch.nn.Sequential(torch.nn.Linear(32, 48), torch.nn.GELU(), torch.nn.Linear(48, 32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.tokens(x.transpose(1, 2)).transpose(1, 2)
        return x + self.channels(x)


def test_mixing_positions_by_weights_is_no_ffn() -> None:
    assert kinds(from_module(Mixer(), (torch.randn(1, 16, 32),), "mixer").imported.text) == ["ffn"]


class GatedCell(torch.nn.Module):
    """A recurrent cell, unrolled: h + z (n - h)."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.new = torch.nn.Linear(32, 32), torch.nn.Linear(32, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x[:, 0]
        for k in range(1, 4):
            z, n = torch.sigmoid(self.gate(x[:, k] + h)), torch.tanh(self.new(h))
            h = h + z * (n - h)
        return h


def _resnet18() -> torch.nn.Module:
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 16, 16, 16], "depths": [2, 2, 2, 2], "layer_type": "basic"}
    return Pixels(transformers.ResNetForImageClassification(transformers.ResNetConfig(**sizes)).eval(), "logits")


NEGATIVES: dict[str, tuple[Callable[[], torch.nn.Module], tuple[int, ...]]] = {
    "lstm": (lambda: torch.nn.LSTM(16, 16, 2, batch_first=True), (1, 8, 16)),
    "mlp": (lambda: torch.nn.Sequential(*(torch.nn.Linear(32, 32), torch.nn.GELU()) * 3), (4, 32)),
    "resnet18": (_resnet18, (1, 3, 32, 32)),
    "gated": (GatedCell, (2, 4, 32)),
}


@pytest.mark.parametrize("name", NEGATIVES)
def test_nothing_is_found_where_nothing_is(name: str) -> None:
    make, shape = NEGATIVES[name]
    assert kinds(from_module(make(), (torch.randn(shape),), name).imported.text) == []
