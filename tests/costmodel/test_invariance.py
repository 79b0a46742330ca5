"""How a workload is written does not matter: canonical text, hash and predictions stay the same, bit for bit."""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import costmodel
from costmodel.errors import SeercError
from costmodel.protocol import CostModel, load_cost_model
from costmodel.record import read_table
from costmodel.schedules import canonical_schedule
from costmodel.target import Target
from costmodel.text import canonical, canonical_functions, join_candidate, workload_hash
from costmodel.workload import Workload, parse_workload
from passes.mlir import context, ir

DATA = Path(costmodel.__file__).parent / "data" / "records.parquet"
TEXTS = 24
_DICTIONARY = re.compile(r"\{([^{}^%\n]*)\}")


def _rename_values(text: str, chosen: random.Random) -> str:
    found = sorted(set(re.findall(r"%[\w$.-]+", text)))
    fresh = [f"%{chosen.choice('abxyz_')}{i}{chosen.choice(['', '.v', '$', '-1'])}" for i in range(len(found))]
    chosen.shuffle(fresh)
    table = dict(zip(found, fresh, strict=True))
    return re.sub(r"%[\w$.-]+", lambda m: table[m.group()], text)


def _shuffle_attributes(text: str, chosen: random.Random) -> str:
    def shuffled(match: re.Match[str]) -> str:
        parts = re.findall(r"(?:[^,<\[]|<[^<>]*>|\[(?:[^\[\]<]|<(?:->|[^<>])*>)*\])+", match[1])
        chosen.shuffle(parts)
        return "{" + ", ".join(p.strip() for p in parts) + "}"

    return _DICTIONARY.sub(shuffled, text)


def _respace(text: str, chosen: random.Random) -> str:
    return re.sub(r"(?<=[,=]) | (?=[{:(])", lambda m: chosen.choice([" ", "  ", "\t", "\n    "]), text)


def _comment(text: str, chosen: random.Random) -> str:
    notes = ["", " // %0 = fill", ' // "a"(', "\n// func.func @x() {", " // #map = affine_map<() -> ()>"]
    return "".join(line + chosen.choice(notes) + "\n" for line in text.splitlines())


def _rename_function(text: str, chosen: random.Random) -> str:
    return re.sub(r"@\w+", "@" + chosen.choice(["f", "region_77", "x.y", '"two words"']), text, count=1)


def _print(text: str, **options: bool) -> str:
    with context():
        return ir.Module.parse(text).operation.get_asm(**options)


def _rename_maps(text: str, chosen: random.Random) -> str:
    printed = _print(text)
    return re.sub(r"#map\b", "#first", printed).replace("#map1", f"#m{chosen.randrange(9)}.x")


SPELLINGS: dict[str, Callable[[str, random.Random], str]] = {
    "values": _rename_values,
    "attributes": _shuffle_attributes,
    "space": _respace,
    "comments": _comment,
    "name": _rename_function,
    "aliases": lambda text, _: _print(text),
    "alias names": _rename_maps,
    "no aliases": lambda text, _: _print(text, use_local_scope=True),
    "generic": lambda text, _: _print(text, print_generic_op_form=True),
    "locations": lambda text, _: _print(text, enable_debug_info=True),
    "generic locations": lambda text, _: _print(text, enable_debug_info=True, print_generic_op_form=True),
}


