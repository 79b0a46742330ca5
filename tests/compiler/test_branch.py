"""`scf.if` in @main: sub-blocks that run only where an element of a mask argument is true."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.driver import CompileOptions, compile_model
from compiler.frontend.model import ImportedModel, TensorSpec
from compiler.native.main import Branch
from compiler.plan.trace import read_calls, unrolled, write_calls

ADD = "affine_map<(d0, d1) -> (d0, d1)>"
BIAS = "affine_map<(d0, d1) -> (d1)>"


def block(name: str, source: str, index: int) -> str:
    """`name = mask[index] ? source + source @ w : source`, and the product as a second result."""
    return f"""
    %k{index} = arith.constant {index} : index
    %m{index} = tensor.extract %mask[%k{index}] : tensor<2xi1>
    %{name}:2 = scf.if %m{index} -> (tensor<4x8xf32>, tensor<4x8xf32>) {{
      %p = linalg.matmul ins(%{source}, %w : tensor<4x8xf32>, tensor<8x8xf32>)
        outs(%zeros : tensor<4x8xf32>) -> tensor<4x8xf32>
      %y = linalg.generic {{indexing_maps = [{ADD}, {ADD}, {ADD}], iterator_types = ["parallel", "parallel"]}}
        ins(%{source}, %p : tensor<4x8xf32>, tensor<4x8xf32>) outs(%empty : tensor<4x8xf32>) {{
      ^bb0(%a: f32, %b: f32, %o: f32):
        %s = arith.addf %a, %b : f32
        linalg.yield %s : f32
      }} -> tensor<4x8xf32>
      scf.yield %y, %p : tensor<4x8xf32>, tensor<4x8xf32>
    }} else {{
      scf.yield %{source}, %zeros : tensor<4x8xf32>, tensor<4x8xf32>
    }}"""


TEXT = f"""
func.func @main(%w: tensor<8x8xf32> {{seerc.weight = "w"}}, %x: tensor<4x8xf32>, %mask: tensor<2xi1>)
    -> (tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>) {{
    %cst = arith.constant 0.0 : f32
    %empty = tensor.empty() : tensor<4x8xf32>
    %zeros = linalg.fill ins(%cst : f32) outs(%empty : tensor<4x8xf32>) -> tensor<4x8xf32>
    {block("one", "x", 0)}
    {block("two", "one", 1).replace("%one,", "%one#0,")}
    return %two#0, %one#1, %two#1 : tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>
}}""".replace("scf.yield %one,", "scf.yield %one#0,")


@pytest.fixture(scope="module")
def program():
    w = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
    inputs = (TensorSpec("x", (4, 8), "f32"), TensorSpec("mask", (2,), "i1"))
    outputs = tuple(TensorSpec(f"output{i}", (4, 8), "f32") for i in range(3))
    text = f"module {{ {TEXT} }}"
    return compile_model(ImportedModel("branches", text, {"w": w}, inputs, outputs, {}), CompileOptions(jobs=1)), w


@pytest.mark.parametrize("mask", [(True, True), (True, False), (False, True), (False, False)])
def test_a_masked_block_passes_its_input(program, mask):
    compiled, w = program
    x = np.random.default_rng(1).standard_normal((4, 8)).astype(np.float32)
    stream, products = x.astype(np.float64), []
    for run in mask:
        products.append(stream @ w if run else np.zeros((4, 8)))
        stream = stream + products[-1]
    outputs = compiled(x, np.array(mask))
    for found, expected in zip(outputs, (stream, *products), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_plan_keeps_its_branches(program):
    compiled, _ = program
    steps = read_calls(compiled.plan["calls"])
    branches = [step for step in steps if isinstance(step, Branch)]
    assert [branch.condition.offset for branch in branches] == [0, 1]
    assert write_calls(steps) == compiled.plan["calls"]
    assert {call.symbol for call, _ in unrolled(steps)} < {entry["kernel"] for entry in compiled.plan["kernels"]}
