"""The canonical form and the parser: what must not matter does not, what matters does, bad text gives a clear error."""

# ruff: noqa: E501
from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.errors import SeercError
from costmodel.schedules import DEFAULTS, canonical_schedule, parse_schedule
from costmodel.syntax import MAX_DEPTH
from costmodel.text import canonical, canonical_functions, join_candidate, split_candidate, workload_hash
from costmodel.workload import parse_workload
from passes.tiling.schedule import Schedule

SOFTMAX = """#map = affine_map<(d0, d1) -> (d0, d1)>
#map1 = affine_map<(d0, d1) -> (d0)>
func.func private @region_4(%arg0: tensor<64x128xf32>) -> tensor<64x128xf32> attributes {seerc.kind = "row"} {
  %cst = arith.constant 0xFF800000 : f32
  %cst_0 = arith.constant 0.000000e+00 : f32
  %0 = tensor.empty() : tensor<64xf32>
  %1 = tensor.empty() : tensor<64x128xf32>
  %2 = linalg.fill ins(%cst : f32) outs(%0 : tensor<64xf32>) -> tensor<64xf32>
  %3 = linalg.generic {indexing_maps = [#map, #map1], iterator_types = ["parallel", "reduction"]} ins(%arg0 : tensor<64x128xf32>) outs(%2 : tensor<64xf32>) attrs =  {seerc.root} {
  ^bb0(%in: f32, %out: f32):
    %8 = arith.maximumf %in, %out : f32
    linalg.yield %8 : f32
  } -> tensor<64xf32>
  %4 = linalg.fill ins(%cst_0 : f32) outs(%0 : tensor<64xf32>) -> tensor<64xf32>
  %5:2 = linalg.generic {indexing_maps = [#map, #map1, #map, #map1], iterator_types = ["parallel", "reduction"]} ins(%arg0, %3 : tensor<64x128xf32>, tensor<64xf32>) outs(%1, %4 : tensor<64x128xf32>, tensor<64xf32>) {
  ^bb0(%in: f32, %in_1: f32, %out: f32, %out_2: f32):
    %8 = arith.subf %in, %in_1 : f32
    %9 = math.exp %8 : f32
    %10 = arith.addf %9, %out_2 : f32
    linalg.yield %9, %10 : f32, f32
  } -> (tensor<64x128xf32>, tensor<64xf32>)
  %6 = linalg.generic {indexing_maps = [#map, #map1, #map], iterator_types = ["parallel", "parallel"]} ins(%5#0, %5#1 : tensor<64x128xf32>, tensor<64xf32>) outs(%1 : tensor<64x128xf32>) {
  ^bb0(%in: f32, %in_1: f32, %out: f32):
    %8 = arith.divf %in, %in_1 : f32
    linalg.yield %8 : f32
  } -> tensor<64x128xf32>
  return %6 : tensor<64x128xf32>
}
"""
IM2COL = """func.func @conv(%arg0: tensor<1x57x57x64xf32>, %arg1: tensor<128x64x3x3xf32> {seerc.constant}) -> tensor<1x28x28x128xf32> {
  %cst = arith.constant 0.000000e+00 : f32
  %0 = tensor.empty() : tensor<1x28x28x128xf32>
  %1 = linalg.fill ins(%cst : f32) outs(%0 : tensor<1x28x28x128xf32>) -> tensor<1x28x28x128xf32>
  %2 = linalg.generic {indexing_maps = [affine_map<(n, h, w, f, kh, kw, c) -> (n, h * 2 + kh, 2 * w + kw, c)>, affine_map<(n, h, w, f, kh, kw, c) -> (f, c, kh, kw)>, affine_map<(n, h, w, f, kh, kw, c) -> (n, h, w, f)>], iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction", "reduction", "reduction"]} ins(%arg0, %arg1 : tensor<1x57x57x64xf32>, tensor<128x64x3x3xf32>) outs(%1 : tensor<1x28x28x128xf32>) {
  ^bb0(%in: f32, %in_0: f32, %out: f32):
    %3 = arith.mulf %in, %in_0 : f32
    %4 = arith.addf %out, %3 : f32
    linalg.yield %4 : f32
  } -> tensor<1x28x28x128xf32>
  return %2 : tensor<1x28x28x128xf32>
}
"""


