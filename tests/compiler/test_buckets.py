"""Dynamic batch and sequence length: padded results equal unpadded ones, weights are shared, nonsense is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seerc
from compiler.buckets import bucket_specs
from compiler.frontend.model import TensorSpec
from compiler.native.buckets import BucketedProgram
from compiler.native.program import WEIGHTS
from costmodel.errors import SeercError
from seerc.cli import main

LENGTHS = 8, 16, 24
VOCABULARY = 50
BUCKETS = {"ids": [(1, n) for n in LENGTHS], "mask": [(1, n) for n in LENGTHS]}


class Transformer(torch.nn.Module):
    """One block of attention that leaves out what the mask leaves out, and a mean over the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(VOCABULARY, 32)
        self.position = torch.nn.Embedding(32, 32)
        self.projections = torch.nn.Linear(32, 96)
        self.norm = torch.nn.LayerNorm(32)
        self.head = torch.nn.Linear(32, VOCABULARY)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.embedding(ids) + self.position(torch.arange(ids.shape[1]))
        q, k, v = (p.unflatten(-1, (4, 8)).transpose(1, 2) for p in self.projections(x).chunk(3, -1))
        seen = mask.bool()[:, None, None, :]
        y = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        x = self.norm(x + y.transpose(1, 2).flatten(2))
        pooled = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return self.head(x), pooled