@lru_cache
def candidates() -> tuple[Target, list[str]]:
    """The target and valid candidate texts of the data that ship, of many kinds and sizes."""
    rows = read_table(DATA).select(["workload", "schedule", "target"]).to_pylist()
    schedules: dict[str, str] = {}
    for row in rows:
        # Datasets of before 2026-11-24 lost the root's mark along with its schedule.
        schedules.setdefault(row["workload"].replace("attrs = {\n", "attrs = { seerc.root } {\n"), row["schedule"])
    texts = sorted(schedules, key=len)
    chosen = [t for t in [*texts[:: max(1, len(texts) // TEXTS)], *texts[-2:]] if _valid(t)]
    assert len(chosen) > TEXTS // 2
    return Target.from_json(rows[0]["target"]), [join_candidate(t, schedules[t]) for t in chosen]


def _valid(text: str) -> bool:
    with context():
        try:
            ir.Module.parse(text)
        except ir.MLIRError:
            return False
    return True


@lru_cache
def _models() -> list[CostModel]:
    found = [load_cost_model(name, candidates()[0]) for name in ("analytic", "default")]
    return [m for m in found if m is not None]


def _parsed(text: str) -> Workload:
    parsed = parse_workload(text)
    return replace(parsed, schedule=canonical_schedule(parsed.schedule))


@pytest.mark.parametrize("spelling", SPELLINGS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_spelling_changes_nothing(spelling: str, data: st.DataObject) -> None:
    target, texts = candidates()
    text = data.draw(st.sampled_from(texts))
    other = SPELLINGS[spelling](text, random.Random(data.draw(st.integers(0, 2**32))))
    assert canonical(other) == canonical(text)
    assert workload_hash(other) == workload_hash(text)
    assert _parsed(other) == _parsed(text)
    for model in _models():
        assert model.predict([other], target) == model.predict([text], target)


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_spellings_together_change_nothing(data: st.DataObject) -> None:
    _, texts = candidates()
    text = data.draw(st.sampled_from(texts))
    chosen = random.Random(data.draw(st.integers(0, 2**32)))
    other = _print(text, print_generic_op_form=chosen.random() < 0.5)
    for name in ("values", "attributes", "space", "comments"):
        other = SPELLINGS[name](other, chosen)
    assert canonical(other) == canonical(text)


EVERY_OP = """
func.func private @g(%a: tensor<4x8xf32> {seerc.strides = array<i64: 8, 1>}, %b: tensor<i1>, %c: tensor<4x8xi64>)
    -> (tensor<4x8xf32> {seerc.strides = array<i64: 8, 1>}, tensor<4x8xi1>) attributes {seerc.kind = "plain"} {
  %t = arith.constant true
  %k = arith.constant 3 : i64
  %i3 = arith.constant 3 : index
  %d = arith.constant dense<[1.0, 2.0]> : tensor<2xf32>
  %e = tensor.expand_shape %a [[0, 1], [2]] output_shape [1, 4, 8] : tensor<4x8xf32> into tensor<1x4x8xf32>
  %f = tensor.collapse_shape %e [[0, 1, 2]] : tensor<1x4x8xf32> into tensor<32xf32>
  %s = tensor.extract_slice %a[%i3, 2] [4, 4] [1, 1] : tensor<4x8xf32> to tensor<4x4xf32>
  %is = tensor.insert_slice %s into %a[0, %i3] [4, 4] [1, 1] : tensor<4x4xf32> into tensor<4x8xf32>
  %cst = arith.constant 0.0 : f32
  %p = tensor.pad %is low[1, 0] high[1, 0] {
  ^bb0(%x: index, %y: index): tensor.yield %cst : f32
  } : tensor<4x8xf32> to tensor<6x8xf32>
  %em = tensor.empty() : tensor<8x6xf32>
  %tr = linalg.transpose ins(%p : tensor<6x8xf32>) outs(%em : tensor<8x6xf32>) permutation = [1, 0]
  %cc = tensor.concat dim(0) %tr, %tr : (tensor<8x6xf32>, tensor<8x6xf32>) -> tensor<16x6xf32>
  %c2 = tensor.cast %cc : tensor<16x6xf32> to tensor<?x6xf32>
  %dd = tensor.dim %c2, %i3 : tensor<?x6xf32>
  %e1 = tensor.empty() : tensor<4x8xi1>
  %e0 = tensor.empty() : tensor<4x8xf32>
  %fe = tensor.from_elements %cst, %cst : tensor<2xf32>
  %sp = tensor.splat %cst : tensor<4x8xf32>
  %ge = tensor.generate {
  ^bb0(%i: index, %j: index): tensor.yield %cst : f32
  } : tensor<4x8xf32>
  %m1 = tensor.empty() : tensor<4x4xf32>
  %m2 = tensor.empty() : tensor<8x4xf32>
  %mm = linalg.matmul ins(%ge, %m2 : tensor<4x8xf32>, tensor<8x4xf32>) outs(%m1 : tensor<4x4xf32>) -> tensor<4x4xf32>
  %g:2 = linalg.generic {
      indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> ()>, affine_map<(d0, d1) -> (d0, d1)>,
                       affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, d1)>],
      iterator_types = ["parallel", "parallel"], doc = "hi"}
      ins(%sp, %b, %c : tensor<4x8xf32>, tensor<i1>, tensor<4x8xi64>)
      outs(%e0, %e1 : tensor<4x8xf32>, tensor<4x8xi1>) attrs = {seerc.root} {
  ^bb0(%in: f32, %in_0: i1, %in_1: i64, %out: f32, %out2: i1):
    %0 = linalg.index 0 : index
    %1 = arith.index_cast %in_1 : i64 to index
    %2 = tensor.extract %mm[%0, %dd] : tensor<4x4xf32>
    %3 = arith.cmpf ogt, %in, %2 : f32
    %33 = arith.cmpf ogt, %in, %2 fastmath<nnan> : f32
    %4 = arith.select %3, %in, %2 : f32
    %5 = arith.addf %4, %2 fastmath<contract> : f32
    %7 = math.erf %5 : f32
    %8 = math.fma %7, %5, %5 : f32
    %9 = arith.negf %8 : f32
    %10 = arith.cmpi slt, %in_1, %k : i64
    %11 = arith.addi %in_1, %k overflow<nsw> : i64
    %12 = arith.sitofp %11 : i64 to f32
    %13 = arith.addf %12, %9 : f32
    %14 = math.fpowi %13, %in_1 : f32, i64
    %15 = math.absf %14 fastmath<nnan,contract> : f32
    %16 = arith.truncf %13 : f32 to f16
    %17 = arith.extf %16 : f16 to f32
    %18 = arith.minimumf %15, %17 : f32
    %22, %23 = arith.addui_extended %11, %11 : i64, i1
    %24 = math.isnan %18 : f32
    %25 = arith.andi %10, %24 : i1
    %26 = arith.andi %33, %23 : i1
    %27 = arith.andi %25, %26 : i1
    %h = func.call @h(%18) : (f32) -> f32
    %28, %29 = math.sincos %h : f32
    linalg.yield %29, %27 : f32, i1
  } -> (tensor<4x8xf32>, tensor<4x8xi1>)
  return %g#0, %g#1 : tensor<4x8xf32>, tensor<4x8xi1>
}
func.func private @h(f32) -> f32
"""


@pytest.mark.parametrize("options", [{"print_generic_op_form": True}, {"use_local_scope": True}, {}])
def test_every_op_of_workloads_reads_the_same_in_generic_form(options: dict[str, bool]) -> None:
    ((_, expected),) = canonical_functions(EVERY_OP)
    ((name, found),) = canonical_functions(_print(EVERY_OP, **options))
    assert (name, found) == ("g", expected)
    assert "tensor.pad" in expected
    assert '"' not in re.sub(r'"(parallel|plain|hi)"', "", expected), "an op stayed in generic form"


AFFINE = """#shift = affine_map<(d0)[s0] -> (d0 + s0)>
#even = affine_set<(d0) : (d0 mod 2 == 0)>
func.func @f(%a: memref<8x8xf32, affine_map<(i, j) -> (j, i)>>, %n: index) -> f32 {
  %zero = arith.constant 0.0 : f32
  %w = arith.constant dense<1.0> : vector<4xf32>
  %b = memref.alloc() : memref<8xf32>
  affine.for %i = 0 to min affine_map<(d0) -> (d0, 8)>(%n) step 2 {
    affine.for %j = affine_map<(d0) -> (d0)>(%i) to 8 {
      %k = affine.apply #shift(%i)[%n]
      %v = affine.load %a[%i + 1, %j floordiv 2] : memref<8x8xf32, affine_map<(i, j) -> (j, i)>>
      affine.if #even(%j) {
        affine.store %v, %b[%j] : memref<8xf32>
      } else {
        affine.vector_store %w, %b[%k] : memref<8xf32>, vector<4xf32>
      }
    }
  }
  affine.parallel (%p, %q) = (0, 0) to (8, 8) step (2, 4) {
    affine.store %zero, %b[symbol(%n) + 3] : memref<8xf32>
  }
  %s = affine.for %i = 0 to 8 iter_args(%acc = %zero) -> (f32) {
    %v = affine.load %b[%i] : memref<8xf32>
    %t = arith.addf %acc, %v : f32
    affine.yield %t : f32
  }
  return %s : f32
}
"""


def _loops() -> list[str]:
    """Texts after tiling: kernels as the emitters print them, and the affine dialect."""
    from compiler.emit.candidate import emit_candidate

    return [AFFINE, *(str(emit_candidate(text).module) for text in candidates()[1][::6])]


def test_loops_have_a_canonical_form_too() -> None:
    chosen = random.Random(0)
    for text in _loops():
        ((_, printed),) = canonical_functions(text)
        assert _print(printed), "the canonical form is MLIR"
        assert canonical(printed) == printed
        for spelling in ("aliases", "no aliases", "alias names", "values", "comments", "name", "locations"):
            assert canonical(SPELLINGS[spelling](text, chosen)) == printed, spelling
    assert canonical(AFFINE.replace("step 2", "step 3")) != canonical(AFFINE)
    assert canonical(AFFINE.replace("mod 2", "mod 3")) != canonical(AFFINE)


def test_block_names_do_not_matter() -> None:
    text = """func.func @f(%c: i1, %x: f32) -> f32 {
  cf.cond_br %c, ^left(%x : f32), ^right
^left(%y: f32):
  return %y : f32
^right:
  return %x : f32
}
"""
    assert canonical(_print(text)) == canonical(text) == canonical(text.replace("left", "b").replace("right", "a"))
    assert canonical(text.replace("^right\n", "^left(%x : f32)\n", 1)) != canonical(text)


def test_effects_keep_their_order() -> None:
    text = """func.func @f(%m: memref<8xf32>) -> (f32, f32) {
  %i = arith.constant 0 : index
  %old = memref.load %m[%i] : memref<8xf32>
  %sum = scf.for %k = %i to %i step %i iter_args(%a = %old) -> (f32) {
    memref.store %a, %m[%k] : memref<8xf32>
    scf.yield %a : f32
  }
  %new = memref.load %m[%i] : memref<8xf32>
  return %new, %sum : f32, f32
}
"""
    printed = canonical(text)
    assert canonical(_print(printed)) == printed
    assert printed.index("scf.for") < printed.rindex("memref.load")
    assert "memref.store" in canonical(text.replace("%new, %sum", "%new, %new"))


def test_empty_loops_stay_loops() -> None:
    text = "func.func @f() {\n  affine.for %i = 0 to 10 {\n  }\n  return\n}\n"
    assert canonical(_print(canonical(text))) == canonical(text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(%arg0, %0)", "(%arg0)"),
        ("value = ", "values = "),
        (" -> tensor<2xf32>\n", " -> tensor<2xf32>, \n"),
        ("^", "@"),
    ],
)
def test_damaged_generic_form_gives_a_clear_error_or_other_text(old: str, new: str) -> None:
    text = _print(
        """func.func @f(%arg0: tensor<2xf32>) -> tensor<2xf32> {
  %0 = arith.constant dense<1.0> : tensor<2xf32>
  %1 = arith.addf %arg0, %0 : tensor<2xf32>
  return %1 : tensor<2xf32>
}""",
        print_generic_op_form=True,
    )
    assert old in text
    with contextlib.suppress(SeercError):
        assert canonical(text.replace(old, new)) != canonical(text)
