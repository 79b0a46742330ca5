"""Tokenizers read any MLIR, do not see names, keep numbers, and survive JSON."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from costmodel.errors import SeercError
from costmodel.text import join_candidate
from costmodel.tokens.tokenizer import SCHEMES, Tokenizer
from costmodel.tokens.word import CHANNELS, Word, channels

LOOPS = """#map = affine_map<(d0)[s0] -> (d0 + s0)>
func.func @f(%a: memref<?x8xf32, strided<[8, 1], offset: ?>>, %n: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  scf.for %i = %c0 to %n step %c1 {
    affine.for %j = 0 to 8 step 4 {
      %v = vector.load %a[%i, %j] : memref<?x8xf32, strided<[8, 1], offset: ?>>, vector<4xf32>
      %w = arith.mulf %v, %v : vector<4xf32>
      %z = affine.apply #map(%i)[%n]
      vector.store %w, %a[%z, %j] : memref<?x8xf32, strided<[8, 1], offset: ?>>, vector<4xf32>
    }
  }
  return
}
"""


@pytest.mark.parametrize("scheme", SCHEMES)
def test_json_keeps_a_tokenizer(scheme: str, matmul: Callable[..., str]) -> None:
    made = Tokenizer.build(scheme, [matmul(8, 16, 32), LOOPS])
    again = Tokenizer.from_json(made.to_json())
    assert again == made
    assert np.array_equal(again.encode(LOOPS).ids, made.encode(LOOPS).ids)
    assert made.encode(LOOPS).ids.min() >= 2, "no training word is unknown"
    assert made.decode(made.encode(LOOPS).ids).count("<unk>") == 0


@pytest.mark.parametrize("scheme", SCHEMES)
def test_names_spacing_and_comments_leave_no_trace(scheme: str, matmul: Callable[..., str]) -> None:
    for text in (matmul(8, 16, 32, gelu=True), LOOPS):
        other = re.sub(r"%(\w+)", r"%zz_\1", text).replace("#map", "#other").replace("@", "@x_")
        other = other.replace(" : ", "   :  ").replace("\n", " // note\n")
        tokenizer = Tokenizer.build(scheme, [text])
        a, b = tokenizer.encode(text), tokenizer.encode(other)
        assert np.array_equal(a.ids, b.ids)
        assert np.array_equal(a.numbers, b.numbers)


def test_ops_are_names_in_order() -> None:
    tokenizer = Tokenizer.build("ops", [LOOPS])
    names = "func.func arith.constant arith.constant scf.for affine.for vector.load arith.mulf affine.apply"
    assert tokenizer.decode(tokenizer.encode(LOOPS).ids) == [*names.split(), "vector.store", "return"]


def test_a_new_shape_is_unknown_to_operands_and_a_number_to_seerc(matmul: Callable[..., str]) -> None:
    known, new = matmul(8, 16, 32), matmul(24, 48, 96)
    assert 1 in Tokenizer.build("operands", [known]).encode(new).ids
    ours = Tokenizer.build("seerc", [known])
    assert np.array_equal(ours.encode(new).ids, ours.encode(known).ids)
    assert not np.array_equal(ours.encode(new).numbers, ours.encode(known).numbers)


def test_strides_and_transposed_maps_change_the_tokens(matmul: Callable[..., str]) -> None:
    text = matmul(8, 16, 32)
    ours = Tokenizer.build("seerc", [text])
    for other in (text.replace("array<i64: 1, 32>", "array<i64: 16, 1>"), text.replace("-> (d2, d1)", "-> (d1, d2)")):
        a, b = ours.encode(text), ours.encode(other)
        assert not (np.array_equal(a.ids, b.ids) and np.array_equal(a.numbers, b.numbers))


def test_depth_counts_regions() -> None:
    tokenizer = Tokenizer.build("seerc", [LOOPS])
    found = tokenizer.encode(LOOPS)
    depth = {w: n[-1] * 4 for w, n in zip(tokenizer.decode(found.ids), found.numbers, strict=True)}
    assert (depth["scf"], depth["affine"], depth["mulf"], depth["return"]) == (1, 3, 3, 1)


@pytest.mark.parametrize("scheme", ["operands", "seerc"])
def test_a_schedule_appends_its_tokens(scheme: str, matmul: Callable[..., str], schedule: Callable[..., str]) -> None:
    workload, fields = matmul(8, 16, 32), schedule(4, 2)
    tokenizer = Tokenizer.build(scheme, [workload], [fields])
    whole, alone = tokenizer.encode(join_candidate(workload, fields)), tokenizer.encode(workload)
    part = tokenizer.encode_schedule(fields)
    assert np.array_equal(whole.ids, np.concatenate([alone.ids, part.ids]))
    assert np.array_equal(whole.numbers, np.concatenate([alone.numbers, part.numbers]))
    assert 0 < len(part) <= 10


def test_numbers_have_size_sign_and_divisors() -> None:
    found = dict(zip(CHANNELS, channels([Word("<number>", -48.0, 2), Word("x"), Word("x", 0.0)]).T, strict=True))
    assert found["log2"][0] == pytest.approx(np.log2(49) / 8)
    assert [found[c][0] for c in ("negative", "by4", "by8", "by16", "by64")] == [1, 1, 1, 1, 0]
    assert not any(found[c][1] for c in CHANNELS)
    assert not any(found[c][2] for c in CHANNELS), "zero is divisible by everything, which says nothing"


@pytest.mark.parametrize("content", ["{", "[]", '{"scheme": "seerc"}', '{"scheme": "seerc", "words": ["a", "a"]}'])
def test_a_broken_tokenizer_is_refused(content: str) -> None:
    with pytest.raises(SeercError, match=r"tokenizer\.json"):
        Tokenizer.from_json(content)


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(SeercError, match="did you mean operands"):
        Tokenizer.build("operand", [LOOPS])