def example(length: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(0, VOCABULARY, (1, length), generator=torch.Generator().manual_seed(length))
    return ids, torch.ones(1, length, dtype=torch.int64)


@pytest.fixture(scope="module")
def model() -> Transformer:
    torch.manual_seed(0)
    return Transformer().eval()


@pytest.fixture(scope="module")
def program(model: Transformer) -> BucketedProgram:
    return seerc.compile(model, example(16), buckets=BUCKETS, padding={"ids": 3}, cost_model="none", jobs=2)


@pytest.mark.parametrize("length", [1, 7, 8, 9, 16, 21, 24])
def test_padded_results_equal_unpadded_ones(program: BucketedProgram, model: Transformer, length: int) -> None:
    inputs = example(length)
    with torch.no_grad():
        wanted = model(*inputs)
    got = program(*inputs, threads=1)
    assert program.select([tuple(t.shape) for t in inputs]).inputs[0].shape[1] == min(n for n in LENGTHS if n >= length)
    for y, ref in zip(got, wanted, strict=True):
        assert y.shape == ref.shape
        np.testing.assert_allclose(y, ref, rtol=1e-5, atol=1e-5)


def test_saved_buckets_load_and_share_their_weights(program: BucketedProgram, tmp_path: Path) -> None:
    program.save(tmp_path / "saved")
    loaded = seerc.load(tmp_path / "saved")
    assert isinstance(loaded, BucketedProgram)
    assert loaded.padding == (3, 0)
    inputs = [t.numpy() for t in example(11)]
    for y, ref in zip(loaded(*inputs), program(*inputs), strict=True):
        np.testing.assert_array_equal(y, ref)
    files = [tmp_path / "saved" / f"bucket-{i}" / WEIGHTS for i in range(3)]
    assert len({file.stat().st_ino for file in files}) == 1
    parameters = sum(p.numel() * p.element_size() for p in Transformer().parameters())
    assert files[0].stat().st_size < 2 * parameters


def test_one_shape_loads_as_before(program: BucketedProgram, tmp_path: Path) -> None:
    program.programs[0].save(tmp_path / "one")
    assert seerc.load(tmp_path / "one").inputs[0].shape == (1, 8)


def test_what_fits_no_bucket(program: BucketedProgram) -> None:
    ids, mask = example(25)
    with pytest.raises(SeercError, match=r"no bucket holds inputs of shapes \[1, 25\], \[1, 25\]; the buckets: "):
        program(ids, mask)
    with pytest.raises(SeercError, match=r"takes 2 inputs \(ids, mask\), got 1"):
        program(ids)
    ids, mask = example(5)
    with pytest.raises(SeercError, match=r"must be int64\[1, 8\], got int32\[1, 8\]"):
        program(ids.int(), mask)
    with pytest.raises(SeercError, match="dimension 1 of ids and dimension 1 of mask differ in this call"):
        program(ids, mask[:, :4])


class Classifier(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(12, 20), torch.nn.ReLU(), torch.nn.Linear(20, 3))

    def forward(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return self.layers(x) * scale


def test_batches_and_an_input_that_keeps_its_shape() -> None:
    torch.manual_seed(0)
    model = Classifier().eval()
    scale = torch.rand(3)
    program = seerc.compile(model, (torch.rand(4, 12), scale), buckets={"x": [(4, 12), (16, 12)]}, cost_model="none")
    for size in (1, 4, 5, 16):
        x = torch.rand(size, 12)
        np.testing.assert_allclose(program(x, scale)[0], model(x, scale).detach(), rtol=1e-5, atol=1e-6)
    assert program.padding == (0, None)
    with pytest.raises(SeercError, match="no bucket"):
        program(torch.rand(4, 12), scale[:2])


INPUTS = (TensorSpec("ids", (1, 8), "i64"), TensorSpec("mask", (1, 8), "i1"))


def test_specs_of_the_buckets() -> None:
    made = bucket_specs(INPUTS, {"ids": [(1, 4), (2, 4)]})
    assert [[s.shape for s in specs] for specs in made] == [[(1, 4), (1, 8)], [(2, 4), (1, 8)]]


@pytest.mark.parametrize(
    ("buckets", "message"),
    [
        ({"idz": [(1, 4)]}, "unknown input 'idz': did you mean ids"),
        ({"ids": [(4,)]}, r"bucket \[4\] of input 'ids' must be like \[1, 8\]"),
        ({"ids": [(1, 0)]}, r"bucket \[1, 0\] of input 'ids' must be like"),
        ({"ids": [(1, 4), (1, 8)], "mask": [(1, 4)]}, "each input needs one shape a bucket, got {'ids': 2, 'mask': 1}"),
        ({}, "no buckets"),
        ({"ids": []}, "each input needs one shape a bucket"),
    ],
)
def test_buckets_that_make_no_sense(buckets: dict[str, Any], message: str) -> None:
    with pytest.raises(SeercError, match=message):
        bucket_specs(INPUTS, buckets)


def test_padding_that_makes_no_sense(program: BucketedProgram, model: Transformer) -> None:
    for padding in (0.5, float("nan"), 2**70):
        with pytest.raises(SeercError, match="input 'ids' is int64: it cannot be padded with"):
            BucketedProgram(program.programs, [padding, 0])
    with pytest.raises(SeercError, match="unknown bucketed input 'maks': did you mean mask"):
        seerc.compile(model, example(8), buckets=BUCKETS, padding={"maks": 0}, cost_model="none")
    with pytest.raises(SeercError, match="padding without buckets"):
        seerc.compile(model, example(8), padding={"ids": 0})


def test_a_file_with_fixed_shapes_has_no_buckets(tmp_path: Path) -> None:
    (tmp_path / "add.mlir").write_text("""func.func @main(%a: tensor<4xf32>) -> tensor<4xf32> {
      %0 = linalg.add ins(%a, %a : tensor<4xf32>, tensor<4xf32>) outs(%a : tensor<4xf32>) -> tensor<4xf32>
      return %0 : tensor<4xf32>
    }""")
    with pytest.raises(SeercError, match=r"add.mlir: the text fixes the input shapes"):
        seerc.compile(str(tmp_path / "add.mlir"), buckets={"arg0": [(2,), (8,)]})


def test_buckets_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    (tmp_path / "seerc_bucket_model.py").write_text(
        "import torch\n\ndef make():\n    return torch.nn.Sequential(torch.nn.Linear(6, 5)), (torch.ones(2, 6),)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    command = ["compile", "seerc_bucket_model:make", "--cost-model", "none", "--jobs", "1"]
    buckets = ["--bucket", "input=2x6", "--bucket", "input=4x6", "--pad", "input=1"]
    assert main([*command, *buckets, "-o", str(tmp_path / "p"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["buckets"] == [{"input": [2, 6]}, {"input": [4, 6]}]
    np.savez(tmp_path / "in.npz", input=np.ones((3, 6), np.float32))
    assert main(["run", str(tmp_path / "p"), "--input", str(tmp_path / "in.npz"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outputs"][0]["shape"] == [3, 5]
    for options, message in (
        (buckets, "--bucket saves a program: give -o FOLDER"),
        (["--pad", "input=1"], "--pad goes with --bucket"),
        (["--bucket", "2x6", "-o", "p"], "'2x6' is not like ids=1x32,mask=1x32"),
        (["--bucket", "input=2x6", "--bucket", "inputs=4x6", "-o", "p"], "every bucket names the same inputs"),
        (["--bucket", "input=2x6", "--pad", "input=x", "-o", "p"], "'input=x' is not like ids=3"),
    ):
        assert main([*command, *options]) == 1
        assert message in capsys.readouterr().err