def rewritten(text: str, seed: int) -> str:
    """The same function with other names, spaces, attribute order, map spelling and comments."""
    chosen = random.Random(seed)
    found = sorted(set(re.findall(r"%\w+", text)))
    fresh = [f"%{'abcxyz_'[i % 7]}{i}{chosen.choice(['', '.v', '$', '-1'])}" for i in range(len(found))]
    chosen.shuffle(fresh)
    table = dict(zip(found, fresh, strict=True))
    text = re.sub(r"%\w+", lambda m: table[m.group()], text)
    text = re.sub(r"@\w+", "@" + chosen.choice(["f", "region_77", "x.y"]), text)
    if chosen.random() < 0.5:
        text = re.sub(r"\{(indexing_maps = \[.*?\]), (iterator_types = \[.*?\])\}", r"{\2, \1}", text)
    if chosen.random() < 0.5:
        text = text.replace("d0", "i").replace("d1", "j").replace("#map1", "#other")
    if chosen.random() < 0.5:
        text = re.sub(r"f32\n", "f32 loc(unknown)\n", text) + '#loc1 = loc("a.py":3:4)\n'
    separator = chosen.choice([" ", "  ", " // note\n ", "\n"])
    return (
        re.sub(r"(?<=[,=]) ", lambda m: separator, text)
        if separator == "  "
        else text.replace("ins(", separator + "ins(")
    )


@pytest.mark.parametrize("text", [SOFTMAX, IM2COL])
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_canonical_form_ignores_spelling(text: str, seed: int) -> None:
    other = rewritten(text, seed)
    assert canonical(other) == canonical(text)
    assert canonical(canonical(text)) == canonical(text)
    assert parse_workload(other) == parse_workload(text)


def test_canonical_form_ignores_order_and_dead_code(matmul: Callable[..., str]) -> None:
    lines = matmul(8, 16, 32).splitlines()
    first = next(i for i, line in enumerate(lines) if "%cst =" in line)
    lines[first], lines[first + 1] = lines[first + 1], lines[first]
    lines.insert(first, "    %dead = arith.constant 3.0 : f32")
    assert workload_hash("\n".join(lines)) == workload_hash(matmul(8, 16, 32))


def test_what_is_computed_matters(matmul: Callable[..., str]) -> None:
    text = matmul(8, 16, 32)
    changed = [
        matmul(8, 16, 33),
        matmul(8, 16, 32, gelu=True),
        text.replace("arith.addf", "arith.subf"),
        text.replace("{seerc.constant, seerc.strides = array<i64: 1, 32>}", "{seerc.strides = array<i64: 1, 32>}"),
        text.replace("array<i64: 1, 32>", "array<i64: 16, 1>"),
        text.replace("(d0, d1, d2) -> (d2, d1)", "(d0, d1, d2) -> (d1, d2)"),
        text.replace('"contraction"', '"plain"'),
        text.replace("0.000000e+00", "1.000000e+00"),
        text.replace("arith.addf %out, %7", "arith.addf %7, %7"),
    ]
    assert len({workload_hash(t) for t in [text, *changed]}) == len(changed) + 1


def test_canonical_form_is_mlir_that_prints_to_the_same_form(matmul: Callable[..., str]) -> None:
    from passes.mlir import context, ir

    for text in (SOFTMAX, IM2COL, matmul(8, 16, 32, gelu=True)):
        with context():
            module = ir.Module.parse(canonical(text))
            assert module.operation.verify()
            assert canonical(str(module)) == canonical(text)


def test_schedule_goes_in_and_out(matmul: Callable[..., str], schedule: Callable[..., str]) -> None:
    text = matmul(8, 16, 32)
    candidate = join_candidate(text, schedule(6, 2))
    assert split_candidate(candidate) == (text, schedule(6, 2))
    assert workload_hash(candidate) == workload_hash(text)
    assert parse_workload(candidate).schedule == schedule(6, 2)
    assert split_candidate(canonical(candidate))[1] is not None
    with pytest.raises(SeercError, match=r"no op with the attribute seerc\.root"):
        join_candidate(IM2COL, schedule(6, 2))


