"""The plain lowering: ops that no other emitter reads, strided arguments, types, temporaries; and the dispatcher."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compiler.emit.candidate import build_candidate, emit_candidate
from costmodel.errors import SeercError
from passes.region.structure import UnsupportedRegion
from tests.compiler.emit.harness import Tensor, close, filled, generic, module, run, schedule

Array = np.ndarray[Any, Any]
PLAIN = schedule("plain")


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape).astype(np.float32)


def plain(inputs: list[Tensor], results: list[Tensor], body: str) -> str:
    """A candidate whose function carries the schedule."""
    text = module(inputs, results, body, PLAIN, "plain")
    return text.replace('seerc.kind = "plain"', f'seerc.kind = "plain", seerc.schedule = {PLAIN}')


def test_concat_and_pad_into_strided_results() -> None:
    x, y = Tensor((3, 4), strides=(9, 2)), Tensor((3, 9), strides=(1, 4))
    body = """%z = arith.constant 1.5 : f32
%c = tensor.concat dim(1) %0, %0 : (tensor<3x4xf32>, tensor<3x4xf32>) -> tensor<3x8xf32>
%p = tensor.pad %c low[0, 1] high[0, 0] {
^bb0(%i: index, %j: index):
  tensor.yield %z : f32
} : tensor<3x8xf32> to tensor<3x9xf32>
return %p : tensor<3x9xf32>"""
    values = numbers(3, 4)
    close(run(plain([x], [y], body), values)[0], np.concatenate([np.full((3, 1), 1.5), values, values], 1), 0)


def test_masks_are_bytes() -> None:
    x, m = Tensor((3, 5)), Tensor((3, 5), "i1", strides=(1, 3))
    body = f"%me = tensor.empty() : {m.type}\n%zero = arith.constant 0.0 : f32\n"
    body += generic(
        "%r", [("%0", x, "d0, d1"), ("%1", m, "d0, d1")], ("%me", m, "d0, d1"), "pp",
        "%c = arith.cmpf ogt, %a0, %zero : f32\n%d = arith.andi %c, %a1 : i1\nyield %d",
    )  # fmt: skip
    values, mask = numbers(3, 5), numbers(3, 5, seed=1) > 0
    got, same = run(plain([x, m], [m, m], body + f"return %r, %1 : {m.type}, {m.type}"), values, mask)
    assert np.array_equal(got, (values > 0) & mask)
    assert np.array_equal(same, mask)


def test_argument_of_the_maximum() -> None:
    """A reduction with two results."""
    x, v, i = Tensor((6, 19)), Tensor((6,)), Tensor((6,), "i64")
    maps = ", ".join(f"affine_map<(d0, d1) -> ({m})>" for m in ("d0, d1", "d0", "d0"))
    body = filled("%low", v, "0xFF800000") + filled("%none", i, "0")
    body += f"""%r:2 = linalg.generic {{indexing_maps = [{maps}], iterator_types = ["parallel", "reduction"]}}
  ins(%0 : {x.type}) outs(%low, %none : {v.type}, {i.type}) {{
^bb0(%a: f32, %m: f32, %n: i64):
  %j = linalg.index 1 : index
  %k = arith.index_cast %j : index to i64
  %c = arith.cmpf ogt, %a, %m : f32
  %b = arith.select %c, %a, %m : f32
  %s = arith.select %c, %k, %n : i64
  linalg.yield %b, %s : f32, i64
}} -> ({v.type}, {i.type})
return %r#0, %r#1 : {v.type}, {i.type}"""
    values = numbers(6, 19)
    best, where = run(plain([x], [v, i], body), values)
    close(best, values.max(1), 0)
    assert np.array_equal(where, values.argmax(1))


def test_loop_with_large_temporaries_frees_them() -> None:
    x = Tensor((64, 300))
    step = generic(
        "%s",
        [("%v", x, "d0, d1"), ("%v", x, "d0, 299 - d1")],
        ("%e", x, "d0, d1"),
        "pp",
        "%t = arith.addf %a0, %a1 : f32\nyield %t",
    )
    body = f"""%c0 = arith.constant 0 : index
%c1 = arith.constant 1 : index
%c3 = arith.constant 3 : index
%e = tensor.empty() : {x.type}
%l = scf.for %i = %c0 to %c3 step %c1 iter_args(%v = %0) -> ({x.type}) {{
{step} scf.yield %s : {x.type}
}}
return %l : {x.type}"""
    text = plain([x], [x], body)
    values = numbers(64, 300)
    want = values.astype(np.float64)
    for _ in range(3):
        want = want + want[:, ::-1]
    close(run(text, values)[0], want, 1e-6)
    emitted = str(emit_candidate(text).module)
    assert emitted.count("memref.alloc(") <= emitted.count("memref.dealloc ")


def test_same_numbers_as_the_direct_emitter() -> None:
    a, b, c = Tensor((9, 7)), Tensor((7, 20), strides=(1, 7), constant=True), Tensor((9, 20), strides=(1, 9))
    body = filled("%f", c, "0.0") + generic(
        "%r", [("%0", a, "d0, d2"), ("%1", b, "d2, d1")], ("%f", c, "d0, d1"), "ppr",
        "%m = arith.mulf %a0, %a1 : f32\n%s = arith.addf %o, %m : f32\nyield %s", root=True,
    )  # fmt: skip
    x, y = numbers(9, 7), numbers(7, 20)
    for how in (PLAIN, schedule()):
        close(run(module([a, b], [c], body + f"return %r : {c.type}", how), x, y)[0], x.astype(np.float64) @ y, 1e-6)


def test_result_that_is_an_argument() -> None:
    x = Tensor((3, 5))
    values = numbers(3, 5)
    close(run(plain([x], [Tensor((3, 5), strides=(1, 3))], f"return %0 : {x.type}"), values)[0], values, 0)


def test_object_code_defines_the_kernel() -> None:
    x = Tensor((3, 5))
    for text in (plain([x], [x], f"return %0 : {x.type}"), module([x], [x], _copy(x), schedule())):
        code = build_candidate(text)
        assert code.startswith(b"\x7fELF")
        assert b"kernel" in code


def _copy(x: Tensor) -> str:
    text = f"%e = tensor.empty() : {x.type}\n"
    return (
        text
        + generic("%r", [("%0", x, "d0, d1")], ("%e", x, "d0, d1"), "pp", "yield %a0", True)
        + f"return %r : {x.type}"
    )


def test_errors_name_what_is_wrong() -> None:
    x = Tensor((3, 5))
    with pytest.raises(SeercError, match="custom op"):
        emit_candidate("module { nonsense }")
    with pytest.raises(SeercError, match=r"kernel: no op of the candidate has a seerc\.schedule"):
        emit_candidate(module([x], [x], f"return %0 : {x.type}", schedule()))
    with pytest.raises(UnsupportedRegion, match="needs a reduction"):
        emit_candidate(module([x], [x], _copy(x), schedule("row")))
    with pytest.raises(UnsupportedRegion, match="one function, this has 0"):
        emit_candidate("module {}")
