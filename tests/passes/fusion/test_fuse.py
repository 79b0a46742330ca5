"""What becomes one region, what stays apart, and that the results stay the same."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from passes.base import PassContext, PassError
from passes.fusion import FusePass, Summary, fuse, summarise
from passes.mlir import context, ir

sys.path.insert(0, str(Path(__file__).parent))
from fusion_evaluate import evaluate
from fusion_models import Writer, binary, gelu, layer_norm, linear, softmax, unary

F = "tensor<8x16xf32>"


def fused(text: str, **options: object) -> tuple[str, Summary]:
    module = fuse(ir.Module.parse(text, context()), **options)  # type: ignore[arg-type]
    assert module.operation.verify()
    return str(module), summarise(module)


def inputs_of(text: str) -> list[np.ndarray]:
    signature = text[text.index("@main(") : text.index(") -> ")]
    shapes = [tuple(map(int, s.split("x"))) for s in re.findall(r"tensor<([\dx]+)xf32>", signature)]
    random = np.random.default_rng(7)
    return [random.standard_normal(s).astype(np.float32) for s in shapes]


def check_equal(text: str, after: str) -> None:
    inputs = inputs_of(text)
    for before, now in zip(evaluate(text, inputs), evaluate(after, inputs), strict=True):
        assert np.abs(before).max() > 0
        np.testing.assert_allclose(now, before, rtol=2e-6, atol=2e-6)


def main_of(text: str) -> str:
    return text[text.index("@main") : text.index("\n  }\n")]


def mlp_block() -> str:
    w = Writer(["tensor<16x12xf32>", "tensor<16xf32>", "tensor<8x12xf32>"], 2)
    return w.text([(gelu(w, linear(w, "%arg2", "%arg0", "%arg1", 8, 12, 16), F), F)])


def test_epilogue_joins_its_matmul() -> None:
    text = mlp_block()
    after, summary = fused(text)
    assert summary.calls == {"contraction": 1}
    assert "linalg.transpose" in main_of(after)
    region = after[after.index("@region_0", after.index("\n  }\n")) :]
    assert re.match(r"@region_0\(%arg0: \S+, %arg1: \S+ {seerc.constant}, %arg2: \S+ {seerc.constant}\)", region)
    assert region.count("linalg.generic") == 2
    assert region.count("seerc.root") == 1
    check_equal(text, after)


def test_softmax_is_one_region() -> None:
    w = Writer([F], 0)
    text = w.text([(softmax(w, "%arg0", 8, 16), F)])
    after, summary = fused(text)
    assert summary.calls == {"row": 1}
    check_equal(text, after)


def test_layer_norm_takes_the_residual_sum_and_returns_it() -> None:
    w = Writer(["tensor<16xf32>", F, F], 1)
    total = w.map([("%arg1", F, "d0, d1"), ("%arg2", F, "d0, d1")], F, binary("arith.addf"))
    text = w.text([(layer_norm(w, total, "%arg0", 8, 16), F), (total, F)])
    after, summary = fused(text)
    assert summary.calls == {"row": 1}
    assert "-> (tensor<8x16xf32>, tensor<8x16xf32>)" in main_of(after)
    check_equal(text, after)


def test_square_stays_with_the_norm_that_sums_it() -> None:
    w = Writer(["tensor<16x12xf32>", "tensor<16xf32>", "tensor<16xf32>", "tensor<8x12xf32>"], 3)
    hidden = linear(w, "%arg3", "%arg0", "%arg1", 8, 12, 16)
    text = w.text([(layer_norm(w, hidden, "%arg2", 8, 16), F), (hidden, F)])
    after, summary = fused(text)
    assert summary.calls == {"contraction": 1, "row": 1}
    assert re.search(r"call @region_0\(.*\) -> tensor<8x16xf32>$", main_of(after), re.M)
    check_equal(text, after)


def test_a_gather_stays_apart_from_what_computes_its_table() -> None:
    w = Writer([F], 0)
    table = w.map([("%arg0", F, "d0, d1")], F, unary("math.exp"))
    empty = w.line(f"tensor.empty() : {F}")
    body = (
        f"%i = linalg.index 0 : index\n      %j = linalg.index 1 : index\n"
        f"      %r = tensor.extract {table}[%i, %j] : {F}\n      linalg.yield %r : f32"
    )
    text = w.text([(w.generic([], (empty, F, "d0, d1"), "pp", body), F)])
    after, summary = fused(text)
    assert summary.calls == {"elementwise": 2}
    check_equal(text, after)


def test_convolution_takes_bias_scale_residual_and_relu() -> None:
    image, out, kernel = "tensor<1x3x10x10xf32>", "tensor<1x4x8x8xf32>", "tensor<4x3x3x3xf32>"
    w = Writer([kernel, "tensor<4xf32>", image, out], 2)
    attributes = "{dilations = dense<1> : vector<2xi64>, strides = dense<1> : vector<2xi64>}"
    y = w.named("conv_2d_nchw_fchw", [("%arg2", image), ("%arg0", kernel)], out, attributes)
    full = "d0, d1, d2, d3"
    y = w.map([(y, out, full), ("%arg1", "tensor<4xf32>", "d1")], out, binary("arith.mulf"))
    y = w.map([(y, out, full), ("%arg3", out, full)], out, binary("arith.addf"))
    zero = w.constant("0.0")
    body = f"%r = arith.maximumf %a, {zero} : f32\n      linalg.yield %r : f32"
    text = w.text([(w.map([(y, out, full)], out, body), out)])
    after, summary = fused(text)
    assert summary.calls == {"contraction": 1}
    check_equal(text, after)


def test_bias_as_the_initial_value_becomes_an_epilogue() -> None:
    w = Writer(["tensor<12x16xf32>", "tensor<16xf32>", "tensor<8x12xf32>"], 2)
    start = w.map([("%arg1", "tensor<16xf32>", "d1")], F, "linalg.yield %a : f32")
    y = w.line(f"linalg.matmul ins(%arg2, %arg0 : tensor<8x12xf32>, tensor<12x16xf32>) outs({start} : {F}) -> {F}")
    text = w.text([(y, F)])
    after, summary = fused(text)
    assert summary.calls == {"contraction": 1}
    check_equal(text, after)


def test_join_of_two_matmuls_goes_to_the_later_one() -> None:
    w = Writer(["tensor<16x12xf32>", "tensor<16xf32>", "tensor<16x12xf32>", "tensor<16xf32>", "tensor<8x12xf32>"], 4)
    gate = w.map([(linear(w, "%arg4", "%arg0", "%arg1", 8, 12, 16), F, "d0, d1")], F, unary("math.exp"))
    up = linear(w, "%arg4", "%arg2", "%arg3", 8, 12, 16)
    text = w.text([(w.map([(gate, F, "d0, d1"), (up, F, "d0, d1")], F, binary("arith.mulf")), F)])
    after, summary = fused(text)
    assert summary.calls == {"contraction": 2}
    calls = re.findall(r"(%\d+) = call @\w+\((.*?)\) :", main_of(after))
    assert calls[0][0] in calls[1][1]
    assert "math.exp" in after[after.index("private @region_0") : after.index("private @region_1")]
    check_equal(text, after)


def test_diamond_stays_acyclic() -> None:
    """x -> norm(x) -> x * norm(x): the product cannot join the matmul that makes x."""
    w = Writer(["tensor<16x12xf32>", "tensor<16xf32>", "tensor<16x16xf32>", "tensor<16xf32>", "tensor<8x12xf32>"], 4)
    first = linear(w, "%arg4", "%arg0", "%arg1", 8, 12, 16)
    second = linear(w, softmax(w, first, 8, 16), "%arg2", "%arg3", 8, 16, 16)
    product = w.map([(first, F, "d0, d1"), (second, F, "d0, d1")], F, binary("arith.mulf"))
    last = w.map([(first, F, "d0, d1"), (product, F, "d0, d1")], F, binary("arith.addf"))
    text = w.text([(last, F)])
    after, summary = fused(text)
    assert summary.calls == {"contraction": 2, "row": 1}
    check_equal(text, after)


def test_equal_layers_share_a_function() -> None:
    w = Writer(["tensor<16x16xf32>", "tensor<16xf32>", "tensor<16x16xf32>", "tensor<16xf32>", F], 4)
    first = gelu(w, linear(w, "%arg4", "%arg0", "%arg1", 8, 16, 16), F)
    text = w.text([(gelu(w, linear(w, first, "%arg2", "%arg3", 8, 16, 16), F), F)])
    after, summary = fused(text)
    assert summary.calls == {"contraction": 2}
    assert summary.functions == {"contraction": 1}
    check_equal(text, after)


def test_a_weight_and_an_input_do_not_share() -> None:
    """The same matmul with a weight may be packed ahead, with an activation not."""
    w = Writer(["tensor<16x16xf32>", F, "tensor<16x16xf32>"], 1)
    first = w.named("matmul", [("%arg1", F), ("%arg0", "tensor<16x16xf32>")], F)
    text = w.text([(w.named("matmul", [(first, F), ("%arg2", "tensor<16x16xf32>")], F), F)])
    after, summary = fused(text)
    assert summary.functions == {"contraction": 2}
    assert after.count("seerc.constant") == 1


def test_elementwise_op_behind_a_reshape_and_transpose_joins() -> None:
    w = Writer(["tensor<16x12xf32>", "tensor<16xf32>", "tensor<8x12xf32>", "tensor<16x2x4xf32>"], 2)
    y = linear(w, "%arg2", "%arg0", "%arg1", 8, 12, 16)
    split, turned = "tensor<2x4x16xf32>", "tensor<16x2x4xf32>"
    y = w.line(f"tensor.expand_shape {y} [[0, 1], [2]] output_shape [2, 4, 16] : {F} into {split}")
    empty = w.line(f"tensor.empty() : {turned}")
    y = w.line(f"linalg.transpose ins({y} : {split}) outs({empty} : {turned}) permutation = [2, 0, 1]")
    full = "d0, d1, d2"
    y = w.map([(y, turned, full), ("%arg3", turned, full)], turned, binary("arith.addf"))
    text = w.text([(y, turned)])
    after, summary = fused(text)
    assert summary.calls == {"contraction": 1}
    assert "linalg.transpose" in main_of(after)
    check_equal(text, after)


def test_rotary_embedding_is_one_region() -> None:
    half = "tensor<4x8x8xf32>"
    full = "tensor<4x8x16xf32>"
    w = Writer([full, F, F], 0)
    low = w.line(f"tensor.extract_slice %arg0[0, 0, 0] [4, 8, 8] [1, 1, 1] : {full} to {half}")
    high = w.line(f"tensor.extract_slice %arg0[0, 0, 8] [4, 8, 8] [1, 1, 1] : {full} to {half}")
    ids = "d0, d1, d2"
    negative = w.map([(high, half, ids)], half, unary("arith.negf"))
    turned = w.line(f"tensor.concat dim(2) {negative}, {low} : ({half}, {half}) -> {full}")
    plain = w.map([("%arg0", full, ids), ("%arg1", F, "d1, d2")], full, binary("arith.mulf"))
    rotated = w.map([(turned, full, ids), (("%arg2"), F, "d1, d2")], full, binary("arith.mulf"))
    text = w.text([(w.map([(plain, full, ids), (rotated, full, ids)], full, binary("arith.addf")), full)])
    after, summary = fused(text)
    assert summary.calls == {"elementwise": 1}
    assert main_of(after).count("tensor.concat") == 1
    check_equal(text, after)


def test_regions_inside_a_loop_are_outlined() -> None:
    w = Writer(["tensor<16x16xf32>", F], 1)
    bounds = [w.constant(str(i), "index") for i in (0, 3, 1)]
    inner = Writer([], 0)
    inner.lines = list(w.lines)
    product = inner.named("matmul", [("%state", F), ("%arg0", "tensor<16x16xf32>")], F)
    result = inner.map([(product, F, "d0, d1")], F, unary("math.tanh"))
    body = "\n".join(inner.lines[len(w.lines) :])
    w.lines.append(
        f"    %loop = scf.for %i = {bounds[0]} to {bounds[1]} step {bounds[2]} iter_args(%state = %arg1) -> ({F}) {{\n"
        f"{body}\n    scf.yield {result} : {F}\n    }}"
    )
    text = w.text([("%loop", F)])
    after, summary = fused(text)
    assert summary.calls == {"contraction": 1}
    loop = main_of(after)
    assert loop.index("scf.for") < loop.index("call @region_0") < loop.index("scf.yield")
    check_equal(text, after)


def test_decide_can_refuse_and_is_asked_once_for_equal_merges() -> None:
    asked: list[tuple[str, Sequence[str]]] = []

    def refuse(merged: str, parts: Sequence[str]) -> bool:
        asked.append((merged, parts))
        return False

    w = Writer(["tensor<16x16xf32>", "tensor<16xf32>", "tensor<16x16xf32>", "tensor<16xf32>", F], 4)
    first = linear(w, "%arg4", "%arg0", "%arg1", 8, 16, 16)
    text = w.text([(linear(w, first, "%arg2", "%arg3", 8, 16, 16), F)])
    after, summary = fused(text, decide=refuse)
    assert summary.calls == {"contraction": 2, "elementwise": 2}
    assert len(asked) == 1
    merged, parts = asked[0]
    kinds = [re.findall(r'seerc.kind = "(\w+)"', t) for t in (merged, *parts)]
    assert kinds == [["contraction"], ["contraction"], ["elementwise"]]
    check_equal(text, after)


def test_same_input_gives_the_same_text() -> None:
    text = mlp_block()
    assert fused(text)[0] == fused(text)[0]


def test_pass_runs_in_a_pass_manager_and_refuses_a_fused_module() -> None:
    module = ir.Module.parse(mlp_block(), context())
    FusePass().run(module.operation, PassContext())
    assert summarise(module).functions == {"contraction": 1}
    with pytest.raises(PassError, match="already"):
        fuse(module)


def test_module_without_main_is_refused() -> None:
    with pytest.raises(PassError, match="@main"):
        fuse(ir.Module.parse("module {}", context()))