def test_parsed_workload() -> None:
    conv = parse_workload(IM2COL)
    root = conv.ops[conv.root]
    assert root.extents == (1, 28, 28, 128, 3, 3, 64)
    assert root.iterators.count("reduction") == 3
    assert root.maps[0][2].terms == ((2, 2), (5, 1))
    assert root.histogram == {"arith.mulf": 1, "arith.addf": 1}
    assert [t.constant for t in conv.values[: conv.arguments]] == [False, True]
    softmax = parse_workload(SOFTMAX)
    assert softmax.kind == "row"
    assert [len(op.results) for op in softmax.ops if op.maps] == [1, 2, 1]
    assert softmax.ops[-1].operands[:2] == softmax.ops[-2].results


def test_functions_of_a_module(matmul: Callable[..., str]) -> None:
    module = matmul(8, 16, 32).rstrip().removesuffix("}") + SOFTMAX.split("\n", 2)[2] + "}\n"
    module = module.replace("[#map, #map1]", "[#map3, #rows]").replace("[#map, #map1, #map", "[#map3, #rows, #map3")
    found = dict(canonical_functions("#rows = affine_map<(a, b) -> (a)>\n" + module))
    assert set(found) == {"region_0", "region_4"}
    assert canonical(SOFTMAX) == canonical(SOFTMAX.replace("#map1", "#rows"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "line 1: no func.func"),
        ("hello", "expected an operation"),
        (SOFTMAX[:900], "truncated"),
        (SOFTMAX.replace("%5#0", "%nothing"), "line 22: %nothing is used before it is defined"),
        (SOFTMAX.replace("64x128", "?x128"), "line 3: tensor<\\?x128xf32> is not a static tensor"),
        (SOFTMAX.replace("128", "9" * 30), "elements"),
        (SOFTMAX.replace("math.exp", "gpu.exp").replace("tensor.empty", "gpu.alloc"), "line 6: a workload holds"),
        (SOFTMAX.replace("[#map, #map1],", "[#map],"), "line 9: linalg.generic has 1 maps for 2 operands"),
        (SOFTMAX + SOFTMAX, "expected one function"),
        ('"builtin.module"() ({ "func.func"() ({}) : () -> () }) : () -> ()', "generic form"),
        ("func.func @f() {" + "(" * (MAX_DEPTH + 1), "nests deeper"),
        ("func.func @f() }", "closes nothing"),
        ("func.func @f() { ` }", "unexpected character"),
    ],
)
def test_bad_text_gives_a_clear_error(text: str, reason: str) -> None:
    with pytest.raises(SeercError, match=reason):
        parse_workload(text)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_text_gives_a_clear_error_or_parses(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([SOFTMAX, IM2COL]))
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 40)))
    damaged = text[:start] + data.draw(st.text('%#(){}[]<>=:,-x09 a"', max_size=6)) + text[end:]
    with contextlib.suppress(SeercError):
        assert parse_workload(damaged).ops


def test_schedule_fields_are_those_of_the_compiler() -> None:
    assert canonical_schedule(None) == str(Schedule())
    assert set(DEFAULTS) == set(Schedule.__dataclass_fields__)
    changed = Schedule("winograd4", 16, 3, 5, 2, 96, 128, "rows-columns", False, False)
    assert canonical_schedule(str(changed)) == str(changed)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{tile = 3 : i64}", "tile"),
        ('{rows = "six"}', "rows"),
        ("{rows = -1 : i64}", "rows"),
        ('{algorithm = "magic"}', "magic"),
        ("{rows = 6 : i64, rows", "cannot read"),
        ("{pack = 3 : i64}", "pack"),
    ],
)
def test_bad_schedule_gives_a_clear_error(text: str, reason: str) -> None:
    with pytest.raises(SeercError, match=reason):
        parse_schedule(text)
