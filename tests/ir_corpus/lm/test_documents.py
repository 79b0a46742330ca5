"""The arms read the same pairs and differ in what stands next to what."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np
import pytest

from costmodel.errors import SeercError
from ir_corpus.lm.documents import Arm, Encoded, Mixture

SENTINELS = {"<|pad|>": 0, "<|end|>": 1, "<source_to_llvm>": 2, "<llvm_to_source>": 3}
PAIRS = tuple(
    Encoded(np.array([100 + i], np.int32), np.array([200 + i], np.int32), "c" if i < 6 else "rust") for i in range(8)
)
FURTHER = tuple(
    Encoded(np.array([300 + i], np.int32), np.array([400 + i], np.int32), p.language) for i, p in enumerate(PAIRS)
)


def drawn(arm: Arm, count: int = 400, **options: object) -> list[list[int]]:
    mixture = Mixture(PAIRS, FURTHER, arm, SENTINELS, **options)  # type: ignore[arg-type]
    return [d.tolist() for d in islice(mixture.documents(), count)]


def test_paired_documents_hold_both_sides_of_one_pair_in_both_directions() -> None:
    found = drawn(Arm.PAIRED)
    assert all(d[3] == 1 and abs(d[2] - d[0]) == 100 for d in found)
    directions = Counter(d[1] for d in found)
    assert directions.keys() == {2, 3}
    assert min(directions.values()) > 150
    assert all((d[0] < 200) == (d[1] == 2) for d in found)


def test_mispaired_documents_never_hold_a_pair_but_one_language() -> None:
    for source, ir in ((d[0], d[2]) if d[1] == 2 else (d[2], d[0]) for d in drawn(Arm.MISPAIRED)):
        assert ir - source != 100
        assert (source < 106) == (ir < 206)


def test_unpaired_documents_are_the_sides_alone() -> None:
    found = drawn(Arm.UNPAIRED)
    assert all(len(d) == 2 and d[1] == 1 for d in found)
    assert {d[0] for d in found} == {*range(100, 108), *range(200, 208)}
    assert not any(b[0] - a[0] == 100 for a, b in zip(found[::2], found[1::2], strict=True))


def test_source_arms_read_no_ir() -> None:
    assert {d[0] for d in drawn(Arm.SOURCE)} == set(range(100, 108))
    assert {d[0] for d in drawn(Arm.MORE_SOURCE)} == {*range(100, 108), *range(300, 308)}


def test_all_arms_draw_the_same_pairs() -> None:
    def sources(arm: Arm, stride: int) -> list[int]:
        return [next(t for t in d if 100 <= t < 200) for d in drawn(arm)[::stride]][:200]

    expected = sources(Arm.SOURCE, 1)
    assert sources(Arm.PAIRED, 1) == sources(Arm.UNPAIRED, 2) == sources(Arm.MORE_SOURCE, 2) == expected


def test_every_pair_is_read_once_before_any_is_read_again() -> None:
    found = [d[0] for d in drawn(Arm.SOURCE) if d[0] < 106]
    assert all(len(set(found[i : i + 6])) == 6 for i in range(0, len(found) - 6, 6))


def test_a_seed_is_an_order() -> None:
    assert drawn(Arm.PAIRED, seed=1) == drawn(Arm.PAIRED, seed=1) != drawn(Arm.PAIRED, seed=2)


def test_temperature_evens_languages_out() -> None:
    shares = [sum(d[0] >= 106 for d in drawn(Arm.SOURCE, 2000, temperature=t)) / 2000 for t in (1.0, 2.0, 100.0)]
    assert shares == pytest.approx([1 / 4, 1 / (1 + 3**0.5), 1 / 2], abs=0.04)


def test_a_language_left_out_keeps_its_source() -> None:
    found = drawn(Arm.PAIRED, without_ir=frozenset({"rust"}))
    assert {len(d) for d in found if d[0] in (106, 107)} == {2}
    assert not {t for d in found for t in d} & {206, 207}


def test_what_is_lacking_is_said() -> None:
    with pytest.raises(SeercError, match="no pairs"):
        Mixture((), (), Arm.PAIRED, SENTINELS)
    with pytest.raises(SeercError, match=r"further pairs.*rust"):
        Mixture(PAIRS, FURTHER[:6], Arm.MORE_SOURCE, SENTINELS)
